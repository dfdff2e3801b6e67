"""Selection in two rounds, for a pool that no machine holds whole: every partition chooses for
itself, then one choice is made among all that the partitions chose.

`TwoRounds` is a mixin of the strategies that have such a form of their own; a score that looks at
one row at a time has one without asking (`RowWiseRounds`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from coreset.core.pool import Indices, Pool
from coreset.core.selection import Selection
from coreset.core.signals import Signals
from coreset.core.strategy import Strategy
from coreset.score_based import ScoreBased, by_score


class TwoRounds(ABC):
    """The second round of a strategy, and what can be said of its answer.

    The first is the strategy itself in every partition, for the whole budget k (all rows of a
    smaller partition); the second is `merge`, over the union. Then every partition is read once
    more (`audit`), and what was measured becomes the certificate (`certify`). With one partition
    the answer is that of one round. sampled: the second round also sees a random sample of the
    pool, as large as a partition.
    """

    sampled: ClassVar[bool] = False

    def no_rounds(self) -> str:
        """Return why the strategy with these parameters has no two-round form, "" where it has
        one.
        """
        return ""

    @abstractmethod
    def guarantee(self, partitions: int, k: int) -> tuple[str, float]:
        """Return the theorem that holds, by name, and its factor for this many partitions and
        choices.
        """

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

        pool: its candidates are what the partitions chose, its other rows those of the sample.
        firsts: each partition's choice, sample: the random rows, as positions in the pool.
        """

    @abstractmethod
    def audit(
        self, partition: Signals, union: Signals, answers: Sequence[Selection]
    ) -> NDArray[np.float64]:
        """Return what the rows of one partition say about each answer, (answers, numbers); answers:
        positions in `union`.
        """

    @abstractmethod
    def certify(
        self, audits: NDArray[np.float64], answers: Sequence[Selection], size: int
    ) -> tuple[int, dict[str, Any]]:
        """Return which answer is the best and its certificate. audits: (partitions, answers,
        numbers); size: rows in the pool.
        """


@dataclass(frozen=True)
class RowWiseRounds(TwoRounds):
    """The second round of a score that looks at one row at a time: nothing is lost by it."""

    strategy: ScoreBased

    def guarantee(self, partitions: int, k: int) -> tuple[str, float]:
        """Return that nothing is lost."""
        return "exact: the k highest of all lie among the k highest of each partition", 1.0

    def merge(
        self,
        pool: Pool,
        signals: Signals,
        k: int,
        rng: np.random.Generator,
        firsts: Sequence[Selection],
        sample: Indices,
    ) -> list[Selection]:
        """Return the `k` highest of the scores of the first round. Raises ValueError when they are
        not the same in the union, so that `row_wise` is not true.
        """
        scores = np.full(pool.size, -np.inf)
        for one in firsts:
            assert one.scores is not None
            scores[one.indices] = one.scores
        before, now = scores[pool.candidates], self.strategy.score(pool, signals)
        other = int((~np.isclose(before, now, rtol=1e-6, atol=0)).sum())
        if other:
            raise ValueError(
                f"{type(self.strategy).__name__}: row_wise, but among other rows {other} of"
                f" {len(now)} scores are not the same"
            )
        return [by_score(pool, before, k)]

    def audit(
        self, partition: Signals, union: Signals, answers: Sequence[Selection]
    ) -> NDArray[np.float64]:
        """Return how many rows score higher than the lowest that was taken."""
        scores = self.strategy.score(Pool(partition.size), partition)
        return np.array(
            [[float((scores > one.scores[-1]).sum())] for one in answers if one.scores is not None]
        )

    def certify(
        self, audits: NDArray[np.float64], answers: Sequence[Selection], size: int
    ) -> tuple[int, dict[str, Any]]:
        """Return the lowest score taken, and how many rows of the pool with a higher one were
        left.
        """
        scores = answers[0].scores
        assert scores is not None
        left = audits[:, 0, 0].sum() - (scores > scores[-1]).sum()
        return 0, {"lowest_score": float(scores[-1]), "higher_left": int(left)}


def greedi(value: str, partitions: int, k: int) -> tuple[str, float]:
    """Return the guarantee of two greedy rounds for a monotone submodular function that is a mean
    over the pool. value: its name.
    """
    words = (
        f"GreeDi (Mirzasoleiman et al., 2013): {value} at least (1 - 1/e) / min(partitions, k) of"
        " the largest possible, up to the sampling error of the partitions"
    )
    return words, (1 - float(np.exp(-1))) / min(partitions, k)


def filled_up(one: Selection, others: Indices, k: int) -> Selection:
    """Return `k` rows: those of `one`, then as many of `others` as are missing, without a score."""
    assert one.scores is not None
    more = others[~np.isin(others, one.indices)][: k - len(one)]
    return Selection(
        np.concatenate([one.indices, more]),
        scores=np.append(one.scores, np.full(len(more), np.nan)),
    )


def rounds_of(strategy: Strategy) -> TwoRounds:
    """Return the two-round form of a strategy. Raises ValueError, with the reason, when it has
    none.

    >>> from coreset.registry import strategy
    >>> rounds_of(strategy("margin")).guarantee(partitions=4, k=10)[1]
    1.0
    """
    if isinstance(strategy, TwoRounds):
        why = strategy.no_rounds()
        if not why:
            return strategy
    elif isinstance(strategy, ScoreBased):
        if strategy.row_wise:
            return RowWiseRounds(strategy)
        why = "its score of a row depends on other rows"
    else:
        why = "it has no second round"
    raise ValueError(f"{type(strategy).__name__} cannot choose in two rounds: {why}")


def has_rounds(kind: type) -> bool:
    """Return whether strategies of a class can choose in two rounds, parameters aside.

    >>> from coreset.registry import load
    >>> has_rounds(load("kcenter")), has_rounds(load("badge"))
    (True, False)
    """
    return issubclass(kind, TwoRounds) or (issubclass(kind, ScoreBased) and kind.row_wise)
