"""What a user's file holds: bytes, JSON, arrays. Only regular files are opened, and none above 8
GiB.

A named pipe or a device would block or never end: it is refused before a byte of it is read.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np

MOST = 8 * 2**30  # bytes of one file


def check_regular(path: str | Path) -> None:
    """Raise OSError for a path that is no regular file, ValueError for one of more than `MOST`
    bytes.

    >>> check_regular("/dev/null")
    Traceback (most recent call last):
    OSError: /dev/null: not a regular file
    """
    about = Path(path).stat()
    if not stat.S_ISREG(about.st_mode):
        raise OSError(f"{path}: not a regular file")
    if about.st_size > MOST:
        raise ValueError(f"{path}: expected at most {MOST:,} bytes, got {about.st_size:,}")


def read_bytes(path: str | Path) -> bytes:
    """Return the bytes of a regular file. Raises OSError and ValueError as `check_regular`."""
    check_regular(path)
    # not to wait where a pipe has taken the file's place since
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as f:
        if not stat.S_ISREG(os.fstat(f.fileno()).st_mode):
            raise OSError(f"{path}: not a regular file")
        return f.read()


def read_json(path: str | Path) -> Any:
    """Return what a JSON file holds. Raises ValueError with the file when it is none."""
    data = read_bytes(path)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a JSON file: {error}") from error


def load_array(path: str | Path, memory_mapped: bool = False) -> Any:
    """Return what an .npy or .npz file holds, never unpickled. Raises ValueError with the file when
    it is none.
    """
    check_regular(path)
    try:
        return np.load(path, mmap_mode="r" if memory_mapped else None, allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # a damaged archive raises errors of zipfile, zlib and struct too
        raise ValueError(f"{path}: not an .npy or .npz file: {error}") from error
