"""DataComp's image-based filter: keep rows of the clusters in which a reference set lies, such as
the training images of ImageNet.

Gadre et al., "DataComp: In Search of the Next Generation of Multimodal Datasets", NeurIPS 2023
(arXiv:2304.14108): 100,000 clusters for 12.8 million images, 20 iterations, embeddings of CLIP's
L/14. The released centroids are plain means, shorter than 1, compared by the inner product; here
they are directions, compared by the cosine.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from coreset.core.batch import Batch
from coreset.curation.operators.base import Decision, Filter
from coreset.curation.operators.embedding_sample import (
    Sample,
    SampledVectors,
    Vectors,
    frozen_vectors,
    hash_of,
    named,
    vectors_of,
)
from coreset.curation.operators.threshold import undefined_reasons
from coreset.numerics.neighbors.semantic import unit_rows
from coreset.numerics.neighbors.spherical import nearest_centroid, spherical_kmeans

ROWS_A_CLUSTER = 128


@dataclass(frozen=True)
class ReferenceClusters(SampledVectors):
    """Keep rows whose nearest centroid is also the nearest of a row of the reference set.

    against: embeddings (M, D) made by the same encoder, an array or a .npy file. column: the pool's
    embedding (n, D). clusters: how many; None: one per 128 rows, DataComp's ratio. The centroids
    come from `sample` rows drawn by id, `iterations` of spherical k-means (faiss). A row without an
    embedding is dropped with its status. Raises ValueError for a reference set of another
    dimension.
    """

    gives = frozenset()

    against: Vectors
    column: str = "image_embedding"
    clusters: int | None = None
    iterations: int = 20
    sample: int = 200_000
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "against", frozen_vectors(self.against, "against"))
        if self.clusters is not None and not 1 <= self.clusters <= self.sample:
            raise ValueError(
                f"clusters: expected 1 to {self.sample}, the rows they are fitted to, got"
                f" {self.clusters}"
            )

    def resources(self) -> dict[str, str]:
        """Return the hash of the reference set's file."""
        return {"reference": hash_of(self.against)}

    def finish(self, state: Sample) -> InClusters:
        """Return the rule with the centroids, and which of them the reference set lies at."""
        reference = vectors_of(self.against, self.resources()["reference"])
        if not len(state.id):
            return InClusters(self.column, np.zeros((0, 0), np.float32), np.zeros(0, bool))
        if state.vector.shape[1] != reference.shape[1]:
            raise ValueError(
                f"{named(self.against)}: expected embeddings of {state.vector.shape[1]} numbers as"
                f" in '{self.column}', got {reference.shape[1]}"
            )
        wanted = self.clusters if self.clusters is not None else -(-state.rows // ROWS_A_CLUSTER)
        centroids = spherical_kmeans(
            state.vector, min(wanted, len(state.id)), self.iterations, self.seed
        )
        held = np.zeros(len(centroids), bool)
        held[nearest_centroid(reference, centroids)[0]] = True
        return InClusters(self.column, centroids, held)


@dataclass(frozen=True, eq=False)
class InClusters(Filter):
    """The second half of `ReferenceClusters`. centroids (K, D) float32, of length 1; held (K,):
    whether the reference set has a row there.
    """

    column: str
    centroids: NDArray[np.float32] = field(repr=False)
    held: NDArray[np.bool_] = field(repr=False)

    @property
    def needs(self) -> frozenset[str]:
        """Return the id and the embedding."""
        return frozenset({"id", self.column})

    def decide(self, batch: Batch) -> Decision:
        """Return the decision."""
        vectors = unit_rows(batch[self.column])
        there = ~np.isnan(vectors).any(axis=1) if vectors.size else np.zeros(batch.rows, bool)
        reason = undefined_reasons(batch, self.column)
        if there.any():
            near = self.held[nearest_centroid(vectors[there], self.centroids)[0]]
            reason[there] = np.where(near, "", "far from the reference set")
        return Decision(reason == "", reason)
