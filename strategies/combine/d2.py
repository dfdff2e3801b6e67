"""D2 pruning: difficulty spread over a nearest-neighbor graph, then taken greedily while neighbors
of what is taken lose theirs.

Maharana, Yadav & Bansal, "D2 Pruning: Message Passing for Balancing Diversity and Difficulty in
Data Pruning", ICLR 2024 (arXiv:2310.07931).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from coreset import Pool, Selection, Signals, Strategy
from coreset.numerics.neighbors.nearest import knn
from coreset.numerics.tensors import rows
from coreset.score_based import ScoreBased
from coreset.strategies.combine.ccs import without_hardest
from coreset.strategies.combine.parts import Combined, base_scores
from coreset.strategies.dynamics.forgetting import Forgetting

GRAPH_MODES = ("sum", "product")


@dataclass(frozen=True)
class Graph:
    """An undirected graph in rows: the neighbors of i are `ends[starts[i]:starts[i + 1]]`,
    ascending, at `lengths` of the same slice.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    lengths: NDArray[np.float64]


def neighbor_graph(x: Tensor, neighbors: int) -> Graph:
    """Return the graph that joins each row of `x` (n, D) with its nearest `neighbors` rows (fewer
    when n is small), in either direction.

    >>> import torch
    >>> g = neighbor_graph(torch.tensor([[0.0], [1.0], [3.0]]), 1)
    >>> g.starts.tolist(), g.ends.tolist(), g.lengths.tolist()
    ([0, 1, 3, 4], [1, 0, 2, 1], [1.0, 1.0, 2.0, 2.0])
    """
    n, k = len(x), min(neighbors, len(x) - 1)
    if k < 1:
        return Graph(np.zeros(n + 1, np.int64), np.empty(0, np.int64), np.empty(0))
    distance, index = (t.cpu().numpy() for t in knn(x, k))
    a, b, d = np.repeat(np.arange(n), k), index.reshape(-1), distance.reshape(-1)
    a, b, d = np.concatenate([a, b]), np.concatenate([b, a]), np.concatenate([d, d])
    edge, first = np.unique(a * n + b, return_index=True)
    return Graph(np.searchsorted(edge, np.arange(n + 1) * n), edge % n, d[first])


def message_passing(
    scores: NDArray[np.float64], graph: Graph, k: int, gamma: float, graph_mode: str = "sum"
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return `k` rows in order and the value each was taken with.

    Forward: s_i + sum_j e^-d_ij s_j over the neighbors. Then the largest is taken, ties to the
    lowest row, and each neighbor j not yet taken loses e^(-gamma d_ij) times the value of what was
    taken. scores (n,) >= 0. graph_mode: `sum` as above, `product`: s_i times the sum over the
    neighbors, the other forward pass of the released code. Raises ValueError where products leave
    float64.

    >>> import torch
    >>> message_passing(
    ...     np.array([1.0, 1.0, 0.9]),
    ...     neighbor_graph(torch.tensor([[0.0], [0.1], [9.0]]), 1),
    ...     2,
    ...     1.0,
    ... )[0].tolist()
    [1, 2]
    """
    n = len(scores)
    if graph_mode == "product" and n * float(scores.max(initial=0.0)) > 1e150:
        raise ValueError(
            f"graph_mode: product multiplies scores, and those up to {scores.max():.2g} give more"
            " than float64 holds; scale the scores"
        )
    owner = np.repeat(np.arange(n), np.diff(graph.starts))
    passed = np.bincount(owner, np.exp(-graph.lengths) * scores[graph.ends], n)
    value = (scores * passed if graph_mode == "product" else scores + passed).tolist()
    loss = np.exp(-gamma * graph.lengths)
    heap = [(-v, i) for i, v in enumerate(value)]
    heapq.heapify(heap)
    picks, values = np.empty(k, np.int64), np.empty(k)
    taken = np.zeros(n, bool)
    for step in range(k):
        while True:  # entries whose value has changed since are out of date
            best, i = heapq.heappop(heap)
            if not taken[i] and -best == value[i]:
                break
        picks[step], values[step], taken[i] = i, value[i], True
        for at in range(graph.starts[i], graph.starts[i + 1]):
            j = int(graph.ends[at])
            if not taken[j]:
                value[j] -= loss[at] * value[i]
                heapq.heappush(heap, (-value[j], j))
    return picks, values


@dataclass(frozen=True)
class D2(Combined):
    """Take hard candidates, but not their neighbors in feature space as well.

    base: the difficulty; when a score is negative all are shifted so that the lowest is 0.
    neighbors: edges per candidate. gamma: how far the suppression reaches (small = far). drop:
    share of the hardest left out first (as in CCS; the paper's mislabel ratio). The graph joins
    candidates only. graph_mode: how a score and what its neighbors pass on are joined, `sum` (the
    paper) or `product` (an option of the released code).

    >>> from coreset import select
    >>> x = np.array([[0.0], [0.1], [9.0], [9.5]])
    >>> select(
    ...     "d2", 2, features=x, forgetting=[5.0, 5.1, 4.0, 1.0], options={"neighbors": 1}
    ... ).indices
    array([1, 2])
    """

    base: ScoreBased = field(default_factory=Forgetting)
    neighbors: int = 5
    gamma: float = 0.1
    drop: float = 0.0
    graph_mode: str = "sum"

    own = frozenset({"features"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.neighbors < 1 or self.gamma < 0 or not 0 <= self.drop < 1:
            raise ValueError(
                f"expected neighbors >= 1, gamma >= 0 and drop in [0, 1), got {self.neighbors},"
                f" {self.gamma}, {self.drop}"
            )
        if self.graph_mode not in GRAPH_MODES:
            raise ValueError(
                f"graph_mode: expected {' or '.join(GRAPH_MODES)}, got {self.graph_mode!r}"
            )

    @property
    def parts(self) -> tuple[Strategy, ...]:
        """Return the base."""
        return (self.base,)

    @property
    def greedy(self) -> bool:  # type: ignore[override]
        """Return whether a prefix answers a smaller budget: not when how many are dropped depends
        on the budget.
        """
        return self.drop == 0

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Build the graph on the candidates and take them one by one."""
        scores = base_scores(self.base, pool, signals)
        kept = without_hardest(scores, self.drop, k)
        at = pool.candidates[kept]
        difficulty = scores[kept] - min(scores[kept].min(), 0.0)
        graph = neighbor_graph(rows(signals.column("features"), at), self.neighbors)
        picks, values = message_passing(difficulty, graph, k, self.gamma, self.graph_mode)
        return Selection(at[picks], scores=values)
