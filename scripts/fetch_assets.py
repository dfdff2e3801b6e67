"""Bring real models and data into the cache folder: python scripts/fetch_assets.py lists them, with
names it gets them (`all` for every one).

What is there and whole stays as it is. The folder: $CORESET_CACHE, else `coreset` in
$XDG_CACHE_HOME or ~/.cache.
"""

import argparse

import assets


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="name", help=f"{', '.join(assets.ASSETS)} or all"
    )
    names = parser.parse_args().names
    for name in assets.ASSETS if names == ["all"] else names:
        try:
            assets.fetch(name)
        except (KeyError, OSError, ValueError, ImportError) as error:
            raise SystemExit(
                f"error: {error.args[0] if isinstance(error, KeyError) else error}"
            ) from error
    if not names:
        for name, asset in assets.ASSETS.items():
            place = assets.folder(name)
            print(f"{name}: {asset.what}")
            print(f"    {asset.package} {asset.version}, {asset.license}")
            print(f"    {assets.damage(place) or 'whole'}: {place}")


if __name__ == "__main__":
    main()
