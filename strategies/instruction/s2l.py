"""S2L: rows whose loss falls alike while a small model trains are one cluster, and every cluster
gets the same share.

Yang, Mishra, Chiang & Mirzasoleiman, "SmallToLarge (S2L): Scalable Data Selection for Fine-tuning
Large Language Models by Summarizing Training Trajectories of Small Models", NeurIPS 2024, Algorithm
1 (arXiv:2403.07384). The released code differs: it reads an undefined loss as 0 and takes clusters
of one or two rows last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Selection, Signals, Strategy
from coreset.numerics.neighbors.kmeans import kmeans
from coreset.numerics.random import keyed_order
from coreset.numerics.tensors import as_float, rows
from coreset.strategies.instruction.common import by_id


def balanced_shares(sizes: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Return how many of `k` rows each cluster (G,) gives: from small to large (ties in order), an
    equal share of what is left to take, rounded down, or all its rows.

    >>> balanced_shares(np.array([50, 2, 30]), 21)
    array([10,  2,  9])
    """
    out = np.zeros(len(sizes), np.int64)
    for done, cluster in enumerate(np.argsort(sizes, kind="stable")):
        out[cluster] = min(sizes[cluster], (k - out.sum()) // (len(sizes) - done))
    return out


@dataclass(frozen=True)
class S2L(Strategy):
    """Cluster the loss trajectories and draw the same number from every cluster, all of those that
    have too few.

    `losses` (N, T): of each example at T checkpoints of a small model, all defined. clusters: of
    k-means, at most one per candidate. The order is that of the algorithm, the smallest cluster
    first. info: `quota`, rows per cluster in that order. Examples already selected play no part.

    >>> from coreset import select
    >>> losses = np.array([[3.0, 1.0]] * 6 + [[3.0, 3.0]] * 2)
    >>> chosen = select("s2l", 4, losses=losses, options={"clusters": 2}).indices
    >>> sorted(chosen[:2].tolist()), bool((chosen[2:] < 6).all())
    ([6, 7], True)
    """

    clusters: int = 100

    needs = frozenset({"losses"})
    greedy = False
    random = True

    def __post_init__(self) -> None:
        if self.clusters < 1:
            raise ValueError(f"clusters: expected at least 1, got {self.clusters}")

    @property
    def scales(self) -> Mapping[str, Mapping[str, float] | None]:
        """Columns whose multiples change no choice, with the power that scores and info carry."""
        return {"losses": {}}

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Return the draws, cluster after cluster."""
        column = signals.column("losses")
        if len(column.shape) != 2:
            raise ValueError(
                "losses: expected shape (N, T), a loss per example and checkpoint, got"
                f" {tuple(column.shape)}"
            )
        at = by_id(pool)
        clustering = kmeans(
            as_float(rows(column, at)), min(self.clusters, len(at)), rng, pool.ids[at]
        )
        _, label, sizes = np.unique(clustering.labels, return_inverse=True, return_counts=True)
        walk = np.argsort(sizes, kind="stable")
        place = np.empty_like(walk)
        place[walk] = np.arange(len(walk))
        quota = balanced_shares(sizes, k)[walk]
        luck = keyed_order(rng, pool.ids[at])
        order = luck[np.argsort(place[label[luck]], kind="stable")]  # by cluster, inside it by luck
        first = np.cumsum(sizes[walk]) - sizes[walk]
        rank = np.arange(len(order)) - np.repeat(first, sizes[walk])
        return Selection(
            at[order[rank < np.repeat(quota, sizes[walk])]], info={"quota": quota.tolist()}
        )
