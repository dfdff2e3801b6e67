"""Strategies that give every candidate a number: the highest are taken, and combinators read the
numbers.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.columns import times
from coreset.core.pool import Indices, Pool
from coreset.core.selection import Selection
from coreset.core.signals import Signals
from coreset.numerics.tensors import top_k
from coreset.two_rounds import TwoRounds


class ScoreBased(TwoRounds):
    """A strategy that is a score: `score` gives one float64 per candidate, higher = taken sooner,
    ties to the lowest position.

    row_wise: the score of a row depends on that row alone; the highest of each shard then hold the
    highest of all.
    """

    row_wise: bool = False

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

    def no_rounds(self) -> str:
        """Return that a score which looks at other rows has no two-round form."""
        return "" if self.row_wise else "its score of a row depends on other rows"

    def guarantee(self, shards: int, k: int) -> tuple[str, float]:
        """Return that nothing is lost."""
        return "exact: the k highest of all lie among the k highest of each shard", 1.0

    def merge(
        self,
        pool: Pool,
        signals: Signals,
        k: int,
        rng: np.random.Generator,
        firsts: Sequence[Selection],
        sample: Indices,
    ) -> list[Selection]:
        """Take the `k` highest of the scores of the first round. Raises ValueError when they are
        not the same in the union, so that `row_wise` is not true.
        """
        scores = np.full(pool.size, -np.inf)
        for one in firsts:
            assert one.scores is not None
            scores[one.indices] = one.scores
        before, now = scores[pool.candidates], self.score(pool, signals)
        other = int((~np.isclose(before, now, rtol=1e-6, atol=0)).sum())
        if other:
            raise ValueError(
                f"{type(self).__name__}: row_wise, but among other rows {other} of {len(now)}"
                " scores are not the same"
            )
        return [by_score(pool, before, k)]

    def audit(
        self, shard: Signals, union: Signals, answers: Sequence[Selection]
    ) -> NDArray[np.float64]:
        """Return how many rows score higher than the lowest that was taken."""
        scores = self.score(Pool(shard.size), shard)
        return np.array(
            [[float((scores > one.scores[-1]).sum())] for one in answers if one.scores is not None]
        )

    def certify(
        self, audits: NDArray[np.float64], answers: Sequence[Selection], size: int
    ) -> tuple[int, dict[str, Any]]:
        """Return the lowest score taken, and how many rows of the pool with a higher one were left."""
        scores = answers[0].scores
        assert scores is not None
        left = audits[:, 0, 0].sum() - (scores > scores[-1]).sum()
        return 0, {"lowest_score": float(scores[-1]), "higher_left": int(left)}


def by_score(pool: Pool, scores: NDArray[np.float64], k: int, **info: Any) -> Selection:
    """Return the `k` candidates with the highest scores, highest first.

    >>> by_score(Pool(3), np.array([0.1, 0.9, 0.9]), 2).indices
    array([1, 2])
    """
    order = top_k(scores, k)
    return Selection(pool.candidates[order], scores=scores[order], info=info)
