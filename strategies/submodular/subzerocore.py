"""SubZeroCore: facility location in which an example stands for others with a weight of its own,
the higher the more usual the density around it.

f(S) = sum over i in V of max over j in S of s_j max(cos(x_i, x_j), 0); V: candidates and what is
already taken. s_j = exp(-(r_j - mu)^2 / (2 sigma^2)), r_j: cosine distance to the K-th nearest of
V, mu and sigma: mean and standard deviation of all r. K: the fewest neighbors of which a random S
of the wanted size holds one with probability at least `coverage`, 1 - product over t = 1 ... K of
(N - M - t) / (N - t) for M of N examples.

Moser, Nauen, Shanbhag, Raue, Frolov, Folz & Dengel, "SubZeroCore: A Submodular Approach with Zero
Training for Coreset Selection", 2025 (arXiv:2509.21748); the probability: Naeem et al., "Reliable
Fidelity and Diversity Metrics for Generative Models", ICML 2020. The weight s_j and K are those of
a public re-implementation; they were not compared with the authors' code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Selection, Signals, Strategy
from coreset.core.ranges import check_range
from coreset.numerics.greedy import maximize
from coreset.numerics.neighbors.nearest import knn
from coreset.numerics.similarity import Matrix, Similarity, Sparse
from coreset.numerics.tensors import rows
from coreset.strategies.submodular.common import DENSE_UP_TO, NEIGHBORS
from coreset.strategies.submodular.facility_location import FacilityLocationFunction

_ROWS = 512  # rows whose K-th nearest are looked for at a time


def rank_for(n: int, m: int, coverage: float) -> int:
    """Return K for `m` of `n` examples: at least 1, at most n - m - 1 where that is more.

    >>> rank_for(500, 112, 0.6), rank_for(500, 112, 0.1), rank_for(3, 3, 0.6)
    (4, 1, 1)
    """
    t = np.arange(1, max(n - m, 1))
    missed = np.cumprod((n - m - t) / (n - t))
    return min(int((1 - missed < coverage).sum()) + 1, max(n - m - 1, 1))


def usual(radius: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weight of each radius (n,): 1 at their mean, falling as a normal density; 1 for
    all where they are equal.

    >>> usual(np.array([1.0, 2.0, 3.0])).round(3).tolist()
    [0.472, 1.0, 0.472]
    """
    away, spread = radius - radius.mean(), radius.std()
    return np.exp(-((away / spread) ** 2) / 2) if spread > 1e-12 else np.ones(len(radius))


def weighted(measure: Similarity, rank: int, neighbors: int) -> Matrix | Sparse:
    """Return s_j max(cos(x_i, x_j), 0), row j: what j is to each i, rounded to multiples of 2^-20;
    of all pairs (neighbors = 0) or of the nearest `neighbors` of each i, the others 0. measure:
    cosine.
    """
    n = len(measure.x)
    rank = min(rank, n - 1)
    if neighbors:
        radius = np.square(knn(measure.ready, rank)[0][:, -1].double().cpu().numpy()) / 2
        near, _ = measure.nearest(neighbors)
        weight = np.repeat(usual(radius), np.diff(near.start))
        value = _rounded(weight * np.maximum(2 * near.value - 1, 0))
        return Sparse(near.start, near.column, value, near.variant)
    cosine = 2 * measure.dense() - 1
    own = cosine.diagonal().copy()
    np.fill_diagonal(cosine, -np.inf)
    radius = np.zeros(n)
    for at in range(0, n if rank else 0, _ROWS):
        part = np.partition(cosine[at : at + _ROWS], n - rank, axis=1)[:, n - rank]
        radius[at : at + _ROWS] = 1 - part.astype(np.float64)
    np.fill_diagonal(cosine, own)
    weight = usual(radius)
    for j in range(n):
        cosine[j] = _rounded(weight[j] * np.maximum(cosine[j], 0))
    return cosine


def _rounded(s: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return multiples of 2^-20, whose sums are exact in any order."""
    return (np.round(s * 2.0**20) * 2.0**-20).astype(np.float32)


@dataclass(frozen=True)
class SubZeroCore(Strategy):
    """Take the examples that stand best for all others, each as far as its density is usual.

    coverage: between 0 and 1; more of it compares densities of wider surroundings. neighbors: 0
    compares all pairs (4 n^2 bytes); a number keeps the similarities to each example's nearest;
    `auto` compares all pairs up to 8,000 examples and keeps 32 neighbors beyond. Weights depend on
    the budget, so that a prefix answers no smaller one. Where K is 1 two mutual nearest neighbors
    can tie exactly; the lower position is taken. Per class: inside `class_quota`. Scores: gains;
    info: `value` of f less that of what is selected, and `neighbor`, K.

    >>> from coreset import select
    >>> x = np.array([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [0.0, 1.0]])
    >>> select("subzerocore", 1, features=x).indices
    array([2])
    """

    coverage: float = 0.6
    neighbors: int | str = "auto"

    needs = frozenset({"features"})
    needs_selected = frozenset({"features"})
    greedy = False

    def __post_init__(self) -> None:
        check_range("a number in (0, 1)", coverage=self.coverage)
        if self.neighbors != "auto" and (not isinstance(self.neighbors, int) or self.neighbors < 0):
            raise ValueError(
                "neighbors: expected 'auto' or a whole number of at least 0, got"
                f" {self.neighbors!r}"
            )

    @property
    def scales(self) -> Mapping[str, Mapping[str, float] | None]:
        """Return that features may have any scale, for cosines."""
        return {"features": {}}

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Weight every example for this budget and maximize greedily."""
        ground = np.sort(np.concatenate([pool.candidates, pool.selected]))
        n = len(ground)
        rank = rank_for(n, k + len(pool.selected), self.coverage)
        neighbors = self.neighbors
        if isinstance(neighbors, str):
            neighbors = 0 if n <= DENSE_UP_TO else NEIGHBORS
        measure = Similarity.of(rows(signals.column("features"), ground), "cosine")
        function = FacilityLocationFunction(weighted(measure, rank, neighbors))
        for item in np.searchsorted(ground, np.sort(pool.selected)).tolist():
            function.add(item)
        before = function.value
        items = np.searchsorted(ground, pool.candidates)
        answer = maximize(function, k, items, "lazy", pool.ids[pool.candidates], rng)
        info = {"value": function.value - before, "neighbor": rank}
        return Selection(ground[answer.picks], scores=answer.gains, info=info)
