"""A stream of the Hugging Face `datasets` library, read once into WebDataset shards, which give
its images by position.

A shard holds a thousand images as the stream has them, encoded, with their class numbers; it gets
its name when it is whole, and the number of rows that are there is written after it: a stream that
breaks off, or is killed, goes on with the row after.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from coreset.core.places import stamp
from coreset.core.store import fingerprint, to_json, write_atomic
from coreset.scorers.image.files import MOST_BYTES, read_bytes
from coreset.trainers.data.base import ImageData
from coreset.trainers.data.shards import Rows, class_numbers, index
from coreset.trainers.data.webdataset import assemble

ROWS = 1000  # of a shard
BYTES = 2**27  # of the images of a shard, beyond which it ends
LABEL = "cls"


def streamed(
    path: str,
    image: str,
    label: str,
    train: str,
    test: str | None,
    test_share: float,
    size: int,
    on_corrupt: str,
    augment: str,
    cache: str,
) -> ImageData:
    """Return the data set of `coreset.trainers.data.hugging_face.hf_dataset` by way of shards."""
    splits = [train] if test is None else [train, test]
    folders = [stream(path, split, image, label, cache) for split in splits]
    parts = [index(folder / "*.tar", LABEL, cache) for folder in folders]
    known = classes_of(folders[0])
    numbers = [class_numbers(part, LABEL, known or None, labeled=False) for part in parts]
    classes = max((names for _, names in numbers), key=len)
    return assemble(
        Path(path).name, parts, [n for n, _ in numbers], classes, test_share, size, on_corrupt,
        augment, cache, positions(parts[0]),
    )  # fmt: skip


def positions(rows: Rows) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the positions (N,) in the stream."""
    return rows.keys.astype(np.int64)


def classes_of(folder: Path) -> list[str]:
    """Return the class names that the stream's features have; empty where they have none."""
    return list(json.loads((folder / "state.json").read_text())["classes"])


def stream(path: str, split: str, image: str, label: str, cache: str | Path) -> Path:
    """Return the folder of a split's shards, read from the stream as far as they are not there.

    A folder is of one state of the data set's files: of the hub its revision, of this machine
    their sizes and times. Raises ImportError where `datasets` is missing, KeyError for a split or a
    column that there is not, TypeError for labels that are no whole numbers.
    """
    try:
        import datasets
    except ImportError as error:
        raise ImportError(
            'Hugging Face data sets need the extra hf: pip install "coreset-lightning[hf]"'
        ) from error
    if any((Path(path) / file).is_file() for file in ("dataset_dict.json", "state.json")):
        raise ValueError(
            f"{path}: was written by save_to_disk, whose rows are there by position; leave"
            " data.streaming out"
        )
    builder = datasets.load_dataset_builder(path)
    files = builder.config.data_files or {}
    if split not in files:
        raise KeyError(
            f"{path}: no split {split!r}; present: {', '.join(map(str, files))} (data.train,"
            " data.test)"
        )
    there = [list(stamp(name) or ()) for name in files[split]]
    about = [list(map(str, about)) for about in files[split].origin_metadata]
    key = fingerprint(path, split, image, label, list(files[split]), about, there)
    folder = Path(cache) / f"stream-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):  # other processes of a multirun wait
        state = {"rows": 0, "shards": 0, "classes": [], "whole": False}
        if (folder / "state.json").exists():
            state = json.loads((folder / "state.json").read_text())
        if not state["whole"]:
            rows = builder.as_streaming_dataset(split=split)
            state["classes"] = _check(path, rows.features or {}, image, label)
            if getattr(rows.features[image], "decode", False):
                rows = rows.cast_column(image, type(rows.features[image])(decode=False))
            _write(folder, state, iter(rows.skip(state["rows"])), image, label)
    return folder


def _check(path: str, features: Mapping[str, Any], image: str, label: str) -> list[str]:
    """Return the classes' names, none where they have none. Raises KeyError for a column that there
    is not.
    """
    for column in (image, label):
        if column not in features:
            raise KeyError(
                f"{path}: no column {column!r}; present: {', '.join(features)} (data.image,"
                " data.label)"
            )
    return list(getattr(features[label], "names", None) or [])


def _write(
    folder: Path, state: dict[str, Any], rows: Iterator[Mapping[str, Any]], image: str, label: str
) -> None:
    """Write the shards that are missing, each followed by the state that says so."""
    while True:
        buffer, taken, size = io.BytesIO(), 0, 0
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for row in islice(rows, ROWS):
                name = f"{state['rows'] + taken:09d}"
                content = _bytes(row[image], name)
                taken, size = taken + 1, size + len(content)
                _member(tar, f"{name}.jpg", content)  # its format is in its content
                if (number := _number(row[label], label, name)) >= 0:
                    _member(tar, f"{name}.{LABEL}", str(number).encode())
                if size > BYTES:
                    break
        if taken:
            write_atomic(folder / f"{state['shards']:06d}.tar", buffer.getvalue())
        state.update(
            rows=state["rows"] + taken, shards=state["shards"] + bool(taken), whole=not taken
        )
        write_atomic(folder / "state.json", to_json(state))
        if not taken:
            return


def _member(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    about = tarfile.TarInfo(name)
    about.size = len(content)
    tar.addfile(about, io.BytesIO(content))


def _bytes(value: Any, name: str) -> bytes:
    """Return an image as it is encoded; nothing where the row has none, which is found when it is
    decoded.
    """
    if value is None:
        return b""
    if not isinstance(value, Mapping):
        raise TypeError(
            f"row {int(name)}: expected an image of the feature Image, got {type(value).__name__};"
            " `cast_column` to datasets.Image first"
        )
    if value.get("bytes") is not None:
        return bytes(value["bytes"])
    if value.get("path") is None:
        return b""
    from datasets.utils.file_utils import is_local_path, xopen

    if is_local_path(value["path"]):
        return read_bytes(str(value["path"]))
    with xopen(value["path"], "rb") as file:
        return bytes(file.read(MOST_BYTES))


def _number(value: Any, label: str, name: str) -> int:
    if value is None:
        return -1
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(
            f"{label}: expected whole numbers, got {value!r} in row {int(name)}; `cast_column` to"
            " ClassLabel first"
        )
    return int(value)
