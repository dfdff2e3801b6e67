"""The textbook loops: each method as its paper writes it down, in numpy, with no thought for speed.
They are what most people run.
"""

from __future__ import annotations

import heapq
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.floating[Any]]
Whole = NDArray[np.int64]


@numba.njit(cache=True, fastmath={"reassoc", "contract", "nsz"})  # type: ignore[untyped-decorator, unused-ignore]
def _stream(x: Float, k: int, first: int) -> Whole:
    near = np.full(len(x), np.inf, np.float32)
    picks = np.empty(k, np.int64)
    at = first
    for t in range(k):
        far = -1
        for i in range(len(x)):
            total = np.float32(0)
            for d in range(x.shape[1]):
                gap = x[i, d] - x[at, d]
                total += gap * gap
            near[i] = min(near[i], total)
            if far < 0 or near[i] > near[far]:
                far = i
        picks[t] = at = far
    return picks


def k_center_stream(x: Float, k: int, first: int) -> Whole:
    """Farthest-first traversal as one compiled loop: the features are read once per pick, which is
    the fastest way to write it down.
    """
    picks: Whole = _stream(x, k, first)
    return picks


def k_center_pairwise(x: Float, k: int, first: int) -> Whole:
    """Farthest-first traversal with scikit-learn's pairwise distances at each pick, as
    google/active-learning has it.
    """
    from sklearn.metrics import pairwise_distances

    near = pairwise_distances(x, x[[first]])[:, 0]
    picks = np.empty(k, np.int64)
    for t in range(k):
        picks[t] = near.argmax()
        near = np.minimum(near, pairwise_distances(x, x[[picks[t]]])[:, 0])
    return picks


def k_center_table(x: Float, k: int, first: int) -> Whole:
    """Farthest-first traversal that copies the rows left and keeps all k x N distances, as DeepCore
    has it.
    """
    import torch

    rows = torch.from_numpy(x)
    table = torch.zeros(k + 1, len(x))
    free = torch.ones(len(x), dtype=torch.bool)
    picks, at = np.empty(k, np.int64), first
    near = torch.full((len(x),), torch.inf)
    for t in range(k):
        free[at] = False
        table[t, free] = torch.cdist(
            rows[[at]], rows[free], compute_mode="donot_use_mm_for_euclid_dist"
        )[0]
        near = torch.minimum(near, table[t])
        near[~free] = -1
        at = picks[t] = int(near.argmax())
    return picks


def facility_location_lazy(s: Float, k: int) -> Whole:
    """Lazy greedy with a heap of old gains (Minoux, 1978), one gain at a time."""
    best = np.zeros(len(s), s.dtype)
    heap = [(-float(g), j) for j, g in enumerate(s.sum(axis=1, dtype=np.float64))]
    heapq.heapify(heap)
    picks: list[int] = []
    while len(picks) < k:
        _, j = heapq.heappop(heap)
        gain = float(np.maximum(s[j] - best, 0).sum(dtype=np.float64))
        if not heap or (-gain, j) <= heap[0]:
            picks.append(j)
            best = np.maximum(best, s[j])
        else:
            heapq.heappush(heap, (-gain, j))
    return np.array(picks)


def facility_value(s: Float, picks: Whole) -> float:
    """Return the sum over all rows of the largest similarity to a pick."""
    best = np.zeros(len(s))
    for j in picks:
        np.maximum(best, s[j], out=best)
    return float(best.sum())


def graph_cut_naive(s: Float, k: int, lam: float) -> Whole:
    """Greedy on the sum to all minus lambda times the sum within, computing the sums to the picks
    again at each step.
    """
    total, own = s.sum(axis=1, dtype=np.float64), s.diagonal().astype(np.float64)
    picks: list[int] = []
    for _ in range(k):
        gain = total - lam * (2 * s[picks].sum(axis=0, dtype=np.float64) + own)
        gain[picks] = -np.inf
        picks.append(int(gain.argmax()))
    return np.array(picks)


def graph_cut_value(s: Float, picks: Whole, lam: float) -> float:
    """Return the sum from all rows to the picks minus lambda times the sum between picks."""
    part = s[picks].astype(np.float64)
    return float(part.sum() - lam * part[:, picks].sum())


