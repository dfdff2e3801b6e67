"""DUAL: dynamic uncertainty times difficulty, from the first epochs alone.

Cho, Shin & Yun, "Lightweight Dataset Pruning without Full Training via Example Difficulty and
Prediction Uncertainty", ICML 2025 (arXiv:2502.06905).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Signals
from coreset.score_based import ScoreBased
from coreset.strategies.baseline.top_k import TopK


@dataclass(frozen=True)
class Dual(ScoreBased):
    """Take the candidates with the highest DUAL score. Below a third of the data the authors sample
    instead: see `dual_beta`.

    >>> from coreset import select
    >>> select("dual", 1, dual=[0.1, 0.2, 1.5]).indices
    array([2])
    """

    needs = frozenset({"dual"})
    row_wise = True

    def score(self, pool: Pool, signals: Signals) -> NDArray[np.float64]:
        """Return the column `dual`."""
        return TopK("dual").score(pool, signals)
