"""Influence votes: examples that are among the most influential for many tasks at once.

Wu, Xia, Shao, Deng, Koh & Russakovsky, "ICONS: Influence Consensus for Vision-Language Data
Selection", 2025 (arXiv:2501.00654). The influence of an example on a task is any number of yours,
in the paper LESS' cosine of gradients, a mean over the task's validation examples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Selection, Signals
from coreset.core.ranges import check_range
from coreset.numerics.tensors import rows, top_k
from coreset.score_based import ScoreBased


def count_votes(influence: NDArray[np.floating], percentile: float = 80.0) -> NDArray[np.int64]:
    """Return how many tasks each row of `influence` (n, T) has a vote of, (n,): a task votes for
    what lies at or above this percentile (linear) of its column.

    >>> count_votes(np.array([[5.0, 1.0], [4.0, 9.0], [1.0, 2.0]]), 50).tolist()
    [1, 2, 1]
    """
    votes: NDArray[np.int64] = (influence >= np.percentile(influence, percentile, axis=0)).sum(
        axis=1
    )
    return votes


@dataclass(frozen=True)
class Votes(ScoreBased):
    """Take the candidates with the most votes; of equal votes the lowest id.

    Needs `influence` (N, T), one column a task. percentile: from which on a task votes, among the
    candidates. Scores: the votes.

    >>> from coreset import select
    >>> select(
    ...     "votes", 1, influence=[[5.0, 1.0], [4.0, 9.0], [1.0, 2.0]], options={"percentile": 50}
    ... ).indices
    array([1])
    """

    percentile: float = 80.0

    needs = frozenset({"influence"})

    def __post_init__(self) -> None:
        check_range("a number in [0, 100]", percentile=self.percentile)

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Return the `k` candidates with the most votes."""
        by_id = np.argsort(pool.ids[pool.candidates])
        scores = self.score(pool, signals)[by_id]
        picks = top_k(scores, k)
        return Selection(pool.candidates[by_id[picks]], scores=scores[picks])

    def score(self, pool: Pool, signals: Signals) -> NDArray[np.float64]:
        """Return the votes. Raises ValueError for influences that are no numbers per task."""
        column = signals.column("influence")
        if len(column.shape) != 2:
            raise ValueError(f"influence: expected shape (N, T), got {tuple(column.shape)}")
        return count_votes(
            rows(column, pool.candidates).double().cpu().numpy(), self.percentile
        ).astype(np.float64)
