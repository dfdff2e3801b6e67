"""CRAIG: examples whose gradients stand for all others', weighted by how many they stand for.

Mirzasoleiman, Bilmes & Leskovec, "Coresets for Data-efficient Training of Machine Learning Models",
ICML 2020, Algorithm 1 (arXiv:1906.01827); last-layer gradients and selection per class as in the
paper's section 3.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Selection, Signals, Strategy
from coreset.numerics.gradients import LastLayerGradients, matching_error
from coreset.numerics.greedy import lazy
from coreset.numerics.similarity import Sparse
from coreset.strategies.gradient.per_class import (
    SOURCES,
    check_source,
    gradient_columns,
    gradients_of,
    per_class,
)
from coreset.strategies.submodular.facility_location import FacilityLocationFunction

DISTANCES = ("euclidean", "squared")
DENSE_UP_TO = 8000  # examples in a class; the matrix then holds 256 MB
NEIGHBORS = 64
_BLOCK = 2**22


def _distances(
    g: LastLayerGradients, other: LastLayerGradients, distance: str
) -> NDArray[np.float32]:
    square = g.squared_distances(other)
    return (square if distance == "squared" else square.sqrt_()).float().cpu().numpy()


def _round(d: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keep 20 significant bits, in place: sums of them are then exact, so that ties are ties, and
    small distances count beside large ones.
    """
    bits = d.view(np.int32)
    bits += 8
    bits &= -16
    return d


def dense_distances(g: LastLayerGradients, distance: str) -> NDArray[np.float32]:
    """Return d_ij, (n, n), symmetric to the bit."""
    out = np.empty((len(g), len(g)), np.float32)
    for part, block in g.blocks(512):
        below = _round(_distances(block, g.at(slice(0, part.start + len(block))), distance))
        square = below[:, part.start :]
        np.minimum(square, square.T.copy(), out=square)
        out[part, : below.shape[1]] = below
        out[: part.start, part] = below[:, : part.start].T
    return out


def sparse_distances(
    g: LastLayerGradients, distance: str, neighbors: int
) -> tuple[Sparse, NDArray[np.float32]]:
    """Return -d_ij between each row and its nearest ones, and a floor for all other pairs.

    Row j lists the rows that have j among their nearest. The floor of row i lies halfway between
    its farthest neighbor and its mean.
    """
    n = len(g)
    index, value = np.empty((n, neighbors), np.int32), np.empty((n, neighbors), np.float32)
    mean = np.empty(n, np.float32)
    for part, block in g.blocks(_BLOCK // n):
        d = _distances(block, g, distance)
        near = np.argpartition(d, neighbors - 1, axis=1)[:, :neighbors]
        index[part], value[part], mean[part] = (
            near,
            _round(np.take_along_axis(d, near, axis=1)),
            d.mean(axis=1),
        )
    order = np.argsort(index.ravel(), kind="stable")
    start = np.concatenate([[0], np.cumsum(np.bincount(index.ravel(), minlength=n))])
    graph = Sparse(start, (order // neighbors).astype(np.int32), -value.ravel()[order])
    return graph, -_round((value.max(axis=1) + mean) / 2)


def craig(
    g: LastLayerGradients, k: int, distance: str = "euclidean", dense_up_to: int = DENSE_UP_TO
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return `k` rows in the order taken, their weights (n in all) and the drop in Σ_i min_j d_ij
    each brought (the first: below d_max).

    Lazy greedy on f(S) = Σ_i d_max - min_j d_ij. A weight counts the rows nearest to a choice, ties
    to the earlier one; a choice stands for itself. Two rows that are each other's nearest tie in
    earnest: the longer gradient wins, then the lowest row. All pairs up to `dense_up_to` rows;
    beyond, f sees each row's 64 nearest neighbors only, and the weights are still exact.

    >>> import torch
    >>> g = LastLayerGradients(torch.tensor([[1.0], [1.1], [5.0]]), torch.ones(3, 1), bias=False)
    >>> craig(g, 2)[:2]
    (array([1, 2]), array([2., 1.]))
    """
    order = np.argsort(-g.squared_norms.cpu().numpy(), kind="stable")  # ties go to the first
    g = g.at(order)
    if len(g) <= dense_up_to:
        near = dense_distances(g, distance)
        np.negative(near, out=near)
        function = FacilityLocationFunction(near, np.full(len(g), near.min()))
    else:
        function = FacilityLocationFunction(*sparse_distances(g, distance, min(NEIGHBORS, len(g))))
    greedy = lazy(function, k, np.arange(len(g)))
    owner = np.empty(len(g), np.int64)
    chosen = g.at(greedy.picks)
    for part, block in g.blocks(_BLOCK // k):
        owner[part] = _distances(block, chosen, distance).argmin(axis=1)
    owner[greedy.picks] = np.arange(k)
    return (
        order[greedy.picks],
        np.bincount(owner, minlength=k).astype(np.float64),
        greedy.gains,
    )


@dataclass(frozen=True)
class Craig(Strategy):
    """Cover the last-layer gradients; weights are the sizes of the clusters.

    source: `last_layer` reads `features`, `probs` and `labels`; `gradients` a column of that name
    (N, P), a flat gradient per example, and labels only where classes matter. per_class: cover each
    class by itself with its share of the budget (default), or all at once. distance: `euclidean`
    between gradients (the paper), or `squared` (CORDS). bias: count the bias in the gradient. Needs
    the candidates' labels; examples already selected play no part. The weights of a class add up to
    its size. info: `matching_error` of the weighted choice.

    >>> from coreset import select
    >>> chosen = select(
    ...     "craig",
    ...     1,
    ...     features=np.ones((4, 1)),
    ...     probs=np.full((4, 2), 0.5),
    ...     labels=np.zeros(4, int),
    ... )
    >>> chosen.weights, chosen.info["matching_error"]
    (array([4.]), 0.0)
    """

    per_class: bool = True
    distance: str = "euclidean"
    bias: bool = True
    source: str = "last_layer"

    greedy = False

    def __post_init__(self) -> None:
        check_source(self.source, SOURCES)
        if self.distance not in DISTANCES:
            raise ValueError(f"distance: expected {' or '.join(DISTANCES)}, got {self.distance!r}")

    @property
    def needs(self) -> frozenset[str]:
        """Return the columns read."""
        return gradient_columns(self.source, self.per_class)

    @property
    def scales(self) -> Mapping[str, Mapping[str, float] | None]:
        """Columns whose multiples change no choice, with the power that scores and info carry."""
        carried = {"scores": 2 if self.distance == "squared" else 1}
        return {"gradients": carried} if self.bias else {"gradients": carried, "features": carried}

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Run lazy greedy class by class."""
        g, labels = gradients_of(signals, pool.candidates, self.source, self.per_class, self.bias)
        gains = np.zeros(len(g))

        def solve(
            rows: NDArray[np.int64], share: int
        ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
            picks, weights, drop = craig(
                g if len(rows) == len(g) else g.at(rows), share, self.distance
            )
            gains[rows[picks]] = drop
            return picks, weights

        picks, weights = per_class(labels, k, self.per_class, solve)
        info = {"matching_error": matching_error(g, picks, weights)}
        return Selection(pool.candidates[picks], weights, gains[picks], info=info)
