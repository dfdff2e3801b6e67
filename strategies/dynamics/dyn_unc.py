"""Dynamic uncertainty: how much the probability of the true class moves within windows of epochs.

He et al., "Large-scale Dataset Pruning with Dynamic Uncertainty", CVPR Workshops 2024
(arXiv:2306.05175).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Signals
from coreset.score_based import ScoreBased
from coreset.strategies.baseline.top_k import TopK

SIGNALS = ("dyn_unc", "dyn_unc_all")


@dataclass(frozen=True)
class DynUnc(ScoreBased):
    """Take the candidates with the highest dynamic uncertainty: neither easy nor hopeless.

    signal: `dyn_unc` (without the last window, as released) or `dyn_unc_all` (over every window, as
    the authors of DUAL compute it).

    >>> from coreset import select
    >>> select("dyn_unc", 1, dyn_unc=[0.1, 0.2, 2.5]).indices
    array([2])
    """

    signal: str = "dyn_unc"

    row_wise = True

    def __post_init__(self) -> None:
        if self.signal not in SIGNALS:
            raise ValueError(f"signal: expected {' or '.join(SIGNALS)}, got {self.signal!r}")

    @property
    def needs(self) -> frozenset[str]:
        """Return the one column that is read."""
        return frozenset({self.signal})

    def score(self, pool: Pool, signals: Signals) -> NDArray[np.float64]:
        """Return the column of that name."""
        return TopK(self.signal).score(pool, signals)
