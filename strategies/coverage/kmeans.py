"""k-means: one cluster per label to buy, and the candidate nearest to each center.

As a selection: Zhdanov, "Diverse Mini-Batch Active Learning", 2019 (arXiv:1901.05954), without its
weights; the clustering is k-means++ with Lloyd's iterations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Selection, Signals, Strategy
from coreset.numerics.neighbors.kmeans import Clusters, kmeans
from coreset.numerics.tensors import as_float, rows, unit_rows


def nearest_rows(clusters: Clusters, order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the row nearest to each center that has rows, by center; of rows equally near (to 1e-9
    of the distance) the first in `order` (n,).

    The two rows of a cluster of two are equally near: rounding does not choose between them.

    >>> c = Clusters(np.zeros((2, 1)), np.array([0, 1, 1]), np.array([0.0, 1.0, 1.0]))
    >>> nearest_rows(c, np.array([2, 1, 0])).tolist()
    [0, 2]
    """
    least = np.full(len(clusters.centers), np.inf)
    np.minimum.at(least, clusters.labels, clusters.distances)
    near = order[clusters.distances[order] <= (1 + 1e-9) * least[clusters.labels[order]]]
    return near[np.unique(clusters.labels[near], return_index=True)[1]]


def nearest_to_centers(clusters: Clusters, k: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the row nearest to each center, largest cluster first (ties to the lowest row), and
    the sizes of their clusters.

    Clusters without rows (coinciding examples) give nothing; the rows farthest from their own
    center fill up to `k`, with size 0.

    >>> c = Clusters(np.zeros((2, 1)), np.array([0, 1, 1]), np.array([0.0, 2.0, 1.0]))
    >>> nearest_to_centers(c, 2)[0].tolist()
    [2, 0]
    """
    sizes = clusters.sizes()
    first = nearest_rows(clusters, np.arange(len(clusters.labels)))
    first = first[np.lexsort((first, -sizes[clusters.labels[first]]))]
    rest = np.setdiff1d(np.arange(len(clusters.labels)), first)
    rest = rest[np.argsort(-clusters.distances[rest], kind="stable")][: k - len(first)]
    return np.concatenate([first, rest]), np.concatenate(
        [sizes[clusters.labels[first]], np.zeros(len(rest), np.int64)]
    )


@dataclass(frozen=True)
class KMeans(Strategy):
    """Cluster the candidates into k groups and take the one nearest to each center, largest group
    first.

    normalize: scale features to unit length first. iterations: Lloyd's iterations at most. Scores:
    sizes of the groups. info: `mean_square`, the mean squared distance of candidates to their
    center. Examples already selected play no part.

    >>> from coreset import select
    >>> import numpy as np
    >>> select("kmeans", 2, features=np.array([[0.0], [1.0], [2.0], [9.0]])).indices
    array([1, 3])
    """

    normalize: bool = False
    iterations: int = 25

    needs = frozenset({"features"})
    greedy = False
    random = True

    @property
    def scales(self) -> Mapping[str, Mapping[str, float] | None]:
        """Columns whose multiples change no choice, with the power that scores and info carry."""
        return {"features": None if self.normalize else {"mean_square": 2}}

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Return one candidate per cluster."""
        at = pool.candidates[
            np.argsort(pool.ids[pool.candidates])
        ]  # ties go to the lowest id: by default the lowest position
        x = as_float(rows(signals.column("features"), at))
        if self.normalize:
            x = unit_rows(x)
        clusters = kmeans(x, k, rng, pool.ids[at], self.iterations)
        picks, sizes = nearest_to_centers(clusters, k)
        info = {"mean_square": float(np.square(clusters.distances).mean())}
        return Selection(at[picks], scores=sizes.astype(np.float64), info=info)
