"""Stochastic batches: noise on the scores, so that a batch of top scores does not hold the same
thing many times.

Kirsch, Farquhar, Atighehchian, Jesson, Branchaud-Charron & Gal, "Stochastic Batch Acquisition: A
Simple Baseline for Deep Active Learning", TMLR 2023 (arXiv:2106.12059).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Selection, Signals, Strategy
from coreset.core.ranges import check_range
from coreset.numerics.gumbel import gumbel_order
from coreset.score_based import ScoreBased
from coreset.strategies.combine.parts import Combined, base_scores
from coreset.strategies.uncertainty.bald import Bald

KINDS = ("power", "softmax", "softrank")


def log_weights(scores: NDArray[np.float64], kind: str, beta: float) -> NDArray[np.float64]:
    """Return the log of the weight each score (n,) is drawn by: s^beta (`power`), exp(beta s)
    (`softmax`) or rank^-beta, best = 1 (`softrank`; equal scores have the average of their ranks,
    and so equal chances).

    Raises ValueError for `power` when a score is negative; -1e-9 and above is rounding and counts
    as 0, weight zero.

    >>> (
    ...     log_weights(np.array([1.0, 4.0]), "power", 0.5).round(4).tolist(),
    ...     log_weights(np.array([1.0, 4.0]), "softrank", 1.0).round(4).tolist(),
    ... )
    ([0.0, 0.6931], [-0.6931, -0.0])
    """
    if kind == "softmax":
        return beta * scores
    if kind == "softrank":
        _, level, counts = np.unique(-scores, return_inverse=True, return_counts=True)
        # the average of the ranks of equal scores
        rank = (np.cumsum(counts) - (counts - 1) / 2)[level]
        return -beta * np.log(rank)
    if (scores < -1e-9).any():
        raise ValueError(
            f"power: {int((scores < -1e-9).sum())} scores are negative, lowest {scores.min():.4g};"
            " use kind softmax or softrank"
        )
    with np.errstate(divide="ignore"):
        return np.asarray(beta * np.log(np.maximum(scores, 0.0)))


@dataclass(frozen=True)
class StochasticBatch(Combined):
    """Draw without replacement by the scores of another strategy (Gumbel top-k, keyed by id): with
    BALD and `power`, PowerBALD.

    base: any strategy that scores. kind: `power`, `softmax` or `softrank`. beta: coldness, > 0;
    large = the plain order. Scores: the perturbed log-weights, -inf for weight zero, which is drawn
    only when nothing else is left.

    >>> from coreset import select
    >>> p = np.array([[[0.5, 0.5], [0.5, 0.5]], [[0.9, 0.1], [0.1, 0.9]]])
    >>> select("power_bald", 2, member_probs=p).indices
    array([1, 0])
    """

    base: ScoreBased = field(default_factory=Bald)
    kind: str = "power"
    beta: float = 1.0

    greedy = True
    random = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in KINDS:
            raise ValueError(f"kind: expected {', '.join(KINDS)}, got {self.kind!r}")
        check_range("a number in (0, inf)", beta=self.beta)

    @property
    def parts(self) -> tuple[Strategy, ...]:
        """Return the base."""
        return (self.base,)

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Draw `k` candidates."""
        weights = log_weights(base_scores(self.base, pool, signals), self.kind, self.beta)
        order, keys = gumbel_order(rng, pool.ids[pool.candidates], weights)
        return Selection(pool.candidates[order[:k]], scores=keys[:k], info={"variant": self.kind})
