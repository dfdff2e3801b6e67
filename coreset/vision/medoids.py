"""Strategies on a distance between images instead of features: k-center and k-medoids, and
landmarks that open every other strategy to it.

k-medoids as in Yang, Huang & Crowley (PPAL), CVPR 2024 (arXiv:2211.11612): farthest-first seeding,
then Lloyd's iterations with medoids. Landmarks: Pekalska & Duin, "Dissimilarity Representations
Allow for Building Good Classifiers", Pattern Recognition Letters 2002. All in O(I k) distances and
O(I) memory beside the inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset.core.pool import Indices, Pool
from coreset.core.selection import Selection
from coreset.core.signals import Signals
from coreset.core.strategy import Strategy
from coreset.numerics.random import keyed_uniform, salt
from coreset.vision.boxes import Float
from coreset.vision.distance import BoxSets


def _steady(distances: Float, distance: BoxSets) -> Float:
    """Return distances as multiples of 2^-20 of the farthest: what the rounding of a matrix product
    leaves open becomes a tie.
    """
    unit = max(distance.farthest, np.finfo(np.float64).tiny) * 2.0**-20
    return np.asarray(np.rint(distances / unit) * unit)


def farthest_first(
    distance: BoxSets, k: int, candidates: Indices, centers: Indices, first: int
) -> tuple[Indices, Float]:
    """Return `k` candidates, each the farthest from all centers and picks before it, and that
    distance; without centers `first` opens, at infinity.

    Ties go to the lowest position.
    """
    nearest = np.full(len(candidates), np.inf)
    for center in centers.tolist():
        nearest = np.minimum(nearest, _steady(distance.between([center], candidates)[0], distance))
    picks, radii = np.empty(k, np.int64), np.empty(k)
    free = np.ones(len(candidates), bool)
    for i in range(k):
        at = int(np.argmax(np.where(free, nearest, -1.0)))
        if i == 0 and not len(centers):
            at = int(np.searchsorted(candidates, first))
        picks[i], radii[i], free[at] = candidates[at], nearest[at], False
        if i + 1 < k:
            nearest = np.minimum(
                nearest, _steady(distance.between([candidates[at]], candidates)[0], distance)
            )
    return picks, radii


def k_medoids(
    distance: BoxSets, seeds: Indices, candidates: Indices, iterations: int = 100
) -> tuple[Indices, NDArray[np.int64]]:
    """Return the medoids (k,) that Lloyd's iterations make of `seeds`, and the sizes (k,) of their
    clusters.

    A medoid is the member with the least sum of distances to its cluster, and always belongs to it;
    ties go to the lowest position or the earlier medoid.
    """
    medoids = np.array(seeds)
    for turn in range(iterations + 1):
        blocks = (candidates[i : i + 256] for i in range(0, len(candidates), 256))
        cluster = np.concatenate(
            [_steady(distance.between(block, medoids), distance).argmin(axis=1) for block in blocks]
        )
        cluster[np.searchsorted(candidates, medoids)] = np.arange(len(medoids))
        if turn == iterations:
            break
        members = np.split(
            candidates[np.argsort(cluster, kind="stable")],
            np.cumsum(np.bincount(cluster, minlength=len(medoids)))[:-1],
        )
        moved = np.array([m[np.argmin(_sums(distance, m))] for m in members])
        if np.array_equal(moved, medoids):
            break
        medoids = moved
    return medoids, np.bincount(cluster, minlength=len(medoids)).astype(np.int64)


def _sums(distance: BoxSets, members: Indices) -> Float:
    """Return the sum of distances of each member to all members."""
    blocks = (members[i : i + 256] for i in range(0, len(members), 256))
    return np.concatenate(
        [_steady(distance.between(block, members), distance).sum(axis=1) for block in blocks]
    )


def landmark_features(distance: BoxSets, count: int, seed: int = 0) -> Float:
    """Return the distances of every image to `count` landmarks (I, count), chosen farthest first:
    features for strategies that read features.
    """
    if not 1 <= count <= len(distance):
        raise ValueError(f"count: expected 1 to {len(distance)} landmarks, got {count}")
    everything = np.arange(len(distance))
    first = int(np.random.default_rng(seed).integers(len(distance)))
    marks, _ = farthest_first(distance, count, everything, np.empty(0, np.int64), first)
    return np.concatenate([part for _, part in distance.blocks(marks)])


@dataclass(frozen=True, eq=False)
class SetKCenter(Strategy):
    """k-center greedy on a distance whose images are the pool's; without anything selected a random
    candidate opens.
    """

    distance: BoxSets
    needs = frozenset[str]()
    random = True

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Run the greedy from `pool.selected`."""
        self.distance.check(pool.ids)
        picks, radii = farthest_first(
            self.distance, k, pool.candidates, pool.selected, _random_one(pool, rng)
        )
        return Selection(picks, scores=radii)

    def parameters(self) -> dict[str, object]:
        """Return the kind of distance."""
        return {"distance": self.distance.kind}


@dataclass(frozen=True, eq=False)
class SetKMedoids(Strategy):
    """The medoids of k clusters of the candidates, largest first; what is selected already plays no
    part, as in PPAL.
    """

    distance: BoxSets
    iterations: int = 100
    needs = frozenset[str]()
    greedy = False
    random = True

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Seed farthest first from a random candidate, then iterate."""
        self.distance.check(pool.ids)
        seeds, _ = farthest_first(
            self.distance, k, pool.candidates, np.empty(0, np.int64), _random_one(pool, rng)
        )
        medoids, sizes = k_medoids(self.distance, seeds, pool.candidates, self.iterations)
        order = np.lexsort((medoids, -sizes))
        return Selection(medoids[order], scores=sizes[order].astype(np.float64))

    def parameters(self) -> dict[str, object]:
        """Return the kind of distance and the iterations."""
        return {"distance": self.distance.kind, "iterations": self.iterations}


def _random_one(pool: Pool, rng: np.random.Generator) -> int:
    return int(pool.candidates[np.argmin(keyed_uniform(salt(rng), pool.ids[pool.candidates]))])
