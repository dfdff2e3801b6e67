"""Stratified random: each class gets its share of the budget, exactly, by the method of largest
remainders.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Selection, Signals, Strategy
from coreset.numerics.quota import largest_remainder
from coreset.numerics.random import keyed_order
from coreset.numerics.tensors import rows
from coreset.row_order import RowOrder, RowOrdered


@dataclass(frozen=True)
class Stratified(Strategy, RowOrdered):
    """Take candidates at random with a share per class.

    balance: `proportional` keeps the candidates' class shares, `equal` gives every class the same
    number where it has enough. Needs the candidates' `labels`; unknown labels (-1) form a class of
    their own. The order interleaves the classes, so that early choices are spread over all of them.

    >>> from coreset import select
    >>> import numpy as np
    >>> y = np.array([0] * 8 + [1] * 2)
    >>> chosen = select("stratified", 5, labels=y, options={"balance": "equal"}).indices
    >>> np.bincount(y[chosen]).tolist()
    [3, 2]
    """

    balance: str = "proportional"

    needs = frozenset({"labels"})
    greedy = False
    random = True

    def __post_init__(self) -> None:
        if self.balance not in ("proportional", "equal"):
            raise ValueError(f"balance: expected proportional or equal, got {self.balance!r}")

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Return `k` candidates, class by class in turn."""
        labels = rows(signals.column("labels"), pool.candidates).cpu().numpy()
        _, group, counts = np.unique(labels, return_inverse=True, return_counts=True)
        quota = self.quota(counts, k)
        order = keyed_order(rng, pool.ids[pool.candidates])
        group = group[order]
        rank = np.empty(len(order), np.int64)  # how many of its class stand before it
        rank[np.argsort(group, kind="stable")] = np.arange(len(order)) - np.repeat(
            np.cumsum(counts) - counts, counts
        )
        keep = np.flatnonzero(rank < quota[group])
        keep = keep[np.lexsort((group[keep], (rank[keep] + 0.5) / quota[group[keep]]))]
        return Selection(pool.candidates[order[keep]])

    def quota(self, counts: NDArray[np.int64], k: int) -> NDArray[np.int64]:
        """Return how many of each class are taken."""
        shares = counts if self.balance == "proportional" else np.ones(len(counts))
        return largest_remainder(shares, k, caps=counts)

    def row_order(self) -> RowOrder:
        """Return an order by numbers drawn for the ids, with a share per class."""
        return RowOrder(None, "labels", self.quota)
