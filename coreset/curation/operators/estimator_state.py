"""The state of a fit on disk: JSON and plain arrays in one .npz, never a pickle, so that reading a
file runs nothing.

A state is a tree of None, truth values, numbers, texts, bytes, lists, tuples, dicts and numpy
arrays (numbers, or objects that are texts or None). `Fit.to_state` turns any other object into one.
"""

from __future__ import annotations

import base64
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.batch import objects

_TREE = "tree"


def dump_state(state: Any) -> bytes:
    """Return the bytes of a state, the same for equal ones.

    Raises TypeError for what is no tree of plain values and arrays, naming it.

    >>> load_state(dump_state({"a": (1, None), "b": np.array([2.5])}))
    {'a': (1, None), 'b': array([2.5])}
    """
    arrays: list[NDArray[Any]] = []
    tree = json.dumps(_encoded(state, arrays, "state")).encode()
    out = io.BytesIO()
    parts: dict[str, Any] = {_TREE: np.frombuffer(tree, np.uint8)}
    parts |= {f"a{i}": a for i, a in enumerate(arrays)}
    np.savez(out, **parts)
    return out.getvalue()


def load_state(data: bytes) -> Any:
    """Return the state of bytes that `dump_state` gave. Raises ValueError for any other."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            tree = json.loads(file[_TREE].tobytes())
            return _decoded(tree, [file[f"a{i}"] for i in range(len(file.files) - 1)])
    except (
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        OSError,
        EOFError,
        zipfile.BadZipFile,
        RecursionError,
    ) as error:
        raise ValueError(f"no state of a fit: {error}") from error


def read_state(path: Path) -> Any:
    """Return the state in a file. Raises ValueError for one that holds none."""
    try:
        return load_state(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def has_state(path: Path) -> bool:
    """Return whether a file holds a whole state."""
    try:
        with path.open("rb") as held, zipfile.ZipFile(held) as file:
            return file.testzip() is None and f"{_TREE}.npy" in file.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def _encoded(value: Any, arrays: list[NDArray[Any]], where: str) -> Any:
    """Return a value as JSON: plain ones as they are, all others as [word, content]."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, bytes):
        return ["bytes", base64.b64encode(value).decode()]
    if isinstance(value, np.generic):
        value, word = np.asarray(value), "scalar"
    else:
        word = "array"
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "O":
            texts = value.tolist()
            if value.ndim == 1 and all(t is None or isinstance(t, str) for t in texts):
                return ["texts", texts]
        elif value.dtype.kind in "biufcSUMm":
            arrays.append(value)
            return [word, len(arrays) - 1]
    if type(value) in (list, tuple):
        return [
            type(value).__name__,
            [_encoded(v, arrays, f"{where}[{i}]") for i, v in enumerate(value)],
        ]
    if type(value) is dict:
        pairs = [
            [_encoded(k, arrays, where), _encoded(v, arrays, f"{where}[{k!r}]")]
            for k, v in value.items()
        ]
        return ["dict", pairs]
    kind = f"array of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
    raise TypeError(
        f"{where}: expected None, numbers, texts, bytes, lists, tuples, dicts and arrays of numbers"
        f" or texts, got {kind}; give the fit to_state and from_state"
    )


def _decoded(value: Any, arrays: list[NDArray[Any]]) -> Any:
    if not isinstance(value, list):
        if isinstance(value, dict):
            raise ValueError("an object where none is written")
        return value
    word, content = value
    if word == "bytes":
        return base64.b64decode(content)
    if word == "array":
        return arrays[content]
    if word == "scalar":
        return arrays[content][()]
    if word == "texts":
        return objects(content)
    if word == "dict":
        return {_decoded(k, arrays): _decoded(v, arrays) for k, v in content}
    if word in ("list", "tuple"):
        parts = [_decoded(v, arrays) for v in content]
        return parts if word == "list" else tuple(parts)
    raise ValueError(f"unknown word {word!r}")
