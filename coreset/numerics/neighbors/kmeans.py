"""k-means: k-means++ seeding and Lloyd's iterations, the same clusters however the rows are
arranged.

Arthur & Vassilvitskii, "k-means++: The Advantages of Careful Seeding", SODA 2007; Lloyd, "Least
Squares Quantization in PCM", 1982.

Our own rather than a library's, for one reason: the rows are walked in an order keyed by id, sums
are float64 and near ties of the float32 products are settled in float64 (see `distances`). So the
answer depends on the seed and the ids alone: not on threads, the matrix library or the arrangement
of the pool.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset.numerics.compiled import compiled, largest
from coreset.numerics.neighbors.distances import (
    Float,
    Frame,
    error_unit,
    exact_rows,
    float32_products,
    square_distance,
)
from coreset.numerics.random import keyed_order

_BLOCK = 2**21


@dataclass(frozen=True, eq=False)
class Clusters:
    """centers (K, D) float64; labels (N,) the nearest center of each row, ties to the lowest;
    distances (N,) float64 to it, Euclidean. On the CPU.
    """

    centers: NDArray[np.float64]
    labels: NDArray[np.int64]
    distances: NDArray[np.float64]

    def sizes(self) -> NDArray[np.int64]:
        """Return how many rows each center has (K,); a center may have none when rows coincide."""
        return np.bincount(self.labels, minlength=len(self.centers)).astype(np.int64)


@compiled
def _nearest_center(
    product: Float,
    half: Float,
    slack: Float,
    x: Float,
    centers: Float,
    labels: NDArray[np.int64],
    squares: Float,
) -> None:
    """Label a block of rows. product holds <x, c>, half |c|^2 / 2, slack the error of their
    difference per row.
    """
    score = np.empty(product.shape[1], np.float32)
    for i in range(product.shape[0]):
        for j in range(product.shape[1]):
            score[j] = product[i, j] - half[j]
        cut = largest(score) - 2 * slack[i]
        squares[i] = np.inf
        for j in range(product.shape[1]):
            if score[j] >= cut:
                d = square_distance(x[i], centers[j])
                if d < squares[i]:
                    squares[i], labels[i] = d, j


@compiled
def _sums(
    x: Float,
    order: NDArray[np.int64],
    labels: NDArray[np.int64],
    sums: Float,
    counts: NDArray[np.int64],
) -> None:
    for i in order:
        counts[labels[i]] += 1
        for d in range(x.shape[1]):
            sums[labels[i], d] += np.float64(x[i, d])


@compiled
def _lower(x: Float, row: Float, squares: Float) -> None:
    """Lower `squares` (N,) to the squared distances from `row`, in float64."""
    for i in range(len(x)):
        squares[i] = min(squares[i], square_distance(x[i], row))


def assign(
    x: Tensor, centers: Tensor | NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the nearest of `centers` (K, D) for each row of `x` (N, D), ties to the lowest, and
    the Euclidean distance to it in float64; as numpy arrays.

    >>> labels, distances = assign(torch.tensor([[0.0], [3.0]]), torch.tensor([[1.0], [4.0]]))
    >>> labels.tolist(), distances.tolist()
    ([0, 1], [1.0, 1.0])
    """
    frame = Frame.of(x)
    return _assign(
        x, *frame.rows(x), frame, torch.as_tensor(centers, dtype=torch.float64, device=x.device)
    )


