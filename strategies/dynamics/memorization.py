"""Memorization, by proxy: the loss of an example summed over training.

Ravikumar et al., "Towards Memorization Estimation: Fast, Formal and Free", ICML 2025 (cumulative
sample loss); for the quantity itself: Feldman & Zhang, "What Neural Networks Memorize and Why",
NeurIPS 2020 (arXiv:2008.03703).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Signals
from coreset.score_based import ScoreBased
from coreset.strategies.baseline.top_k import TopK


@dataclass(frozen=True)
class Memorization(ScoreBased):
    """Take the candidates with the highest memorization: the long tail, and mislabeled examples
    with it.

    `memorization` is the recorder's mean cross-entropy over epochs, or any column of yours such as
    leave-one-out estimates.

    >>> from coreset import select
    >>> select("memorization", 1, memorization=[0.1, 0.7, 0.5]).indices
    array([1])
    """

    needs = frozenset({"memorization"})
    row_wise = True

    def score(self, pool: Pool, signals: Signals) -> NDArray[np.float64]:
        """Return the column `memorization`."""
        return TopK("memorization").score(pool, signals)
