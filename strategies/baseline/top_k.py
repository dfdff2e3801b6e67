"""Top-k by any signal: the highest (or lowest) values of a named column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Signals
from coreset.numerics.tensors import rows
from coreset.score_based import ScoreBased


@dataclass(frozen=True)
class TopK(ScoreBased):
    """Take the candidates with the highest values of one column (N,).

    signal: name of the column. highest: False takes the lowest.

    >>> from coreset import select
    >>> select("top_k", 2, loss=[0.1, 3.0, 2.0], options={"signal": "loss"}).indices
    array([1, 2])
    """

    signal: str = "el2n"
    highest: bool = True

    row_wise = True

    @property
    def needs(self) -> frozenset[str]:
        """Return the one column that is read."""
        return frozenset({self.signal})

    def score(self, pool: Pool, signals: Signals) -> NDArray[np.float64]:
        """Return the column's values, negated when the lowest are wanted."""
        column = signals.column(self.signal)
        if len(column.shape) != 1 or (
            isinstance(column, np.ndarray) and column.dtype.kind not in "biuf"
        ):
            raise ValueError(
                f"{self.signal}: expected one number per example, shape (N,), got {column.dtype}"
                f" with shape {tuple(column.shape)}"
            )
        scores = rows(column, pool.candidates).double().cpu().numpy()
        return scores if self.highest else -scores
