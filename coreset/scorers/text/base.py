"""What scorers of one text column share: the column, the columns written and one status for all of
them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coreset.core.batch import Batch, as_batch, objects
from coreset.core.pool import Array
from coreset.numerics.text.characters import whole_characters

Values = Mapping[str, NDArray[Any]]


class TextScorer(ABC):
    """A scorer of the texts in `column`: gives `columns`, float64, and `status_column`.

    A missing text is "missing_field", one of nothing but white space "empty_text": undefined in
    every column. The rest is up to `measure`. A lone half of a surrogate pair, which no file holds,
    is read as U+FFFD.
    """

    column: str
    columns: ClassVar[tuple[str, ...]]
    status_column: ClassVar[str]

    @property
    def needs(self) -> frozenset[str]:
        """Return the column that is read."""
        return frozenset({self.column})

    @property
    def gives(self) -> frozenset[str]:
        """Return the columns that are written."""
        return frozenset({*self.columns, self.status_column})

    @abstractmethod
    def measure(self, texts: Sequence[str], column: pa.Array) -> Values:
        """Return the value of each column for texts that say something: as Python strings and as
        one Arrow column. May hold `status_column` for what is undefined still.
        """

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Return the columns of every row of the batch."""
        rows = (
            batch
            if isinstance(batch, Batch)
            else as_batch({self.column: whole_characters(batch[self.column])})
        )
        texts = rows[self.column].tolist()
        status = objects(
            [
                "missing_field" if t is None else "empty_text" if not t or t.isspace() else "ok"
                for t in texts
            ]
        )
        there = np.flatnonzero(status == "ok")
        column = rows.arrow(self.column)
        some = len(there) < len(texts)
        measured = self.measure(
            [texts[i] for i in there.tolist()] if some else texts,
            column.take(pa.array(there)) if some else column,
        )
        out: dict[str, Array] = {}
        for name in self.columns:
            values = measured[name]
            whole = (
                np.full(len(texts), np.nan)
                if values.dtype.kind != "O"
                else objects([None] * len(texts))
            )
            whole[there] = values
            out[name] = whole
        if self.status_column in measured:
            status[there] = measured[self.status_column]
        out[self.status_column] = status
        return out


def per_text(firsts: NDArray[np.int64], values: NDArray[Any]) -> NDArray[np.float64]:
    """Return the sum of whole numbers `values` over [firsts[i], firsts[i + 1]) for every text i, 0
    for an empty span.

    >>> per_text(np.array([0, 2, 2, 3]), np.array([1, 2, 5])).tolist()
    [3.0, 0.0, 5.0]
    """
    total = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
    sums: NDArray[np.float64] = (total[firsts[1:]] - total[firsts[:-1]]).astype(np.float64)
    return sums
