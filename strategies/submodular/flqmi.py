"""FLQMI: facility-location mutual information with a query set, the form that looks at
query-to-pool similarities only.

I(S; Q) = sum over i in Q of max over j in S of s_ij + eta * sum over j in S of max over i in Q of
s_ij. Monotone and submodular.

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
class FLQMI(Pairwise, Submodular):
    """Take examples that together resemble every query.

    The column `query` (N,) marks the query examples; they may lie inside or outside the candidates
    (leave them out if they are not to be chosen). eta: 0 or more; larger asks for relevance,
    smaller for covering all queries. Similarities must be at least 0 (not `dot` with negative
    values). Memory: 4 bytes per candidate and query. Scores: gains. The other parameters: see
    `Submodular` and `Pairwise`.

    >>> from coreset import select
    >>> x = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [-1.0, 0.0]])
    >>> select(
    ...     "flqmi", 1, features=x, query=[True, False, False, False], candidates=[1, 2, 3]
    ... ).indices
    array([1])
    """

    eta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.eta >= 0:
            raise ValueError(f"eta: expected a number of at least 0, got {self.eta}")

    @property
    def reads(self) -> frozenset[str]:
        """Similarities and the mark of the query."""
        return super().reads | {"query"}

    def function(self, signals: Signals, ground: Items) -> SetFunction:
        """Return the function on the ground set."""
        similarity = next(self.between(signals, ground, marked(signals, "query")))
        relevance = similarity.max(axis=1).astype(np.float64)
        function = FacilityLocationFunction(similarity, bonus=self.eta * relevance)
        function.monotone = bool(relevance.min() >= 0)
        return function
