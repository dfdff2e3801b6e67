"""CCS, coverage-centric coreset selection: drop the hardest, then spread the budget evenly over the
range of difficulty.

Zheng et al., "Coverage-centric Coreset Selection for High Pruning Rates", ICLR 2023, Algorithm 1
(arXiv:2210.15809).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Selection, Signals, Strategy
from coreset.core.ranges import check_range
from coreset.numerics.random import keyed_order
from coreset.numerics.tensors import top_k
from coreset.score_based import ScoreBased
from coreset.strategies.combine.parts import Combined, base_scores
from coreset.strategies.dynamics.aum import Aum


def without_hardest(scores: NDArray[np.float64], share: float, k: int) -> NDArray[np.int64]:
    """Return the rows that stay, ascending, when the floor(share n) highest scores are dropped; at
    least `k` stay.

    >>> without_hardest(np.array([0.1, 0.9, 0.5, 0.4]), 0.5, 1)
    array([0, 3])
    """
    drop = min(int(share * len(scores) + 1e-9), len(scores) - k)
    stays = np.ones(len(scores), bool)
    if drop > 0:
        stays[top_k(scores, drop)] = False
    return np.flatnonzero(stays)


def strata(scores: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Return the stratum, 0 to count - 1, of each score (n,): equal width from the lowest to the
    highest, the highest in the last.

    >>> strata(np.array([-4.0, -3.0, -2.5, -2.0]), 2)
    array([0, 1, 1, 1])
    """
    low, high = float(scores.min()), float(scores.max())
    width = (high - low) or 1.0
    return np.minimum(((scores - low) / width * count).astype(np.int64), count - 1)


def even_budgets(sizes: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Split `k` over strata of `sizes` (S,): the smallest first, each its size or an equal share of
    what is left. Exact when the strata hold `k`.

    >>> even_budgets(np.array([1, 10, 0, 4]), 9)
    array([1, 4, 0, 4])
    """
    out = np.zeros(len(sizes), np.int64)
    for done, s in enumerate(np.argsort(sizes, kind="stable")):
        out[s] = min(int(sizes[s]), (k - int(out.sum())) // (len(sizes) - done))
    return out


@dataclass(frozen=True)
class Ccs(Combined):
    """Drop the share `beta` of hardest candidates, cut the rest into `bins` strata of equal width,
    and draw uniformly in each (keyed by id).

    base: the score whose highest values are the hardest. beta: the paper uses 0.3 to keep 10 % of
    CIFAR-10, 0 to keep 50 %; fewer are dropped when fewer than k would stay (`info["dropped"]`).
    For classes in proportion put it inside `class_quota`.

    >>> from coreset import select
    >>> select(
    ...     "ccs", 2, aum=[-9.0, 1.0, 1.1, 1.2, 5.0], options={"beta": 0.2, "bins": 2}
    ... ).indices.tolist()[0] in (1, 2, 3, 4)
    True
    """

    base: ScoreBased = field(default_factory=Aum)
    beta: float = 0.1
    bins: int = 50

    random = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("a share in [0, 1)", beta=self.beta)
        if self.bins < 1:
            raise ValueError(f"bins: expected at least 1, got {self.bins}")

    @property
    def parts(self) -> tuple[Strategy, ...]:
        """Return the base."""
        return (self.base,)

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Return the draw of all strata in one random order."""
        scores = base_scores(self.base, pool, signals)
        kept = without_hardest(scores, self.beta, k)
        kept = kept[keyed_order(rng, pool.ids[pool.candidates[kept]])]
        stratum = strata(scores[kept], self.bins)
        budgets = even_budgets(np.bincount(stratum, minlength=self.bins), k)
        by_stratum = np.argsort(stratum, kind="stable")  # inside a stratum the random order stays
        starts = np.searchsorted(stratum[by_stratum], np.arange(self.bins))
        rank = np.empty(len(kept), np.int64)
        rank[by_stratum] = np.arange(len(kept)) - starts[stratum[by_stratum]]
        drawn = kept[rank < budgets[stratum]]
        return Selection(
            pool.candidates[drawn], scores=scores[drawn], info={"dropped": len(scores) - len(kept)}
        )
