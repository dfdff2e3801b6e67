"""TypiClust: the most typical example of every cluster that has no labels yet; for very small
budgets.

Hacohen, Dekel & Weinshall, "Active Learning on a Budget: Opposite Strategies Suit High and Low
Budgets", ICML 2022 (arXiv:2202.02794).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset import Pool, Selection, Signals, Strategy
from coreset.numerics.compiled import compiled
from coreset.numerics.neighbors.distances import Float, exact_rows, square_distance
from coreset.numerics.neighbors.kmeans import kmeans
from coreset.numerics.neighbors.nearest import knn
from coreset.numerics.tensors import as_float, as_tensor, rows, unit_rows

VARIANTS = ("paper", "released_code")
_SMALL = 256  # rows whose pairs are measured one by one: a product would take longer to set up


@compiled
def _typicality(
    x: Float, at: NDArray[np.int64], count: int, squared: bool, out: NDArray[np.float64]
) -> None:
    """Fill out (n,) with the typicality of the rows `at` of x among each other, from all pairs."""
    n = len(at)
    square = np.empty((n, n))
    for i in range(n):
        for j in range(i):
            square[i, j] = square[j, i] = square_distance(x[at[i]], x[at[j]])
    near = np.empty(count)
    for i in range(n):
        size = 0
        for j in range(n):
            d = square[i, j]
            if j == i or (size == count and d >= near[count - 1]):
                continue
            t = min(size, count - 1)
            while t > 0 and near[t - 1] > d:
                near[t] = near[t - 1]
                t -= 1
            near[t] = d
            size = min(size + 1, count)
        total = 0.0
        for t in range(count):
            total += near[t] if squared else np.sqrt(near[t])
        out[i] = 1 / (total / count) if total > 0 else np.inf


def typicality(
    x: Tensor, neighbors: int = 20, squared: bool = False, at: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Return 1 / mean distance to the nearest min(neighbors, n / 2) others (at least one), (n,); a
    row on its own, or on top of these, is infinite.

    squared: mean of squared distances, as the released code measures it. at: only these rows, n of
    them; default all.

    >>> typicality(torch.tensor([[0.0], [1.0], [3.0]])).tolist()
    [1.0, 1.0, 0.5]
    """
    at = np.arange(len(x)) if at is None else at
    if len(at) == 1:
        return np.full(1, np.inf)
    count = max(1, min(neighbors, len(at) // 2))
    if x.device.type == "cpu" and len(at) <= _SMALL:
        out = np.empty(len(at))
        _typicality(exact_rows(x), at, count, squared, out)
        return out
    distance = knn(x[torch.from_numpy(at).to(x.device)], count)[0]
    return np.asarray((1 / (distance.square() if squared else distance).mean(dim=1)).cpu().numpy())


def typical_of_clusters(
    x: Tensor,
    k: int,
    labels: NDArray[np.int64],
    labeled: NDArray[np.bool_],
    neighbors: int,
    smallest: int,
    squared: bool,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return `k` unlabeled rows and their typicality, from given clusters `labels` (n,).

    Clusters with `smallest` rows or fewer are dropped; the others are visited again and again,
    fewest labeled first, then largest, then lowest row, and each gives the most typical of what it
    has left (ties to the lowest row). A cluster that has run out is passed over; when all have, the
    dropped ones follow, in the same order.
    """
    sizes = np.bincount(labels)
    first = np.full(len(sizes), len(labels))
    np.minimum.at(first, labels, np.arange(len(labels)))
    known = np.bincount(labels[labeled], minlength=len(sizes))
    ranked = np.lexsort((first, -sizes, known))
    large, small = [
        [int(c) for c in ranked if (sizes[c] > smallest) == big and sizes[c]]
        for big in (True, False)
    ]
    left = {c: np.flatnonzero((labels == c) & ~labeled) for c in large + small}
    picks: list[int] = []
    scores: list[float] = []
    for turn in (large, small):
        while len(picks) < k and any(len(left[c]) for c in turn):
            for c in turn:
                if len(picks) == k or not len(left[c]):
                    continue
                value = typicality(x, neighbors, squared, left[c])
                best = int(value.argmax())
                picks.append(int(left[c][best]))
                scores.append(float(value[best]))
                left[c] = np.delete(left[c], best)
    return np.array(picks), np.array(scores)


def given_clusters(signals: Signals, at: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the column `clusters` (N,) at positions, numbered from 0. Raises ValueError for
    anything but whole numbers.

    >>> given_clusters(Signals(3, clusters=np.array([7, -2, 7])), np.arange(3))
    array([1, 0, 1])
    """
    column = as_tensor(signals.column("clusters")).cpu().numpy()
    if column.ndim != 1 or column.dtype.kind not in "iu":
        raise ValueError(
            f"clusters: expected one whole number per example, shape (N,), got {column.dtype} with"
            f" shape {column.shape}"
        )
    return np.unique(column[at], return_inverse=True)[1].astype(np.int64)


@dataclass(frozen=True)
class TypiClust(Strategy):
    """Cluster everything into min(labeled + k, clusters) groups and take the most typical candidate
    of each.

    variant: `paper` (default, mean distance) or `released_code` (mean squared distance). normalize:
    scale features to unit length first, as the paper does. neighbors: at most this many make up
    typicality. clusters: at most this many. smallest: clusters of this size or below come last.
    given: the clusters are those of a column `clusters` (N,) of whole numbers, and none are looked
    for. Scores: typicality. The number of clusters depends on k, so a smaller budget has another
    answer.

    >>> from coreset import select
    >>> import numpy as np
    >>> x = np.array([[0.0], [0.1], [0.3], [5.0], [5.1], [5.5]])
    >>> select("typiclust", 2, features=x, options={"normalize": False, "smallest": 0}).indices
    array([0, 3])
    """

    variant: str = "paper"
    normalize: bool = True
    neighbors: int = 20
    clusters: int = 500
    smallest: int = 5
    given: bool = False

    greedy = False
    random = True

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant: expected {' or '.join(VARIANTS)}, got {self.variant!r}")

    @property
    def scales(self) -> Mapping[str, Mapping[str, float] | None]:
        """Columns whose multiples change no choice, with the power that scores and info carry."""
        power = -1 if self.variant == "paper" else -2
        return {"features": None if self.normalize else {"scores": power}}

    @property
    def needs(self) -> frozenset[str]:
        """Return `features`, and `clusters` where they are given."""
        return frozenset({"features", "clusters"} if self.given else {"features"})

    @property
    def needs_selected(self) -> frozenset[str]:  # type: ignore[override]
        """Return the same for what is already taken."""
        return self.needs

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Return `k` candidates, cluster by cluster."""
        at = np.concatenate([pool.selected, pool.candidates])
        # ties go to the lowest id: by default the lowest position
        at = at[np.argsort(pool.ids[at])]
        x = as_float(rows(signals.column("features"), at))
        if self.normalize:
            x = unit_rows(x)
        count = min(len(pool.selected) + k, self.clusters)
        labels = (
            given_clusters(signals, at)
            if self.given
            else kmeans(x, count, rng, pool.ids[at]).labels
        )
        labeled = np.isin(at, pool.selected)
        squared = self.variant == "released_code"
        picks, scores = typical_of_clusters(
            x, k, labels, labeled, self.neighbors, self.smallest, squared
        )
        return Selection(
            at[picks],
            scores=scores,
            info={"variant": self.variant, "clusters": len(np.unique(labels))},
        )
