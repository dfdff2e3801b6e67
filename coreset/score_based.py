"""Strategies that give every candidate a number: the highest are taken, and combinators read the
numbers.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from coreset.core.columns import times
from coreset.core.pool import Pool
from coreset.core.selection import Selection
from coreset.core.signals import Signals
from coreset.core.strategy import Strategy
from coreset.numerics.tensors import top_k


class ScoreBased(Strategy):
    """A strategy that is a score: `score` gives one float64 per candidate, higher = taken sooner,
    ties to the lowest position.

    row_wise: the score of a row depends on that row alone, so that the highest of each part of a
    pool hold the highest of all (`coreset.two_rounds`).
    """

    row_wise: ClassVar[bool] = False

    @abstractmethod
    def score(self, pool: Pool, signals: Signals) -> NDArray[np.float64]:
        """Return one number per entry of `pool.candidates`, higher = better."""

    def scores(self, pool: Pool, signals: Signals) -> NDArray[np.float64]:
        """Return the score of every candidate, (n,) in the order of `pool.candidates`, after the
        checks that calling the strategy makes.

        Raises KeyError, TypeError or ValueError as calling it does, and ValueError when a score is
        not finite.
        """
        columns, powers = self.ready(pool, signals, self.check(pool, signals, 1))
        scores = np.asarray(self.score(pool, columns), np.float64)
        strange = int((~np.isfinite(scores)).sum())
        if strange:
            raise ValueError(
                f"{type(self).__name__}: {strange} scores are not finite (from"
                f" {', '.join(sorted(self.needs))})"
            )
        for name, power in powers.items():
            scores = times(scores, -power * (self.scales[name] or {}).get("scores", 0))
        return scores

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Take the `k` highest scores."""
        return by_score(pool, self.score(pool, signals), k)


def by_score(pool: Pool, scores: NDArray[np.float64], k: int, **info: Any) -> Selection:
    """Return the `k` candidates with the highest scores, highest first.

    >>> by_score(Pool(3), np.array([0.1, 0.9, 0.9]), 2).indices
    array([1, 2])
    """
    order = top_k(scores, k)
    return Selection(pool.candidates[order], scores=scores[order], info=info)
