"""Dynamic uncertainty: how much the probability of the true class moves within windows of epochs.

He et al., "Large-scale Dataset Pruning with Dynamic Uncertainty", CVPR Workshops 2024 (arXiv:2306.05175).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Signals
from coreset.scored import Scored
from strategies.baseline.top_k import TopK


@dataclass(frozen=True)
class DynUnc(Scored):
    """Take the candidates with the highest dynamic uncertainty: neither easy nor hopeless.

    >>> from coreset import select
    >>> select("dyn_unc", 1, dyn_unc=[0.1, 0.2, 2.5]).indices
    array([2])
    """

    needs = frozenset({"dyn_unc"})
    row_wise = True

    def score(self, pool: Pool, signals: Signals) -> NDArray[np.float64]:
        """Return the column `dyn_unc`."""
        return TopK("dyn_unc").score(pool, signals)
