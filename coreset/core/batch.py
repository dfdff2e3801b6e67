"""A batch of rows as operators see it: numpy columns made from Arrow when they are read, and the
Arrow column itself for those who hash bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


class Batch(Mapping[str, NDArray[Any]]):
    """Columns of one Arrow table or record batch, by name: texts as object arrays of str (None
    where missing), numbers as numpy, vectors as (n, d) (NaN where missing).

    Lists of unequal length are object arrays of Python lists. `arrow(name)` is the column without a
    copy. A column is converted when it is first read.

    >>> b = Batch(pa.table({"id": ["a", "b"], "words": [3.0, None]}))
    >>> b["words"], b.rows
    (array([ 3., nan]), 2)
    """

    def __init__(self, table: pa.Table | pa.RecordBatch) -> None:
        self.table = table
        self._columns: dict[str, NDArray[Any]] = {}

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.table.num_rows)

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._columns:
            self._columns[name] = to_numpy(self.arrow(name))
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.table.schema.names)

    def __len__(self) -> int:
        return len(self.table.schema.names)

    def arrow(self, name: str) -> pa.Array:
        """Return a column as one Arrow array."""
        if name not in self.table.schema.names:
            raise KeyError(
                f"column '{name}' is missing; present: {', '.join(sorted(self)) or 'none'}"
            )
        column = self.table.column(name)
        return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def to_numpy(column: pa.Array) -> NDArray[Any]:
    """Return an Arrow array as numpy: see `Batch`; missing numbers become NaN, missing truth values
    are refused by Arrow's own rule (object).
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    kind = column.type
    if pa.types.is_dictionary(kind):
        return to_numpy(column.dictionary_decode())
    if pa.types.is_fixed_size_list(kind):
        there = np.asarray(column.drop_null().flatten().to_numpy(zero_copy_only=False)).reshape(
            -1, kind.list_size
        )
        if column.null_count == 0:
            return there
        out = np.full((len(column), kind.list_size), np.nan, np.result_type(there, np.float32))
        out[column.is_valid().to_numpy(zero_copy_only=False)] = there
        return out
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_struct(kind):
        out = np.empty(len(column), object)
        out[:] = column.to_pylist()
        return out
    return np.asarray(column.to_numpy(zero_copy_only=False))


def to_arrow(values: Any) -> pa.Array:
    """Return a column an operator wrote as Arrow: (n, d) numbers as fixed-size lists, texts as
    strings, the rest as Arrow reads it.

    >>> to_arrow(np.eye(2, dtype=np.float32)).type
    FixedSizeListType(fixed_size_list<item: float>[2])
    """
    if isinstance(values, pa.Array):
        return values
    if isinstance(values, pa.ChunkedArray):
        return values.combine_chunks()
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    array = np.asarray(values) if not isinstance(values, list) else values
    if isinstance(array, np.ndarray) and array.ndim == 2 and array.dtype.kind in "fiub":
        return pa.FixedSizeListArray.from_arrays(
            pa.array(np.ascontiguousarray(array).reshape(-1)), array.shape[1]
        )
    if isinstance(array, np.ndarray) and array.dtype.kind == "U":
        array = array.tolist()
    return pa.array(array, from_pandas=False)


def as_batch(columns: Mapping[str, Any]) -> Batch:
    """Return a mapping of columns as a Batch: what lets a scorer be called on plain lists and
    arrays, without any pipeline.

    >>> as_batch({"text": ["one", "two"]})["text"].tolist()
    ['one', 'two']
    """
    return (
        columns
        if isinstance(columns, Batch)
        else Batch(pa.table({n: to_arrow(v) for n, v in columns.items()}))
    )


def objects(values: Sequence[Any]) -> NDArray[np.object_]:
    """Return values as an object array (n,), whatever they are: numpy would make a matrix of lists
    of equal length.

    >>> objects([[1, 2], [3, 4]]).shape
    (2,)
    """
    out = np.empty(len(values), object)
    out[:] = list(values)
    return out
