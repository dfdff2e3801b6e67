"""TDDS: how much the change of the prediction between epochs itself varies, late epochs weighing
most.

Zhang et al., "Spanning Training Progress: Temporal Dual-Depth Scoring (TDDS) for Enhanced Dataset
Pruning", CVPR 2024 (arXiv:2311.13613).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Signals
from coreset.score_based import ScoreBased
from coreset.strategies.baseline.top_k import TopK


@dataclass(frozen=True)
class Tdds(ScoreBased):
    """Take the candidates with the highest TDDS. With the released decay of 0.9 only the last one
    or two windows count.

    >>> from coreset import select
    >>> select("tdds", 1, tdds=[0.1, 0.7, 0.5]).indices
    array([1])
    """

    needs = frozenset({"tdds"})
    row_wise = True

    def score(self, pool: Pool, signals: Signals) -> NDArray[np.float64]:
        """Return the column `tdds`."""
        return TopK("tdds").score(pool, signals)