def gradients(x: Float, probs: Float, labels: Whole, bias: bool = True) -> NDArray[np.float32]:
    """Return last-layer gradients written out, (n, C (D + 1)) float32 (C D without bias)."""
    residual = probs.copy()
    residual[np.arange(len(x)), labels] -= 1
    wide = np.concatenate([x, np.ones((len(x), 1), x.dtype)], axis=1) if bias else x
    return (residual[:, :, None] * wide[:, None, :]).reshape(len(x), -1).astype(np.float32)


def graph_cut_released(s: Float, k: int, lam: float) -> Whole:
    """Greedy on lambda times the sum to all minus twice the sum to the picks, by masks over what is
    left, as DeepCore's code goes about it.
    """
    total, taken, every = s.sum(axis=0), np.zeros(len(s), bool), np.arange(len(s))
    picks: list[int] = []
    for _ in range(k):
        rest = every[~taken]
        gain = lam * total[rest] - 2.0 * np.sum(s[taken][:, rest], axis=0)
        picks.append(int(rest[int(np.argmax(gain))]))
        taken[picks[-1]] = True
    return np.array(picks)


def herding_released(x: Float, k: int) -> Whole:
    """Greedy mean matching on a copy of the rows that are left at each pick, as DeepCore's code
    goes about it (its sign set right).
    """
    import torch

    rows = torch.from_numpy(x)
    mean, taken, every = (
        rows.mean(dim=0),
        torch.zeros(len(rows), dtype=torch.bool),
        np.arange(len(rows)),
    )
    picks: list[int] = []
    for t in range(k):
        wanted = mean * (t + 1) - rows[taken].sum(dim=0)
        rest = rows[~taken]
        square = wanted.pow(2).sum() + rest.pow(2).sum(dim=1)
        distance = (square - 2 * (rest @ wanted)).clamp(min=1e-12).sqrt()
        picks.append(int(every[~taken.numpy()][int(distance.argmin())]))
        taken[picks[-1]] = True
    return np.array(picks)


def matching_pursuit_released(a: Float, k: int, lam: float) -> Whole:
    """Orthogonal matching pursuit with all products and a fresh least-squares solution at each
    pick, in the precision of `a`, as DeepCore's code goes about it.
    """
    columns, goal = np.ascontiguousarray(a.T), a.sum(axis=0)
    free, every = np.ones(len(a), bool), np.arange(len(a))
    left, rows, picks = goal.copy(), np.empty((0, a.shape[1]), a.dtype), list[int]()
    for _ in range(k):
        product = columns.T.dot(left)
        picks.append(int(every[free][int(np.argmax(product[free]))]))
        free[picks[-1]] = False
        rows = np.vstack([rows, columns[:, picks[-1]][None]])
        weights = np.linalg.lstsq(
            rows.dot(rows.T) + lam * np.identity(len(rows)), rows.dot(goal), rcond=None
        )[0]
        left = goal - rows.T.dot(weights)
    return np.array(picks)


def matching_pursuit(a: Float, k: int, ridge: float) -> tuple[Whole, NDArray[np.float64]]:
    """Orthogonal matching pursuit on written-out gradients a (n, P): largest product, then a new
    least-squares fit of all weights.
    """
    from scipy.optimize import nnls

    goal = a.sum(axis=0, dtype=np.float64)
    lam = ridge * float(np.square(a, dtype=np.float64).sum(axis=1).mean())
    left, picks = goal, np.empty(0, np.int64)
    for _ in range(k):
        score = a @ left.astype(a.dtype)
        score[picks] = -np.inf
        picks = np.append(picks, int(score.argmax()))
        rows = a[picks].astype(np.float64)
        weights = np.linalg.lstsq(
            rows @ rows.T + lam * np.eye(len(picks)), rows @ goal, rcond=None
        )[0]
        left = goal - weights @ rows
    stacked = np.concatenate([rows.T, np.sqrt(lam) * np.eye(k)])
    weights = nnls(stacked, np.concatenate([goal, np.zeros(k)]))[0]
    return picks, weights


def gradient_distances(a: Float) -> NDArray[np.float32]:
    """Return the Euclidean distances (n, n) between written-out gradients."""
    import torch

    g = torch.from_numpy(a)
    return torch.cdist(g, g).numpy()


