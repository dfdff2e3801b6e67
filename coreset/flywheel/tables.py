"""Columns as Parquet bytes and back: the same columns give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from coreset.core.files import check_regular


def table_bytes(columns: Mapping[str, Any]) -> bytes:
    """Return columns of one length as a Parquet file; a 2-D column becomes a column of lists."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {}
    for name, values in columns.items():
        array = np.asarray(values)
        if array.ndim == 2:
            arrays[name] = pa.array(array.tolist())
        else:
            text = array.dtype.kind in "UO"
            arrays[name] = pa.array(
                array.tolist() if text else array, pa.string() if text else None
            )
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(arrays), sink)
    return bytes(sink.getvalue().to_pybytes())


def read_table(path: Path, needs: Sequence[str] = ()) -> dict[str, Any]:
    """Return the columns of a Parquet file as arrays. Raises ValueError, with the file, for one
    that is none or lacks a column of `needs`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_regular(path)
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: not a Parquet file: {error}") from error
    missing = [name for name in needs if name not in table.column_names]
    if missing:
        have = ", ".join(table.column_names) or "none"
        raise ValueError(f"{path}: expected a column {missing[0]!r}, it has {have}")
    columns = {}
    for name in table.column_names:
        values = table[name]
        number = pa.types.is_floating(values.type) or pa.types.is_integer(values.type)
        if number and not values.null_count:
            columns[name] = values.to_numpy()
        else:
            columns[name] = np.array(values.to_pylist(), object)
        if pa.types.is_string(values.type) and not values.null_count:
            columns[name] = columns[name].astype(str)
    return columns
