"""Selection in two rounds, for a pool that no machine holds whole: every shard chooses for itself,
then one choice is made among all that the shards chose.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.pool import Indices, Pool
from coreset.core.selection import Selection
from coreset.core.signals import Signals
from coreset.core.strategy import Strategy


class TwoRounds(Strategy):
    """A strategy that also chooses in two rounds.

    The first is the strategy itself in every shard, for the whole budget k (all rows of a smaller
    shard); the second is `merge`, over the union. Then every shard is read once more (`audit`), and
    what was measured becomes the certificate (`certify`). With one shard the answer is that of one
    round. sampled: the second round also sees a random sample of the pool, as large as a shard.
    """

    sampled: bool = False

    def no_rounds(self) -> str:
        """Return why the strategy with these parameters has no two-round form, "" where it has one."""
        return ""

    @abstractmethod
    def guarantee(self, shards: int, k: int) -> tuple[str, float]:
        """Return the theorem that holds, by name, and its factor for this many shards and choices."""

    @abstractmethod
    def merge(
        self,
        pool: Pool,
        signals: Signals,
        k: int,
        rng: np.random.Generator,
        firsts: Sequence[Selection],
        sample: Indices,
    ) -> list[Selection]:
        """Return answers of `k` rows each, of which `certify` takes the best.

        pool: its candidates are what the shards chose, its other rows those of the sample. firsts:
        each shard's choice, sample: the random rows, as positions in the pool.
        """

    @abstractmethod
    def audit(
        self, shard: Signals, union: Signals, answers: Sequence[Selection]
    ) -> NDArray[np.float64]:
        """Return what the rows of one shard say about each answer, (answers, numbers); answers:
        positions in `union`.
        """

    @abstractmethod
    def certify(
        self, audits: NDArray[np.float64], answers: Sequence[Selection], size: int
    ) -> tuple[int, dict[str, Any]]:
        """Return which answer is the best and its certificate. audits: (shards, answers, numbers);
        size: rows in the pool.
        """
