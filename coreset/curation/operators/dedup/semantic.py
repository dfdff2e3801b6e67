"""SemDeDup: k-means on embeddings, then near neighbors inside each cluster are dropped.

Abbas et al., 2023 (arXiv:2303.09540); what is removed inside a cluster stands in
`coreset.numerics.neighbors.semantic`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.batch import Batch
from coreset.core.budget import budget_size
from coreset.core.ranges import check_range
from coreset.curation.operators.base import Decision, GroupBy
from coreset.curation.operators.dedup.exact import duplicate_of_verdict
from coreset.curation.operators.dedup.semantic_eps import close_pairs, eps_of, leaving_cosines
from coreset.curation.operators.embedding_sample import Sample, SampledVectors
from coreset.curation.operators.threshold import undefined_reasons
from coreset.numerics.neighbors.semantic import semantic_twins, unit_rows
from coreset.numerics.neighbors.spherical import nearest_centroid, spherical_kmeans
from coreset.numerics.random import keyed_uniform

ORDERS = ("hard", "easy", "random")
MODES = ("released", "components")
DEFAULT_EPS = 0.05
_PAIRS_OF = 8192
_NO_VECTOR = np.uint64(2**64 - 1)


@dataclass(frozen=True)
class SemanticDuplicates(SampledVectors):
    """Drop rows whose embedding has a cosine above 1 - eps with a row before it in its cluster.

    eps: 1 - cosine, 0.05; or target: rows to keep, as a count or a share of those with an
    embedding, from which eps follows: exactly, so all of them must fit into `sample`. column: an
    embedding (n, D). clusters: how many; None: one per 1,000 rows. keep: who comes first in a
    cluster, `hard` far from the centroid (the released code), `easy` near it, `random` by id. mode:
    `released`, or `components`, one row per group. The centroids come from `sample` rows drawn by
    id, `iterations` of spherical k-means (faiss). A row without an embedding is dropped with its
    status.

    The manifest says which eps and how many clusters it came to, and what the clusters hide: of
    `pairs_of` rows (all, or 8,192 drawn by id) the pairs above 1 - eps, `close_pairs`, and those of
    them that lie in different clusters and so are not compared, `across_clusters`.
    """

    gives = frozenset()

    column: str = "embedding"
    eps: float | None = None
    clusters: int | None = None
    keep: str = "hard"
    mode: str = "released"
    iterations: int = 100
    sample: int = 200_000
    seed: int = 1234
    target: int | float | None = None

    def __post_init__(self) -> None:
        if self.keep not in ORDERS or self.mode not in MODES:
            raise ValueError(
                f"keep: expected one of {', '.join(ORDERS)}, got {self.keep!r}; mode: one of"
                f" {', '.join(MODES)}, got {self.mode!r}"
            )
        if self.eps is not None and self.target is not None:
            raise ValueError(
                f"expected eps or target, one of them, got eps={self.eps} and target={self.target}"
            )
        if self.eps is not None:
            check_range("a number, 1 - cosine, in [0, 2]", eps=self.eps)
        if self.clusters is not None and not 1 <= self.clusters <= self.sample:
            raise ValueError(
                f"clusters: expected 1 to {self.sample}, the rows they are fitted to, got"
                f" {self.clusters}"
            )

    def finish(self, state: Sample) -> SemanticClusters:
        """Return the group operator with the centroids."""
        wanted = self.clusters if self.clusters is not None else -(-state.rows // 1000)
        k = min(max(1, wanted), len(state.id))
        centroids = (
            spherical_kmeans(state.vector, k, self.iterations, self.seed)
            if k
            else np.zeros((0, 0), np.float32)
        )
        eps = DEFAULT_EPS if self.eps is None else self.eps
        grouping = SemanticClusters(self.column, eps, self.keep, self.mode, self.seed, centroids)
        if not k:
            return grouping
        if self.target is not None:
            grouping = replace(grouping, eps=self._eps(state, grouping))
        few = np.sort(np.lexsort((state.id.astype(str), state.number))[:_PAIRS_OF])
        vectors = np.ascontiguousarray(state.vector[few])
        pairs, across = close_pairs(vectors, nearest_centroid(vectors, centroids)[0], grouping.eps)
        about = {
            "eps": grouping.eps,
            "clusters": k,
            "pairs_of": len(few),
            "close_pairs": pairs,
            "across_clusters": across,
        }
        return replace(grouping, found=about)

    def _eps(self, state: Sample, grouping: SemanticClusters) -> float:
        """Return the eps that keeps `target` rows."""
        assert self.target is not None
        if state.rows > len(state.id):
            raise ValueError(
                f"target: {state.rows} rows have an embedding, more than sample={len(state.id)};"
                f" expected sample={state.rows} or more, or eps instead of target"
            )
        label = nearest_centroid(state.vector, grouping.centroids)[0]
        cosines = []
        for cluster in np.unique(label):
            members = np.flatnonzero(label == cluster)
            order = members[grouping.order(state.id[members], state.vector[members])]
            cosines.append(
                leaving_cosines(
                    np.ascontiguousarray(state.vector[order]), self.mode == "components"
                )
            )
        try:
            return eps_of(np.concatenate(cosines), budget_size(self.target, state.rows))
        except ValueError as error:
            raise ValueError(f"target: {error}") from error


@dataclass(frozen=True, eq=False)
class SemanticClusters(GroupBy):
    """The second half of `SemanticDuplicates`: rows of one cluster are compared. centroids (K, D)
    float32, of length 1.
    """

    smallest = 1  # a row without an embedding is dropped alone

    column: str
    eps: float
    keep: str
    mode: str
    seed: int
    centroids: NDArray[np.float32] = field(repr=False)
    found: Mapping[str, float] = field(default_factory=dict)

    @property
    def needs(self) -> frozenset[str]:
        """Return the id and the embedding."""
        return frozenset({"id", self.column})

    @property
    def key_needs(self) -> frozenset[str]:
        """Return the embedding."""
        return frozenset({self.column})

    def key(self, batch: Batch) -> NDArray[np.uint64]:
        """Return 1 + the nearest centroid."""
        out = np.full(batch.rows, _NO_VECTOR)
        vectors = unit_rows(batch[self.column])
        there = (
            ~np.isnan(vectors[:, 0]) if vectors.size else np.zeros(batch.rows, bool)
        )  # a row without direction is NaN all over
        if there.any():
            out[there] = (
                nearest_centroid(vectors if there.all() else vectors[there], self.centroids)[0] + 1
            )
        return out

    def decide(self, rows: Batch) -> Decision:
        """Return the decision about one cluster."""
        vectors = unit_rows(rows[self.column])
        # all of them: they have a key of their own
        if vectors.size == 0 or np.isnan(vectors[:, 0]).any():
            return Decision(np.zeros(rows.rows, bool), undefined_reasons(rows, self.column))
        order = self.order(rows["id"], vectors)
        duplicates = semantic_twins(
            np.ascontiguousarray(vectors[order]), self.eps, self.mode == "components"
        )
        kept = np.empty(rows.rows, np.int64)
        kept[order] = order[duplicates]
        return duplicate_of_verdict(rows["id"], kept, "semantic duplicate")

    def order(self, ids: NDArray[Any], vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the rows of one cluster, given in the order of their ids, in the order in which
        they are preferred.
        """
        if self.keep == "random":
            return np.argsort(keyed_uniform(self.seed + 1, ids), kind="stable")
        own = int(nearest_centroid(vectors[:1], self.centroids)[0][0])  # one for all of them
        cosine = nearest_centroid(vectors, self.centroids[own : own + 1])[1]
        return np.argsort(cosine if self.keep == "hard" else -cosine, kind="stable")
