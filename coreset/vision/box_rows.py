"""Columns of numbers out of the entries of a COCO results file and the arrays beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.files import load_array
from coreset.core.pool import Array, Indices
from coreset.vision.coco import CocoPool, by_file, positions
from coreset.vision.coco_check import number, whole

Float = NDArray[np.float64]


def check_entries(rows: Sequence[Any], keys: Sequence[str], source: str) -> None:
    """Raise ValueError naming file and entry for one that is no object, lacks a key or names no
    image.
    """
    for i, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise ValueError(f"{source}: entry {i}: expected an object, got {row!r:.80}")
        for key in keys:
            if key not in row:
                raise ValueError(
                    f"{source}: entry {i} (image {row.get('image_id')!r:.80}) has no {key!r}"
                )
        if not isinstance(row["image_id"], str) and whole(row["image_id"]) is None:
            raise ValueError(
                f"{source}: entry {i}: image_id: expected a whole number or a text, got"
                f" {row['image_id']!r:.80}"
            )
        if "file_name" in row and not isinstance(row["file_name"], str):
            raise ValueError(
                f"{source}: entry {i} (image {row['image_id']!r:.80}): file_name: expected a text,"
                f" got {row['file_name']!r:.80}"
            )


def numbers(
    rows: Sequence[Mapping[str, Any]], key: str, source: str, shape: tuple[int, ...] = ()
) -> NDArray[Any]:
    """Return one key of all entries as numbers (n, *shape), NaN for null; of `category_id` as whole
    numbers.

    Raises ValueError naming file and image for the first entry that has none.
    """
    values = [row[key] for row in rows]
    table = _table(values, shape, key == "category_id")
    if table is not None:
        return table
    wanted = (
        f"{shape[0]} numbers" if shape else "a whole number" if key == "category_id" else "a number"
    )
    for row, value in zip(rows, values, strict=True):
        good = whole(value) is not None if key == "category_id" else _plain(value)
        if shape:
            good = (
                isinstance(value, list | tuple)
                and len(value) == shape[0]
                and all(map(_plain, value))
            )
        if not good:
            raise ValueError(
                f"{source}: image {row['image_id']!r:.80}: {key}: expected {wanted}, got"
                f" {value!r:.200}"
            )
    if key == "category_id":
        return np.array([whole(value) for value in values], np.int64)
    return np.array(
        [[number(v) for v in value] if shape else number(value) for value in values], np.float64
    )


def _table(values: Sequence[Any], shape: tuple[int, ...], labels: bool) -> NDArray[Any] | None:
    """Return the values as they are where every one is a number, None where they have to be looked
    at one by one.
    """
    try:
        table = np.array(values)
    except (TypeError, ValueError, OverflowError):
        return None
    inner = (v for value in values for v in value) if shape else iter(values)
    if (
        table.dtype.kind not in "if"
        or table.shape[1:] != shape
        or any(v is True or v is False for v in inner)
    ):
        return None
    if not labels:
        return table.astype(np.float64)
    return table if table.dtype.kind == "i" else None


def _plain(value: Any) -> bool:
    """Return whether a value is a number or null."""
    return value is None or (
        isinstance(value, int | float | np.number) and not isinstance(value, bool)
    )


def rows_of(given: str | Path | Array, what: str, count: int, source: str) -> Array:
    """Return an array with one row per entry of the results, read where it is a file's name."""
    if given is None:
        return None
    rows = load_array(given) if isinstance(given, str | Path) else array_of(given)
    if (
        not isinstance(rows, np.ndarray)
        or rows.ndim != 2
        or len(rows) != count
        or rows.dtype.kind not in "iuf"
    ):
        name = str(given) if isinstance(given, str | Path) else what
        shape = rows.shape if isinstance(rows, np.ndarray) else "an archive"
        raise ValueError(
            f"{name}: expected one row for each of the {count} entries of {source}, got shape"
            f" {shape} of {getattr(rows, 'dtype', 'arrays')}"
        )
    return rows


def array_of(values: Any) -> NDArray[Any]:
    """Return a tensor or a list as an array."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def images_of(pool: CocoPool, rows: Sequence[Mapping[str, Any]], source: str) -> Indices:
    """Return the position of each entry's image (B,): by its file name, else by its id."""
    at = [by_file(pool.files, row["file_name"]) if "file_name" in row else -1 for row in rows]
    rest = [i for i, k in enumerate(at) if k < 0]
    names = [rows[i].get("file_name", rows[i]["image_id"]) for i in rest]
    where = np.array(at, np.int64)
    where[rest] = positions(pool, names, source)
    return where


def one_table(
    rows: Sequence[Mapping[str, Any]], ids: list[Any], source: str
) -> dict[str, NDArray[Any]]:
    """Return the columns of all boxes, of one table of columns per image; labels as whole numbers.

    Raises ValueError naming source and image for tables of other columns, without numbers, or of
    columns of different lengths.
    """
    if len(rows) != len(ids):
        raise ValueError(f"{source}: {len(rows)} images but {len(ids)} ids")
    if not rows:
        raise ValueError(f"{source}: no images")
    parts: dict[str, list[NDArray[Any]]] = {}
    blank: dict[str, NDArray[Any]] = {}
    keys = set(rows[0]) | {"boxes", "scores", "labels"}
    for row, name in zip(rows, ids, strict=True):
        if set(row) != keys or any(row[k] is None for k in keys):
            raise ValueError(
                f"{source}: image {name!r} has {sorted(k for k in row if row[k] is not None)},"
                f" expected {sorted(keys)} as for the others"
            )
        try:
            arrays = {key: array_of(values) for key, values in row.items()}
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(
                f"{source}: image {name!r}: expected arrays of numbers: {error}"
            ) from error
        if any(a.ndim < 1 or a.dtype.kind not in "biuf" for a in arrays.values()):
            raise ValueError(
                f"{source}: image {name!r}: expected arrays of numbers, one row per box, got"
                f" { {k: (a.shape, str(a.dtype)) for k, a in arrays.items()} }"
            )
        if len({len(a) for a in arrays.values()}) > 1:
            raise ValueError(
                f"{source}: image {name!r}: different numbers of boxes:"
                f" { {k: a.shape for k, a in arrays.items()} }"
            )
        for key, array in arrays.items():
            if array.size or key not in ("boxes", "probs", "features"):
                parts.setdefault(key, []).append(array)
            elif array.ndim == 2:
                blank[key] = array
    joined: dict[str, Any] = {}
    for key, p in parts.items():
        shapes = {a.shape[1:] for a in p}
        if len(shapes) > 1:
            raise ValueError(
                f"{source}: {key}: rows of one shape are expected for all images, got"
                f" {sorted(shapes)}"
            )
        joined[key] = np.concatenate(p)
    for key, array in blank.items():
        # nothing was found in any image: it is known all the same what there would be
        joined.setdefault(key, array)
    joined.setdefault("boxes", np.empty((0, 4)))
    with np.errstate(invalid="ignore"):
        labels = joined["labels"].astype(np.int64)
    if (labels != joined["labels"]).any():
        raise ValueError(
            f"{source}: labels: expected whole numbers, got {joined['labels'].dtype} with other"
            " values"
        )
    return {**joined, "labels": labels}
