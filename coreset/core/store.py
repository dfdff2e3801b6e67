"""Columns on disk, computed once: keyed by the content of the data and by what computed them,
memory-mapped when read.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.places import StoreError, is_remote, put


def fingerprint(*parts: Any) -> str:
    """Return 16 hex digits of the content of arrays, tensors, texts, numbers, None, paths and
    nested lists or dicts of them; the same in every process.

    Raises TypeError for anything else: its text might leave something out, or differ from one
    process to the next.

    >>> fingerprint({"b": 1, "a": [2.0]}) == fingerprint({"a": [2.0], "b": 1})
    True
    """
    digest = hashlib.sha256()

    def feed(part: Any) -> None:
        if isinstance(part, np.ndarray):
            digest.update(f"array {part.dtype.str} {part.shape} ".encode())
            if part.dtype.kind == "O":
                feed(part.tolist())
            elif part.ndim == 0:
                digest.update(part.tobytes())
            else:
                # blocks of 16 MiB: no copy of the whole array
                step = max(1, 2**24 // max(1, part[:1].nbytes))
                for start in range(0, len(part), step):
                    digest.update(part[start : start + step].tobytes())
        elif isinstance(part, Mapping):
            digest.update(f"dict {len(part)} ".encode())
            for key in sorted(part, key=str):
                feed(str(key))
                feed(part[key])
        elif isinstance(part, list | tuple):
            digest.update(f"list {len(part)} ".encode())
            for item in part:
                feed(item)
        elif type(part).__module__.split(".")[0] == "torch" and hasattr(part, "numpy"):
            feed(part.detach().cpu().numpy())
        elif part is None or isinstance(part, str | bytes | int | float | np.generic | PurePath):
            digest.update(f"{type(part).__name__} {part!r}\0".encode())
        else:
            raise TypeError(
                "fingerprint: expected arrays, texts, numbers, lists or dicts, got"
                f" {type(part).__name__}"
            )

    feed(parts)
    return digest.hexdigest()[:16]


def strict(value: Any) -> Any:
    """Return plain data in which NaN and infinite numbers are None; numpy values as Python's own.

    >>> strict({"a": [1.0, float("nan")], "b": (float("inf"), "x")})
    {'a': [1.0, None], 'b': [None, 'x']}
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {key: strict(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [strict(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_json(value: Any, default: Callable[[Any], Any] = str, **options: Any) -> str:
    """Return JSON that every reader takes: NaN and infinite numbers are written as null.

    So null among numbers means "no finite number": the score of a first pick that nothing was
    compared with, an error relative to zero. default: what becomes of anything that JSON does not
    know; options: those of `json.dumps`.

    >>> to_json({"scores": [float("inf"), 1.5]})
    '{"scores": [null, 1.5]}'
    """
    return json.dumps(
        strict(value), default=lambda part: strict(default(part)), allow_nan=False, **options
    )


def write_atomic(path: str | Path, data: str | bytes) -> Path:
    """Write a file so that it is either the old or the new one, never half: beside, synced,
    renamed. The disk being full leaves the old one.
    """
    data = data.encode() if isinstance(data, str) else data
    path = Path(path) if isinstance(path, str) else path
    if is_remote(path):
        put(path, data)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        part.replace(path)
    except OSError as error:
        raise OSError(
            error.errno, f"cannot write {path}: {error.strerror}; nothing that was there is lost"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return path


def _reserve(path: Path) -> None:
    """Claim the whole of a sparse file on disk: a memory-mapped write to a disk that is full would
    kill the process instead of raising OSError.
    """
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as f:
            os.posix_fallocate(f.fileno(), 0, path.stat().st_size)


class Store:
    """A folder of columns: `<name>-<key>.npy` beside `<name>-<key>.json` that says what made
    them.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def path(self, name: str, key: str) -> Path:
        """Return where the column `name` of content `key` lies or would lie."""
        return self.root / f"{name}-{key}.npy"

    def get(self, name: str, key: str) -> NDArray[Any] | None:
        """Return a stored column, memory-mapped and read-only, or None."""
        path = self.path(name, key)
        return np.load(path, mmap_mode="r", allow_pickle=False) if path.exists() else None

    def create(
        self,
        name: str,
        key: str,
        shape: tuple[int, ...],
        dtype: Any,
        fill: Callable[[NDArray[Any]], None],
        about: Mapping[str, Any] | None = None,
    ) -> NDArray[Any]:
        """Return the stored column, or make it: `fill` writes into a memory-mapped array of
        `shape`, which gets its name only when it is whole.
        """
        column = self.get(name, key)
        if column is not None:
            return column
        self.root.mkdir(parents=True, exist_ok=True)
        path = self.path(name, key)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            array = np.lib.format.open_memmap(part, mode="w+", dtype=dtype, shape=shape)
            _reserve(part)
            fill(array)
            array.flush()
            del array
            write_atomic(
                path.with_suffix(".json"),
                to_json({"name": name, "key": key, "shape": shape, **(about or {})}, indent=1),
            )
            part.replace(path)
        except StoreError:
            raise  # what is read, not what is written
        except OSError as error:
            raise OSError(error.errno, f"cannot write {path}: {error.strerror}") from error
        finally:
            part.unlink(missing_ok=True)
        stored = self.get(name, key)
        assert stored is not None
        return stored