def k_means_pp_explicit(g: Float, k: int, rng: np.random.Generator) -> Whole:
    """k-means++ on written-out gradients (n, C D), as the authors of BADGE had it until 2024."""
    picks = [int(np.square(g).sum(axis=1).argmax())]
    near = np.full(len(g), np.inf)
    while len(picks) < k:
        near = np.minimum(near, np.square(g - g[picks[-1]]).sum(axis=1))
        picks.append(int(rng.choice(len(g), p=near / near.sum())))
    return np.array(picks)


def k_means_pp_factored(x: Float, residual: Float, k: int, rng: np.random.Generator) -> Whole:
    """k-means++ on gradients kept as two factors, one pick at a time, as the authors of BADGE have
    it since 2024.
    """
    norms = np.square(x).sum(axis=1) * np.square(residual).sum(axis=1)
    picks = [int(norms.argmax())]
    near = np.full(len(x), np.inf)
    while len(picks) < k:
        at = picks[-1]
        product = (x @ x[at]) * (residual @ residual[at])
        near = np.minimum(near, np.maximum(norms + norms[at] - 2 * product, 0).astype(np.float64))
        near[at] = 0
        picks.append(int(rng.choice(len(x), p=near / near.sum())))
    return np.array(picks)


def k_means_pp_released(x: Float, residual: Float, k: int, rng: np.random.Generator) -> Whole:
    """The factored k-means++ with Python's own sum and a random variable of scipy made anew at each
    pick, as the authors' code of 2024 goes about it.
    """
    from scipy import stats

    norms = np.square(x).sum(axis=1) * np.square(residual).sum(axis=1)
    picks = [int(norms.argmax())]
    near = np.full(len(x), np.inf)
    while len(picks) < k:
        at = picks[-1]
        square = np.clip(norms + norms[at] - 2 * (x @ x[at]) * (residual @ residual[at]), 0, None)
        near = np.minimum(near, np.sqrt(square).astype(np.float64))
        near[picks] = 0
        law = stats.rv_discrete(values=(np.arange(len(x)), near**2 / sum(near**2)))
        drawn = int(law.rvs(size=1, random_state=rng)[0])
        while drawn in picks:
            drawn = int(law.rvs(size=1, random_state=rng)[0])
        picks.append(drawn)
    return np.array(picks)


def potential(g: Float, picks: Whole) -> float:
    """Return the sum of squared distances (n, P) to the nearest pick: what k-means++ brings down."""
    square = np.square(g, dtype=np.float64).sum(axis=1)
    best = np.full(len(g), np.inf)
    for start in range(0, len(picks), 64):
        rows = picks[start : start + 64]
        distance = square[:, None] + square[rows] - 2 * (g @ g[rows].T)
        best = np.minimum(best, distance.min(axis=1))
    return float(np.maximum(best, 0).sum())


def herding(x: Float, k: int) -> Whole:
    """Greedy mean matching: at each step the distance of every possible new mean to the target,
    written out.
    """
    mean = x.mean(axis=0, dtype=np.float64).astype(x.dtype)
    total = np.zeros(x.shape[1], x.dtype)
    picks: list[int] = []
    for t in range(1, k + 1):
        distance = np.linalg.norm(mean - (total + x) / np.float32(t), axis=1)
        distance[picks] = np.inf
        picks.append(int(distance.argmin()))
        total = total + x[picks[-1]]
    return np.array(picks)


def mean_gap(x: Float, picks: Whole) -> float:
    """Return the distance between the mean of all rows and the mean of the picks."""
    return float(
        np.linalg.norm(x.mean(axis=0, dtype=np.float64) - x[picks].mean(axis=0, dtype=np.float64))
    )


def ball_graph(x: Float, radius: float) -> tuple[Whole, Whole]:
    """Return the pairs (i, j) with |x_i - x_j| < radius, i = j included, from scikit-learn
    distances 500 rows at a time.
    """
    from sklearn.metrics import pairwise_distances

    left, right = [], []
    for start in range(0, len(x), 500):
        i, j = np.nonzero(pairwise_distances(x[start : start + 500], x) < radius)
        left.append(i + start)
        right.append(j)
    return np.concatenate(left), np.concatenate(right)


