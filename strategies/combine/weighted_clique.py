"""Weighted clique (UGIES): examples of a high score that differ from those taken, as the heaviest
clique of a graph.

F(S) = alpha sum over i in S of I(x_i) + sum over pairs {i, j} in S of a_ij, with
a_ij = sigmoid(1 - cos(x_i, x_j)) - 1 < 0: F is submodular, and the example with the largest
marginal gain alpha I(x_i) + sum over j in S of a_ij is taken until k are (equations 3, 7 and 8).

Wu, Guo, Li, Liu, Chen, Sang & Gao, "Selecting Samples on Graphs: A Unified Dataset Pruning
Framework for Lossless Training Acceleration", ICML 2026 (arXiv:2606.12913).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from coreset import Pool, Selection, Signals
from coreset.numerics.similarity import Similarity
from coreset.numerics.tensors import rows
from coreset.score_based import ScoreBased
from coreset.strategies.combine.parts import ScoresAndCosines, base_scores, column_at
from coreset.strategies.uncertainty.entropy import Entropy

_BLOCK = 256  # rows already taken whose edges are held at a time


def weighted_clique(
    weights: NDArray[np.float64],
    x: Tensor,
    k: int,
    taken: Tensor | None = None,
    groups: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return `k` rows in order, ties to the lowest, and the gain in F of each.

    weights (n,): alpha I, of any sign. x (n, D): features, of which only directions matter; a zero
    row has cosine 0 to all. taken (m, D): features of what S starts with. groups: the group of each
    row of x (n,) and of taken (m,); edges between different groups weigh 0 (default: one group).
    Time O(k n D) without groups, O(k n + k g D) with groups of at most g rows.

    >>> import torch
    >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> picks, gains = weighted_clique(np.array([1.0, 0.9, 0.7]), x, 2)
    >>> picks.tolist(), gains.round(3).tolist()
    ([0, 2], [1.0, 0.431])
    """
    start = x.new_empty((0, x.shape[1])) if taken is None else taken
    group, start_group = groups or (np.zeros(len(x), np.int64), np.zeros(len(start), np.int64))
    gains = np.array(weights, np.float64)
    members, parts = {}, {}
    for g in np.unique(group).tolist():
        members[g] = np.flatnonzero(group == g)
        part = x if len(members[g]) == len(x) else rows(x, members[g])
        parts[g] = Similarity.of(part, "cosine")
        there = np.flatnonzero(start_group == g)
        for at in range(0, len(there), _BLOCK):
            edges = _edges(parts[g], rows(start, there[at : at + _BLOCK]))
            gains[members[g]] += edges.sum(axis=1)
    picks, values = np.empty(k, np.int64), np.empty(k)
    for step in range(k):
        pick = int(gains.argmax())
        picks[step], values[step] = pick, gains[pick]
        g = int(group[pick])
        gains[members[g]] += _edges(parts[g], x[pick : pick + 1])[:, 0]
        gains[pick] = -np.inf
    return picks, values


def _edges(part: Similarity, others: Tensor) -> NDArray[np.float64]:
    """Return sigmoid(1 - cos) - 1 of each row to `others`; the similarity is (1 + cos) / 2."""
    return -1 / (1 + np.exp(2 - 2 * part.dense(others).astype(np.float64)))


@dataclass(frozen=True)
class WeightedClique(ScoresAndCosines):
    """Take high scores, less what each pair of similar examples has in common.

    base: the score, the node weight (the paper: entropy). alpha: its factor, at least 0; the
    released code uses 1 for CIFAR-100 and 0.2 for ImageNet. column: a column (N,) of groups,
    between which no edge counts: the paper's are k-means clusters inside each class, which keep the
    time for large pools low (None: all pairs count). What is already selected is in S from the
    start. Scores: gains; info: `weight`, the gain of all of them together.

    >>> from coreset import select
    >>> x = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> p = np.array([[0.5, 0.5], [0.55, 0.45], [0.7, 0.3]])
    >>> select("weighted_clique", 2, features=x, probs=p).indices
    array([0, 2])
    """

    base: ScoreBased = field(default_factory=Entropy)
    alpha: float = 1.0
    column: str | None = None

    greedy = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.alpha >= 0:
            raise ValueError(f"alpha: expected a number of at least 0, got {self.alpha}")

    @property
    def own(self) -> frozenset[str]:  # type: ignore[override]
        """Return what is read besides the score's columns."""
        return frozenset({"features"} if self.column is None else {"features", self.column})

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Take the candidates with the largest gains, one after the other."""
        x, groups = signals.column("features"), None
        if self.column is not None:
            both = np.concatenate([pool.candidates, pool.selected])
            _, group = np.unique(column_at(signals, self.column, both), return_inverse=True)
            groups = group[: len(pool.candidates)], group[len(pool.candidates) :]
        picks, gains = weighted_clique(
            self.alpha * base_scores(self.base, pool, signals),
            rows(x, pool.candidates),
            k,
            rows(x, pool.selected),
            groups,
        )
        info = {"weight": float(gains.sum())}
        return Selection(pool.candidates[picks], scores=gains, info=info)
