"""What the map page asks of the table: places and a color, a chunk of rows, a search."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from coreset.report.explore.table import COLUMNS

CHUNK = 100  # rows of one file or answer
CATEGORIES = 20  # more values are "other"
_BY = ("decision", "operator", "reason", "label", "slice", "round", "overruled")


def score_names(table: pa.Table) -> list[str]:
    """Return the columns of numbers that are scores."""
    return [
        f.name
        for f in table.schema
        if f.name not in COLUMNS
        and (":" not in f.name or f.name.split(":")[0] not in ("rank", "round"))
        and (pa.types.is_floating(f.type) or pa.types.is_integer(f.type))
    ]


def orders(table: pa.Table) -> list[str]:
    """Return the columns that hold an order of choice: `rank`, or one per strategy and seed."""
    several = [n for n in table.column_names if n.startswith("rank:")]
    return several or (["rank"] if "rank" in table.column_names else [])


def about(table: pa.Table, title: str) -> dict[str, Any]:
    """Return what the page has to know first: columns to color by, with their values."""
    by = {name: categories(table[name])[0] for name in _colored(table)}
    kept = {v["values"]: v["counts"] for v in pc.value_counts(table["decision"]).to_pylist()}
    known = "x" in table.column_names
    return {
        "title": title, "rows": table.num_rows, "decisions": kept, "colors": by,
        "scores": score_names(table),
        "orders": orders(table), "map": known, "chunk": CHUNK,
        "text": "text" in table.column_names, "images": "thumbnail" in table.column_names,
    }  # fmt: skip


def _colored(table: pa.Table) -> list[str]:
    """Return the columns to color by: those that are known, and texts of few values."""
    more = [
        f.name
        for f in table.schema
        if f.name not in COLUMNS and pa.types.is_string(f.type)
        and 1 < pc.count_distinct(table[f.name]).as_py() <= CATEGORIES
    ]  # fmt: skip
    return [*(n for n in _BY if n in table.column_names), *more]


def categories(column: pa.ChunkedArray) -> tuple[list[str], np.ndarray[Any, Any]]:
    """Return the commonest values of a column, the last "other" where there are more, and the place
    of every row among them; "–" is none.

    >>> categories(pa.chunked_array([["b", "a", "b", None]]))
    (['b', 'a', '–'], array([0, 1, 0, 2]))
    """
    text = pc.fill_null(pc.cast(column, pa.string()), "–")
    counts = pc.value_counts(text).to_pylist()
    first = {one["values"]: i for i, one in enumerate(counts)}  # ties: the one met first
    names = sorted(first, key=lambda v: (-counts[first[v]]["counts"], first[v]))
    shown = names if len(names) <= CATEGORIES else [*names[: CATEGORIES - 1], "other"]
    place = pc.index_in(text, pa.array(shown, pa.string()))
    return shown, pc.fill_null(place, len(shown) - 1).to_numpy().astype(np.int64)


def points(table: pa.Table) -> bytes:
    """Return x and y of all rows, float32 one after the other, scaled into [-1, 1]; NaN where a row
    has no place.
    """
    xy = np.stack([table[n].to_numpy().astype(np.float64) for n in ("x", "y")])
    known = np.isfinite(xy).all(axis=0)
    if known.any():
        low, high = xy[:, known].min(axis=1), xy[:, known].max(axis=1)
        side = max(float((high - low).max()), 1e-12)
        xy = (xy - (low + high)[:, None] / 2) / side * 1.9
    return np.asarray(xy, np.float32).tobytes()


def column(table: pa.Table, name: str) -> bytes:
    """Return one column as float32: the place of a category in `about`'s list, or the number itself
    (NaN: none). Raises KeyError for a column that is not there.
    """
    if name not in table.column_names:
        raise KeyError(f"no column {name!r}")
    if name in _BY or pa.types.is_string(table.schema.field(name).type):
        return categories(table[name])[1].astype(np.float32).tobytes()
    values = pc.cast(table[name], pa.float64()).to_numpy().astype(np.float32)
    return bytes(values.tobytes())


def chunk(table: pa.Table, number: int) -> list[dict[str, Any]]:
    """Return rows `CHUNK` * number and the following as plain data; images as data URIs."""
    part = table.slice(number * CHUNK, CHUNK)
    return [_plain(row) for row in part.to_pylist()]


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict) and "bytes" in value:
            kind = "png" if value["bytes"][:4] == b"\x89PNG" else "jpeg"
            value = f"data:image/{kind};base64,{base64.b64encode(value['bytes']).decode()}"
        elif isinstance(value, dict):
            far = value["distances"]
            value = {"ids": value["ids"], "distances": [round(d, 6) for d in far]}
        if isinstance(value, float) and not math.isfinite(value):
            value = None
        if value is not None and name not in ("x", "y"):
            out[name] = value
    return out


def search(table: pa.Table, words: str, most: int = 50) -> list[int]:
    """Return the first rows whose position or id is `words`, then those whose id, reason or text
    holds them, in any case.
    """
    hits: dict[int, None] = {}
    exact = pc.equal(table["id"], words)
    hits |= dict.fromkeys(np.flatnonzero(exact.to_numpy(zero_copy_only=False)).tolist())
    if words.isdigit() and int(words) < table.num_rows:
        hits[int(words)] = None
    for name in ("id", "reason", "text"):
        if name in table.column_names and len(hits) < most:
            matches = pc.match_substring(table[name], words, ignore_case=True)
            at = np.flatnonzero(pc.fill_null(matches, False).to_numpy(zero_copy_only=False))
            hits |= dict.fromkeys(at[:most].tolist())
    return list(hits)[:most]
