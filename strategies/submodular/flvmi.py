"""FLVMI: facility-location mutual information with a query set, over the whole ground set (also
called FL1MI).

I(S; Q) = sum over i in V of min(max over j in S of s_ij, eta * max over j in Q of s_ij); V:
candidates and what is already taken. Monotone and submodular.

Iyer, Khargonkar, Bilmes & Asnani, "Submodular Combinatorial Information Measures with Applications
in Machine Learning", ALT 2021 (arXiv:2006.15412); Kothawade et al., "PRISM", AAAI 2022
(arXiv:2103.00128).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from coreset import Signals
from coreset.numerics.greedy import Items, SetFunction
from coreset.numerics.similarity import Sparse
from coreset.strategies.submodular.common import Pairwise, Submodular, marked
from coreset.strategies.submodular.facility_location import FacilityLocationFunction


@dataclass(frozen=True)
class FLVMI(Pairwise, Submodular):
    """Take examples that stand for the part of the pool which the query stands for.

    The column `query` (N,) marks the query examples; they may lie inside or outside the candidates
    (leave them out if they are not to be chosen). eta: 0 or more; how much an example may count, as
    a multiple of its similarity to the query. neighbors: as in `FacilityLocation`. Scores: gains.
    The other parameters: see `Submodular` and `Pairwise`.

    >>> from coreset import select
    >>> x = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [-1.0, 0.0]])
    >>> select(
    ...     "flvmi", 1, features=x, query=[True, False, False, False], candidates=[1, 2, 3]
    ... ).indices
    array([1])
    """

    eta: float = 1.0
    neighbors: int | str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.eta >= 0:
            raise ValueError(f"eta: expected a number of at least 0, got {self.eta}")

    @property
    def reads(self) -> frozenset[str]:
        """Similarities and the mark of the query."""
        return super().reads | {"query"}

    def function(self, signals: Signals, ground: Items) -> SetFunction:
        """Return the function on the ground set: facility location over min(s_ij, cap_i), since the
        cap does not depend on j.
        """
        cap = self.eta * self.nearest_of(signals, ground, marked(signals, "query"))
        similarity, floor = self.graph(signals, ground)
        cap = cap.astype(
            similarity.value.dtype if isinstance(similarity, Sparse) else similarity.dtype
        )
        if isinstance(similarity, Sparse):
            similarity = replace(
                similarity, value=np.minimum(similarity.value, cap[similarity.column])
            )
        elif self.similarity in ("precomputed", "distances"):
            similarity = np.minimum(similarity, cap)
        else:
            np.minimum(similarity, cap, out=similarity)
        return FacilityLocationFunction(
            similarity, None if floor is None else np.minimum(floor, cap)
        )
