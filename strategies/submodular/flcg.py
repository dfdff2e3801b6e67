"""FLCG: facility-location gain conditional on a private set: cover the pool, but not what the
private examples already stand for.

f(S | P) = sum over i in V of max(max over j in S of s_ij - nu * max over j in P of s_ij, 0); V:
candidates and what is already taken. Monotone, submodular.

Iyer, Khargonkar, Bilmes & Asnani, "Submodular Combinatorial Information Measures with Applications
in Machine Learning", ALT 2021 (arXiv:2006.15412); Kothawade et al., "PRISM", AAAI 2022
(arXiv:2103.00128).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coreset import Signals
from coreset.numerics.greedy import Items, SetFunction
from coreset.strategies.submodular.common import Pairwise, Submodular, marked
from coreset.strategies.submodular.facility_location import FacilityLocationFunction


@dataclass(frozen=True)
class FLCG(Pairwise, Submodular):
    """Take examples that stand for what the private examples do not.

    The column `private` (N,) marks the private examples; they may lie inside or outside the
    candidates. nu: 0 or more; how strictly they are kept away from. neighbors: as in
    `FacilityLocation`. Scores: gains. The other parameters: see `Submodular` and `Pairwise`.

    >>> from coreset import select
    >>> x = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [-1.0, 0.0]])
    >>> select(
    ...     "flcg", 1, features=x, private=[True, False, False, False], candidates=[1, 2, 3]
    ... ).indices
    array([2])
    """

    nu: float = 1.0
    neighbors: int | str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.nu >= 0:
            raise ValueError(f"nu: expected a number of at least 0, got {self.nu}")

    @property
    def reads(self) -> frozenset[str]:
        """Similarities and the mark of the private examples."""
        return super().reads | {"private"}

    def function(self, signals: Signals, ground: Items) -> SetFunction:
        """Return the function on the ground set: facility location that starts from what the
        private examples give.
        """
        start = self.nu * self.nearest_of(signals, ground, marked(signals, "private"))
        similarity, floor = self.graph(signals, ground)
        return FacilityLocationFunction(
            similarity, start if floor is None else np.maximum(start, floor)
        )
