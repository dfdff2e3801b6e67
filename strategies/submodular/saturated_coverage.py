"""Saturated coverage: every example gets its share of similarity, and no more counts.

f(S) = sum over i in V of min(sum over j in S of s_ij, alpha * sum over j in V of s_ij). Monotone
and submodular for similarities of at least 0.

Lin & Bilmes, "A Class of Submodular Functions for Document Summarization", ACL 2011.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset import Signals
from coreset.core.ranges import check_range
from coreset.numerics.compiled import compiled
from coreset.numerics.greedy import Items, SetFunction, Values
from coreset.numerics.similarity import Matrix, Sparse
from coreset.strategies.submodular.common import Pairwise, Submodular
from coreset.strategies.submodular.graph_cut import row_sums


@compiled
def _gains(s: Matrix, room: Values, items: Items) -> Values:
    out = np.empty(len(items))
    for t in range(len(items)):
        row = s[items[t]]
        total = 0.0
        for i in range(len(room)):
            total += min(np.float64(row[i]), room[i])
        out[t] = total
    return out


@compiled
def _sparse_gains(
    start: Items, column: NDArray[np.int32], value: Matrix, room: Values, items: Items
) -> Values:
    out = np.empty(len(items))
    for t in range(len(items)):
        total = 0.0
        for at in range(start[items[t]], start[items[t] + 1]):
            total += min(np.float64(value[at]), room[column[at]])
        out[t] = total
    return out


class SaturatedCoverageFunction(SetFunction):
    """Saturated coverage from a matrix of similarities of at least 0, (n, n) or `Sparse`; room (n,)
    is what each example can still take.
    """

    state = ("room",)

    def __init__(self, similarity: Matrix | Sparse, alpha: float) -> None:
        self.size, self.similarity = len(similarity), similarity
        if isinstance(similarity, Sparse):
            total: Values = np.bincount(similarity.column, similarity.value, self.size).astype(
                np.float64
            )
            least = float(similarity.value.min())
            self.variant = similarity.variant
        else:
            total, least = row_sums(similarity)
        if least < 0:
            raise ValueError(
                f"similarity: saturated coverage needs values of at least 0, got {least:.3g}"
            )
        self.room: Values = alpha * total

    def gains(self, items: Items) -> Values:
        """Return the gain of each item."""
        s = self.similarity
        return (
            _sparse_gains(*s.parts, self.room, items)
            if isinstance(s, Sparse)
            else _gains(s, self.room, items)
        )

    def add(self, item: int) -> None:
        """Put `item` into S."""
        self.value += float(self.gains(np.array([item]))[0])
        s = self.similarity
        if isinstance(s, Sparse):
            part = slice(s.start[item], s.start[item + 1])
            at = s.column[part]
            self.room[at] = np.maximum(self.room[at] - s.value[part], 0)
        else:
            np.maximum(self.room - s[item], 0, out=self.room)


@dataclass(frozen=True)
class SaturatedCoverage(Pairwise, Submodular):
    """Take examples that are similar to many others which still lack it.

    alpha: the share of an example's total similarity at which it is satisfied, in (0, 1]; when
    about alpha n examples are taken, everything is satisfied, all gains are zero and the lowest
    positions follow. neighbors: 0 all pairs, k each example's k nearest (the others count as zero,
    in the share as well), `auto` all pairs up to 8,000 examples and 32 neighbors beyond. Scores:
    gains. The other parameters: see `Submodular` and `Pairwise`.

    >>> from coreset import select
    >>> x = np.array([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [0.0, 1.0]])
    >>> select("saturated_coverage", 2, features=x, options={"alpha": 0.3}).indices
    array([2, 0])
    """

    alpha: float = 0.1
    neighbors: int | str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("a share in (0, 1]", alpha=self.alpha)

    def function(self, signals: Signals, ground: Items) -> SetFunction:
        """Return the function on the ground set."""
        return SaturatedCoverageFunction(self.graph(signals, ground)[0], self.alpha)
