"""Graph cut: examples that are like many others and unlike one another.

f(S) = sum over i in V, j in S of s_ij - lambda * sum over i, j in S of s_ij (ordered pairs, i = j
included); V: candidates and what is already taken. Submodular for similarities of at least 0,
monotone for lambda <= 1/2.

Iyer & Bilmes, "Submodular Optimization with Submodular Cover and Submodular Knapsack Constraints",
NeurIPS 2013 (arXiv:1311.2106); for coreset selection Guo, Zhao & Bai, "DeepCore", DEXA 2022
(arXiv:2204.08499), whose weight on the first sum is 1 / lambda here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coreset import Signals
from coreset.numerics.compiled import compiled
from coreset.numerics.greedy import Greedy, Items, SetFunction, Values, drop, heapify, sink
from coreset.numerics.similarity import Linear, Matrix, Sparse
from coreset.numerics.tensors import as_tensor
from coreset.strategies.submodular.common import Pairwise, Submodular


@compiled
def row_sums(s: Matrix) -> tuple[Values, float]:
    """Return the sum of each row in float64, and the smallest entry or 0 if that is lower."""
    out = np.empty(len(s))
    least = 0.0
    for j in range(len(s)):
        row = s[j]
        total, negative = (
            0.0,
            np.int32(0),
        )  # counting what is negative goes in vector registers, a running minimum does not
        for i in range(s.shape[1]):
            total += row[i]
            negative += np.int32(row[i] < 0)
        out[j] = total
        if negative:
            least = min(least, np.float64(row.min()))
    return out, least


@compiled
def _cut(
    s: Matrix, twice: float, current: Values, items: Items, picks: Items, gains: Values
) -> None:
    """Fill picks and gains: the largest of `current`, ties to the first of `items`, which then
    falls by 2 lambda times the row of the pick.
    """
    left = items.copy()
    size = len(left)
    for t in range(len(picks)):
        best = 0
        for m in range(1, size):
            if current[left[m]] > current[left[best]]:
                best = m
        pick = left[best]
        picks[t], gains[t] = pick, current[pick]
        for m in range(best, size - 1):  # the others stay in order
            left[m] = left[m + 1]
        size -= 1
        row = s[pick]
        for i in range(len(current)):
            current[i] -= twice * np.float64(row[i])


class GraphCutFunction(SetFunction):
    """Graph cut from a symmetric matrix (n, n) or its nearest-neighbor part; all gains are kept up
    to date.

    bonus (n,): a modular part, added to each item's gain (default none).
    """

    state = ("current",)

    def __init__(
        self, similarity: Matrix | Sparse, lam: float, bonus: Values | None = None
    ) -> None:
        self.size, self.similarity, self.lam = len(similarity), similarity, lam
        if isinstance(similarity, Sparse):
            total = np.add.reduceat(similarity.value, similarity.start[:-1], dtype=np.float64)
            own, least = similarity.own().astype(np.float64), similarity.value.min()
            self.variant = similarity.variant
        else:
            total, least = row_sums(similarity)
            own = similarity.diagonal().astype(np.float64)
        self.current = total - lam * own if bonus is None else total - lam * own + bonus
        self.submodular = bool(least >= 0)
        self.monotone = self.submodular and lam <= 0.5 and bonus is None

    def gains(self, items: Items) -> Values:
        """Return the gain of each item."""
        return self.current[items]

    def add(self, item: int) -> None:
        """Put `item` into S."""
        self.value += float(self.current[item])
        s = self.similarity
        if isinstance(s, Sparse):
            part = slice(s.start[item], s.start[item + 1])
            self.current[s.column[part]] -= 2 * self.lam * s.value[part]
        else:
            self.current -= (2 * self.lam) * s[item].astype(np.float64)

    def exact(self, k: int, items: Items) -> Greedy | None:
        """Return the greedy choice in one compiled loop, since all gains are at hand; None for a
        sparse matrix.
        """
        if isinstance(self.similarity, Sparse):
            return None
        picks, gains = np.empty(k, np.int64), np.empty(k)
        _cut(self.similarity, 2 * self.lam, self.current, np.sort(items), picks, gains)
        self.value += float(gains.sum())
        return Greedy(picks, gains, k * len(items))


@compiled
def _cut_sums(
    kernel: tuple[Matrix, Items, Values, float], twice: float, base: Values, taken: Values,
    items: Items, bound: Values, picks: Items, gains: Values,
) -> int:  # fmt: skip
    """Fill picks and gains by lazy greedy; return how many gains were computed. bound: no less than
    the gains of `items`, lowered as we go; taken: phi summed over S, added to.
    """
    x, rows, scale, offset = kernel
    heap, fresh = np.arange(len(items)), np.full(len(items), -1)
    heapify(heap, bound)
    size, evaluations, last = len(items), 0, len(taken) - 1
    for t in range(len(picks)):
        while fresh[heap[0]] < t:
            slot = heap[0]
            item = items[slot]
            row, total = x[rows[item]], 0.0
            for d in range(last):
                total += row[d] * taken[d]
            bound[slot] = base[item] - twice * (scale[item] * total + offset * taken[last])
            fresh[slot] = t
            evaluations += 1
            sink(heap, bound, 0, size)
        slot = heap[0]
        picks[t], gains[t] = items[slot], bound[slot]
        size = drop(heap, bound, size)
        row = x[rows[items[slot]]]
        for d in range(last):
            taken[d] += scale[items[slot]] * row[d]
        taken[last] += offset
    return evaluations


class GraphCutSums(SetFunction):
    """Graph cut from a linear kernel, exactly and without a matrix: sum over i in V of s_ij = phi_j
    . (sum of phi over V).
    """

    state = ("taken",)
    variant = "sums of features"

    def __init__(self, kernel: Linear, lam: float, bonus: Values | None = None) -> None:
        self.size, self.kernel, self.lam = len(kernel.rows), kernel, lam
        self.base = kernel.inner(np.arange(self.size), kernel.total()) - lam * kernel.squares()
        if bonus is not None:
            self.base = self.base + bonus
        self.taken = np.zeros(kernel.x.shape[1] + 1)  # sum of phi over S
        # cosines are shifted to [0, 1]
        self.submodular = kernel.offset > 0 or not (kernel.x[kernel.rows] < 0).any()
        self.monotone = self.submodular and lam <= 0.5 and bonus is None

    def gains(self, items: Items) -> Values:
        """Return the gain of each item: O(D) each."""
        return self.base[items] - (2 * self.lam) * self.kernel.inner(items, self.taken)

    def add(self, item: int) -> None:
        """Put `item` into S."""
        self.value += float(self.gains(np.array([item]))[0])
        self.taken += self.kernel.phi(item)

    def exact(self, k: int, items: Items) -> Greedy | None:
        """Return the greedy choice in one compiled lazy loop;
        None where old gains are no bounds.
        """
        if not self.submodular:
            return None
        items = np.sort(items)
        picks, gains, bound = np.empty(k, np.int64), np.empty(k), self.gains(items)
        kernel = (self.kernel.x, self.kernel.rows, self.kernel.scale, self.kernel.offset)
        count = _cut_sums(kernel, 2 * self.lam, self.base, self.taken, items, bound, picks, gains)
        self.value += float(gains.sum())
        bounds = np.full(self.size, np.inf)
        bounds[items] = bound
        return Greedy(picks, gains, len(items) + count, bounds)


@dataclass(frozen=True)
class GraphCut(Pairwise, Submodular):
    """Take examples with a large similarity to all, less `lam` times that among the taken.

    lam: 0 or more; at most 0.5 keeps f monotone (and the guarantee of greedy), more spreads the
    choice out. neighbors: `auto` computes cosine and dot exactly from sums of features, without any
    matrix; the other similarities from all pairs up to 8,000 examples and 32 neighbors beyond. 0:
    all pairs. k: each example's k nearest, symmetric, zero elsewhere. Scores: gains. The other
    parameters: see `Submodular` and `Pairwise`.

    >>> from coreset import select
    >>> x = np.array([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [0.0, 1.0]])
    >>> select("graph_cut", 2, features=x, options={"lam": 2.0}).indices
    array([2, 3])
    """

    lam: float = 0.5
    neighbors: int | str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.lam >= 0:
            raise ValueError(f"lam: expected a number of at least 0, got {self.lam}")

    def function(self, signals: Signals, ground: Items) -> SetFunction:
        """Return the function on the ground set."""
        return self.cut(signals, ground)

    def cut(self, signals: Signals, ground: Items, bonus: Values | None = None) -> SetFunction:
        """Return the graph cut in the form that `neighbors` asks for, with a modular part."""
        if self.neighbors == "auto" and self.linear:
            kernel = Linear.of(as_tensor(signals.column("features")), ground, self.similarity)
            return GraphCutSums(kernel, self.lam, bonus)
        similarity, _ = self.graph(signals, ground)
        similarity = similarity.symmetric() if isinstance(similarity, Sparse) else similarity
        return GraphCutFunction(similarity, self.lam, bonus)
