"""Forgetting events: how often an example that was classified correctly turned wrong while
training.

Toneva et al., "An Empirical Study of Example Forgetting during Deep Neural Network Learning", ICLR
2019 (arXiv:1812.05159).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Signals
from coreset.score_based import ScoreBased
from coreset.strategies.baseline.top_k import TopK


@dataclass(frozen=True)
class Forgetting(ScoreBased):
    """Take the most forgotten candidates; those never learned count as the most forgettable.

    The column comes from `coreset.numerics.dynamics.DynamicsRecorder`, which gives a never-learned
    example the number of epochs + 1.

    >>> from coreset import select
    >>> select("forgetting", 1, forgetting=[0, 31, 4]).indices
    array([1])
    """

    needs = frozenset({"forgetting"})
    row_wise = True

    def score(self, pool: Pool, signals: Signals) -> NDArray[np.float64]:
        """Return the column `forgetting`."""
        return TopK("forgetting").score(pool, signals)
