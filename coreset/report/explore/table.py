"""The columns of the table that `coreset-explore` opens, and the file it lies in.

One row per row of the input, in its order; a column that a run knows nothing about is left out,
but for those marked *always*. Everything that is not named here is a score: a number per row under
its own name, NaN where it is undefined.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from coreset.core.files import check_regular
from coreset.core.store import to_json, write_atomic

NEIGHBORS = pa.struct([("ids", pa.list_(pa.int64())), ("distances", pa.list_(pa.float64()))])
THUMBNAIL = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
COLUMNS: dict[str, tuple[pa.DataType, str]] = {
    "row": (pa.int64(), "position in the input, from 0 (always)"),
    "id": (pa.string(), "name of the row: what overrules go by (always)"),
    "decision": (
        pa.string(),
        "kept, dropped or rejected; chosen, selected before, frozen or pool (always)",
    ),
    "operator": (pa.string(), "the operator, or the stage of a flywheel, that decided"),
    "reason": (pa.string(), "why, in words"),
    "duplicate_of": (pa.string(), "id of the row that stands for it"),
    "duplicate_row": (pa.int64(), "the same as a position"),
    "rank": (pa.int64(), "place in the order chosen, from 0; null: not chosen"),
    "round": (pa.int64(), "round in which it was chosen, from 0"),
    "label": (pa.string(), "class or label"),
    "slice": (pa.string(), "file, source or group the row belongs to"),
    "overruled": (pa.string(), "what a person has decided"),
    "text": (pa.string(), "the text, cut to 2,000 characters; question and answer on two lines"),
    "thumbnail": (THUMBNAIL, "the image, at most 96 pixels, PNG or JPEG; null: unreadable"),
    "x": (pa.float64(), "place on the map; NaN: the row has no vector"),
    "y": (pa.float64(), "place on the map"),
    "neighbors": (NEIGHBORS, "nearest rows by position and distance, nearest first"),
}
PER_STRATEGY = ("rank", "round")  # of several runs on the same rows: rank:margin:0, round:margin:0
TEXT = 2000


def explore_table(columns: Mapping[str, Any]) -> pa.Table:
    """Return columns as the table of rows: those of `COLUMNS` first, in their types, then scores.

    Raises ValueError where `row`, `id` or `decision` is missing.

    >>> explore_table({"row": [0], "id": ["a"], "decision": ["kept"], "blur": [0.5]}).column_names
    ['row', 'id', 'decision', 'blur']
    """
    missing = [n for n in ("row", "id", "decision") if n not in columns]
    if missing:
        raise ValueError(f"the table of rows needs {', '.join(missing)}")
    names = [n for n in COLUMNS if n in columns]
    out = {n: _typed(columns[n], COLUMNS[n][0], n == "label") for n in names}
    for name, values in columns.items():
        if name not in COLUMNS:
            known = isinstance(values, (pa.Array, pa.ChunkedArray))
            out[name] = values if known else pa.array(np.asarray(values))
    return pa.table(out)


def _typed(values: Any, kind: pa.DataType, from_pandas: bool) -> Any:
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return values.cast(kind)
    return pa.array(values, kind, from_pandas=from_pandas)


def write_explore(table: pa.Table, path: str | Path, about: Mapping[str, Any]) -> Path:
    """Write the table as Parquet with `about` and the meaning of every column as its metadata."""
    meaning = {n: COLUMNS[n][1] for n in table.column_names if n in COLUMNS}
    metadata = {"coreset": to_json({"columns": meaning, **about}, sort_keys=True)}
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(metadata), sink, compression="zstd")
    return write_atomic(path, sink.getvalue().to_pybytes())


def read_explore(path: str | Path) -> tuple[pa.Table, dict[str, Any]]:
    """Return the table of a file, and what `write_explore` was told about it; nothing for a table
    of another maker. Raises ValueError where a column is missing, or the file is no Parquet.
    """
    check_regular(Path(path))
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: not a Parquet file: {error}") from error
    missing = [n for n in ("row", "id", "decision") if n not in table.column_names]
    if missing:
        raise ValueError(f"{path}: the table of rows needs {', '.join(missing)}")
    metadata = (table.schema.metadata or {}).get(b"coreset")
    return table, json.loads(metadata) if metadata else {}
