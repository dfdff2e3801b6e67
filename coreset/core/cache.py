"""The cache folder: what is fetched or converted once, and the digest of a file in it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def cache_dir() -> Path:
    """Return the cache folder: $CORESET_CACHE, else `coreset` in $XDG_CACHE_HOME or ~/.cache."""
    own = os.environ.get("CORESET_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "coreset"


def asset_dir(name: str) -> Path:
    """Return the folder `assets/<name>-<version>` of the cache, the newest where there are several.

    Raises FileNotFoundError that says how to fetch it (`scripts/fetch_assets.py` in a source tree).

    >>> asset_dir("nothing of that name")
    Traceback (most recent call last):
    FileNotFoundError: asset 'nothing of that name' is not in the cache: run `python scripts/fetch_assets.py nothing of that name`
    """
    versions = (cache_dir() / "assets").glob(f"{name}-*/manifest.json")
    newest = max(versions, key=lambda manifest: manifest.parent.name, default=None)
    if newest is None:
        hint = f"run `python scripts/fetch_assets.py {name}`"
        raise FileNotFoundError(f"asset '{name}' is not in the cache: {hint}")
    return newest.parent


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
