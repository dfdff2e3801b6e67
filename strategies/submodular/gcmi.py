"""GCMI: graph-cut mutual information with a query set.

I(S; Q) = 2 lambda * sum over i in S, j in Q of s_ij. It is modular: each example counts by itself,
so the choice is a ranking by similarity to the query and lambda, which scales all values alike, is
taken as 1/2.

Iyer, Khargonkar, Bilmes & Asnani, "Submodular Combinatorial Information Measures with Applications
in Machine Learning", ALT 2021 (arXiv:2006.15412); Kothawade et al., "PRISM", AAAI 2022
(arXiv:2103.00128).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Signals
from coreset.score_based import ScoreBased
from coreset.strategies.submodular.common import Pairwise, marked


@dataclass(frozen=True)
class GCMI(Pairwise, ScoreBased):
    """Take the candidates with the largest sum of similarities to the query examples, which the
    column `query` (N,) marks.

    >>> from coreset import select
    >>> x = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [-1.0, 0.0]])
    >>> select(
    ...     "gcmi", 2, features=x, query=[True, False, False, False], candidates=[1, 2, 3]
    ... ).indices
    array([1, 2])
    """

    @property
    def needs(self) -> frozenset[str]:
        """Similarities and the mark of the query."""
        return self.reads | {"query"}

    def score(self, pool: Pool, signals: Signals) -> NDArray[np.float64]:
        """Return the sum of similarities to the query per candidate."""
        return self.sum_to(signals, pool.candidates, marked(signals, "query"))
