"""Random: the baseline that stands in every table.

Every candidate draws a number keyed by its id; the smallest are taken. The answer depends on the
seed, not on how the pool is arranged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coreset import Pool, Selection, Signals, Strategy
from coreset.numerics.random import keyed_order
from coreset.row_order import RowOrder, RowOrdered


@dataclass(frozen=True)
class Random(Strategy, RowOrdered):
    """Take candidates uniformly at random, without replacement.

    >>> from coreset import select
    >>> len(select("random", 3, ids=range(10), seed=1))
    3
    """

    needs = frozenset[str]()
    random = True

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Return the first `k` of a random order."""
        order = keyed_order(rng, pool.ids[pool.candidates])
        return Selection(pool.candidates[order[:k]])

    def row_order(self) -> RowOrder:
        """Return an order by numbers drawn for the ids."""
        return RowOrder(None)