def _assign(
    x: Tensor, a: Tensor, length: Tensor, frame: Frame, centers: Tensor
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    c, reach = frame.rows(centers)
    half = (reach.square() / 2).float()
    slack = (
        error_unit(x.shape[1]) * (length + reach.max()).square() + 1e-37
    ).float()  # twice what half a squared distance needs
    labels, squares = np.empty(len(x), np.int64), np.empty(len(x))
    step = max(1, _BLOCK // len(c))
    on_cpu = x.device.type == "cpu"
    exact, exact_centers = (
        (exact_rows(x), centers.numpy()) if on_cpu else (np.empty((0, 0)), np.empty((0, 0)))
    )
    for start in range(0, len(x), step):
        part = slice(start, start + step)
        product = float32_products(a[part], c)
        if on_cpu:
            _nearest_center(
                product.numpy(),
                half.numpy(),
                slack[part].numpy(),
                exact[part],
                exact_centers,
                labels[part],
                squares[part],
            )
        else:
            near, square = _nearest_center_torch(product, half, slack[part], x[part], centers)
            labels[part], squares[part] = near.cpu().numpy(), square.cpu().numpy()
    return labels, np.sqrt(squares)


def _nearest_center_torch(
    product: Tensor, half: Tensor, slack: Tensor, x: Tensor, centers: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what `_nearest_center` fills in, on any device."""
    score = product - half
    i, j = torch.nonzero(score >= (score.max(dim=1).values - 2 * slack)[:, None], as_tuple=True)
    d = torch.cat(
        [
            (x[m].double() - centers[n]).square().sum(dim=1)
            for m, n in zip(torch.split(i, 8192), torch.split(j, 8192), strict=True)
        ]
    )
    square = torch.full((len(x),), torch.inf, dtype=torch.float64, device=x.device).scatter_reduce(
        0, i, d, "amin"
    )
    tied = torch.where(d == square[i], j, len(half))
    label = torch.full((len(x),), len(half), dtype=torch.int64, device=x.device).scatter_reduce(
        0, i, tied, "amin"
    )
    return label, square


def d2_sample(
    x: Tensor,
    k: int,
    rng: np.random.Generator,
    order: NDArray[np.int64],
    squares: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return `k` distinct rows of `x` (N, D) and the squared distance (k,) each had from all rows
    drawn before, in proportion to which it was drawn (k-means++).

    order (N,): the arrangement in which the draw walks the rows; one keyed by id makes the answer
    independent of how they lie. squares (N,): squared distances to what is there already; None: the
    first draw is uniform. Where every row left coincides with one drawn, the next of `order` is
    taken.

    >>> x = torch.tensor([[0.0], [0.0], [5.0]])
    >>> d2_sample(x, 2, np.random.default_rng(0), np.arange(3))[0].tolist()
    [1, 2]
    """
    exact = exact_rows(x.cpu())
    nearest = np.full(len(x), np.inf) if squares is None else np.array(squares, np.float64)
    taken = np.zeros(len(x), bool)
    picks, at_draw = np.empty(k, np.int64), np.empty(k)
    for i in range(k):
        u = rng.random()
        if np.isinf(nearest[order[0]]):
            pick = int(order[int(u * len(order))])
        else:
            mass = np.cumsum(nearest[order])
            at = int(np.searchsorted(mass, u * mass[-1], side="right"))
            pick = (
                int(order[at])
                if mass[-1] > 0 and at < len(order) and not taken[order[at]]
                else int(order[np.argmin(taken[order])])
            )
        picks[i], at_draw[i], taken[pick] = pick, nearest[pick], True
        _lower(exact, exact[pick], nearest)
    return picks, at_draw


def kmeans(
    x: Tensor,
    k: int,
    rng: np.random.Generator,
    ids: NDArray[Any],
    iterations: int = 25,
    seeding_rows: int = 20_000,
) -> Clusters:
    """Cluster the rows of `x` (N, D) around `k` centers: k-means++ on a random sample, then Lloyd
    until nothing moves or `iterations` are done.

    ids (N,): names of the rows; random choices are keyed by them. seeding_rows: size of the sample
    the seeding looks at (at least 4 k rows, at most all). A center that loses all its rows stays
    where it is. Memory: one float32 copy of x. On a GPU the products run there. Raises ValueError
    when k is not between 1 and N.

    >>> x = torch.tensor([[0.0], [1.0], [9.0], [10.0]])
    >>> clusters = kmeans(x, 2, np.random.default_rng(0), np.arange(4))
    >>> sorted(clusters.centers[:, 0].tolist()), clusters.sizes().tolist()
    ([0.5, 9.5], [2, 2])
    """
    if not 1 <= k <= len(x):
        raise ValueError(f"k: expected 1 to {len(x)} clusters for {len(x)} rows, got {k}")
    order = keyed_order(rng, ids)
    sample = np.sort(order[: max(seeding_rows, 4 * k)])
    rank = np.empty(len(x), np.int64)
    rank[order] = np.arange(len(x))
    walk = np.argsort(rank[sample])
    seeds = sample[d2_sample(x[torch.from_numpy(sample).to(x.device)], k, rng, walk)[0]]
    centers = x[torch.from_numpy(seeds).to(x.device)].double()
    frame = Frame.of(x)
    a, length = frame.rows(x)
    labels, distances = _assign(x, a, length, frame, centers)
    for _ in range(iterations):
        sums, counts = _totals(x, order, labels, k)
        full = torch.from_numpy(counts > 0).to(x.device)
        centers = torch.where(
            full[:, None], sums / torch.from_numpy(counts.clip(1)).to(x.device)[:, None], centers
        )
        before = labels
        labels, distances = _assign(x, a, length, frame, centers)
        if np.array_equal(labels, before):
            break
    return Clusters(centers.cpu().numpy(), labels, distances)


def _totals(
    x: Tensor, order: NDArray[np.int64], labels: NDArray[np.int64], k: int
) -> tuple[Tensor, NDArray[np.int64]]:
    """Return the float64 sums (k, D) of the rows of each cluster, added up along `order`, and their
    numbers (k,).
    """
    counts = np.zeros(k, np.int64)
    if x.device.type == "cpu":
        sums = np.zeros((k, x.shape[1]))
        _sums(exact_rows(x), order, labels, sums, counts)
        return torch.from_numpy(sums), counts
    counts += np.bincount(labels, minlength=k)
    by_label = torch.from_numpy(order[np.argsort(labels[order], kind="stable")]).to(x.device)
    lengths = torch.from_numpy(counts).to(x.device)
    parts = [
        torch.segment_reduce(x[by_label, d : d + 64].double(), "sum", lengths=lengths, axis=0)
        for d in range(0, x.shape[1], 64)
    ]
    return torch.cat(parts, dim=1), counts
