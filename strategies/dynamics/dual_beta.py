"""DUAL with Beta sampling: draw by DUAL score, and towards easier examples the less is kept.

Cho, Shin & Yun, "Lightweight Dataset Pruning without Full Training via Example Difficulty and
Prediction Uncertainty", ICML 2025 (arXiv:2502.06905).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Selection, Signals, Strategy
from coreset.numerics.gumbel import gumbel_order
from coreset.strategies.baseline.top_k import TopK

ANCHORS = 10  # the mean prediction of that many top scores places the Beta density


def beta_log_weights(
    score: NDArray[np.float64], mean_prob: NDArray[np.float64], pruned: float, c_d: float
) -> NDArray[np.float64]:
    """Return ln(score) + ln Beta(mean_prob; 16 - b, b) up to a constant, (n,), with b = 15 (1 - mu)
    (1 - pruned^c_d).

    score (n,) >= 0: DUAL. mean_prob (n,): mean probability of the true class over the same epochs.
    pruned: share that is left out. mu: mean of `mean_prob` over the 10 highest scores.
    Probabilities are kept 1e-12 away from 0 and 1, where the density has its poles.

    >>> beta_log_weights(np.array([0.0, 2.0]), np.array([0.5, 0.5]), 0.0, 4.0).round(3).tolist()
    [-inf, -9.011]
    """
    top = np.argsort(-score, kind="stable")[:ANCHORS]
    b = 15 * (1 - mean_prob[top].mean()) * (1 - pruned**c_d)
    x = np.clip(mean_prob, 1e-12, 1 - 1e-12)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(score) + (15 - b) * np.log(x) + (b - 1) * np.log1p(-x))


@dataclass(frozen=True)
class DualBeta(Strategy):
    """Draw without replacement with probability proportional to DUAL times a Beta density of the
    mean prediction.

    c_d: how late the density moves to easy examples as the budget shrinks (the authors: 4 for
    CIFAR-100). Draws are keyed by id. Scores: the perturbed log-weights, -inf for weight zero.

    >>> from coreset import select
    >>> len(select("dual_beta", 2, dual=[0.1, 0.2, 1.5], mean_prob=[0.9, 0.8, 0.4]))
    2
    """

    c_d: float = 4.0

    needs = frozenset({"dual", "mean_prob"})
    greedy = False
    random = True

    def __post_init__(self) -> None:
        if self.c_d <= 0:
            raise ValueError(f"c_d: expected a positive number, got {self.c_d}")

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Draw `k` candidates; the share left out is 1 - k / candidates."""
        score = TopK("dual").score(pool, signals)
        mean_prob = TopK("mean_prob").score(pool, signals)
        if (score < 0).any() or (mean_prob < 0).any() or (mean_prob > 1).any():
            raise ValueError(
                "dual and mean_prob: expected scores of at least 0 and probabilities in 0..1"
            )
        weights = beta_log_weights(score, mean_prob, 1 - k / len(score), self.c_d)
        order, keys = gumbel_order(rng, pool.ids[pool.candidates], weights)
        return Selection(pool.candidates[order[:k]], scores=keys[:k])