def max_cover(left: Whole, right: Whole, n: int, k: int) -> Whole:
    """Greedy cover of a graph: count the edges to what is not covered, at each step over all edges
    that are left.
    """
    picks: list[int] = []
    for _ in range(k):
        degree = np.bincount(left, minlength=n)
        degree[picks] = -1
        at = int(degree.argmax())
        picks.append(at)
        keep = ~np.isin(right, right[left == at])
        left, right = left[keep], right[keep]
    return np.array(picks)


def max_cover_released(edges: Any, n: int, k: int) -> Whole:
    """The same on a data frame of edges with the columns x and y, as the authors' code goes about
    it.
    """
    picks: list[int] = []
    for _ in range(k):
        degree = np.bincount(edges.x, minlength=n)
        degree[picks] = -1  # theirs takes row 0 again and again once all is covered
        picks.append(int(degree.argmax()))
        covered = edges.y[edges.x == picks[-1]].to_numpy()
        edges = edges[~np.isin(edges.y, covered)]
    return np.array(picks)


def covered(left: Whole, right: Whole, picks: Whole) -> int:
    """Return how many rows the picks cover."""
    return len(np.unique(right[np.isin(left, picks)]))


def max_herding(x: Float, k: int, width: float = 1.0) -> Whole:
    """Greedy kernel coverage from all N x N kernel values: the gain of every row at each step (unit
    rows, Gaussian kernel).
    """
    y = x / np.linalg.norm(x, axis=1, keepdims=True)
    kernel = np.exp(-np.maximum(2 - 2 * (y @ y.T), 0) / np.float32(width) ** 2)
    best = np.zeros(len(x), np.float32)
    picks: list[int] = []
    for _ in range(k):
        gain = np.maximum(kernel - best, 0).sum(axis=1, dtype=np.float64)
        gain[picks] = -1
        picks.append(int(gain.argmax()))
        best = np.maximum(best, kernel[picks[-1]])
    return np.array(picks)


def kernel_coverage(x: Float, picks: Whole, width: float = 1.0) -> float:
    """Return the mean over rows of the largest Gaussian kernel value to a pick (unit rows)."""
    y = x / np.linalg.norm(x, axis=1, keepdims=True)
    best = np.zeros(len(x), np.float32)
    for start in range(0, len(picks), 64):
        rows = picks[start : start + 64]
        np.maximum(
            best, np.exp(-np.maximum(2 - 2 * (y @ y[rows].T), 0) / width**2).max(axis=1), out=best
        )
    return float(best.mean())


def bald_scores(member_probs: Float) -> NDArray[np.float64]:
    """Return the mutual information (n,) of member probabilities (n, T, C)."""
    p = member_probs.astype(np.float64)
    mean = p.mean(axis=1)

    def entropy(q: NDArray[np.float64]) -> NDArray[np.float64]:
        total: NDArray[np.float64] = -np.sum(q * np.log(np.clip(q, 1e-30, None)), axis=-1)
        return total

    gain: NDArray[np.float64] = entropy(mean) - entropy(p).mean(axis=1)
    return gain


def typical_of_clusters(
    x: Float, labels: Whole, k: int, neighbors: int, smallest: int = 5
) -> Whole:
    """TypiClust's choice from given clusters: largest first, the row with the smallest mean
    distance to its neighbors inside the cluster.
    """
    from sklearn.neighbors import NearestNeighbors

    sizes = np.bincount(labels)
    order = np.lexsort(([np.argmax(labels == c) for c in range(len(sizes))], -sizes))
    order = np.concatenate(
        [order[sizes[order] > smallest], order[(sizes[order] <= smallest) & (sizes[order] > 0)]]
    )
    big = int((sizes > smallest).sum())
    picks: list[int] = []
    turn = 0
    while len(picks) < k:
        ring = order[:big] if big else order
        rows = np.setdiff1d(np.flatnonzero(labels == ring[turn % len(ring)]), picks)
        turn += 1
        if not len(rows):
            continue
        if len(rows) == 1:
            picks.append(int(rows[0]))
            continue
        near = max(1, min(neighbors, len(rows) // 2))
        distance, _ = NearestNeighbors(n_neighbors=near + 1).fit(x[rows]).kneighbors(x[rows])
        picks.append(int(rows[distance[:, 1:].mean(axis=1).argmin()]))
    return np.array(picks)
