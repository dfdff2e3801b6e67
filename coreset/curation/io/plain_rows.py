"""Rows of other libraries as lists of dicts."""

from __future__ import annotations

from typing import Any

import pyarrow as pa


def plain_rows(rows: Any) -> Any:
    """Return a pandas DataFrame, an Arrow table or a `datasets.Dataset` as a list of dicts,
    anything else as it is.

    >>> plain_rows(pa.table({"text": ["a"]}))
    [{'text': 'a'}]
    """
    if isinstance(rows, pa.Table):
        return rows.to_pylist()
    if type(rows).__module__.split(".")[0] == "pandas":
        return rows.to_dict("records") if rows.ndim == 2 else rows.tolist()
    if hasattr(rows, "to_list") and hasattr(rows, "features"):  # datasets.Dataset
        return rows.to_list()
    return rows
