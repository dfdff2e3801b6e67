"""Rows about semantic duplicates: SemDeDup inside clusters at half a million rows, k-means, and the
assignment of rows to centroids.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from coreset.numerics.neighbors.spherical import nearest_centroid, spherical_kmeans
from scripts.benchmarks.harness import Answer, Method, Row
from scripts.benchmarks.rows_curate.dedup import clustered, step


def semdedup_step_500k(scale: float = 1) -> Row:
    """500,000 rows in 500 clusters: a thousand each, what SemDeDup does with a cluster per thousand
    rows.
    """
    return step(
        int(500_000 * scale),
        max(5, int(500 * scale)),
        "3x the released step at equal keep sets",
        trials=3,
    )


def kmeans(scale: float = 1) -> Row:
    """100,000 x 384, 200 clusters, 10 iterations."""
    count, k, iterations = int(100_000 * scale), max(4, int(200 * scale)), 10
    x = clustered(count, 384, k).x
    faiss = import_module("faiss")

    def direct(_: int) -> Answer:
        clustering = faiss.Kmeans(
            384,
            k,
            niter=iterations,
            seed=1234,
            spherical=True,
            min_points_per_centroid=1,
            max_points_per_centroid=count,
        )
        clustering.train(x)
        return clustering.centroids  # fmt: skip

    return Row(
        f"spherical k-means, {count:,} x 384, {k} clusters, {iterations} iterations",
        count,
        Method("coreset", lambda _: spherical_kmeans(x, k, iterations), small=0, note="faiss on one thread, so that the answer does not hang on their number"),
        [Method("faiss.Kmeans", direct, small=0)],
        lambda a, b, _: {"same_rows": int((a == b).all(axis=1).sum()), "of": k},
        trials=3,
    )  # fmt: skip


def assign(scale: float = 1) -> Row:
    """500,000 x 384 to the nearest of 500 centroids."""
    count, k = int(500_000 * scale), max(5, int(500 * scale))
    data = clustered(count, 384, k)
    faiss = import_module("faiss")

    def search(rows: int) -> Answer:
        index = faiss.IndexFlatIP(384)
        index.add(data.centroids)
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)
        nearest = index.search(data.x[:rows], 1)[1][:, 0]
        faiss.omp_set_num_threads(threads)
        return nearest

    def agree(a: Answer, b: Answer, _: int) -> dict[str, Any]:
        return {"same_rows": int((a == b).sum()), "of": len(b)}

    return Row(
        f"nearest of {k} centroids, {count:,} x 384",
        count,
        Method("coreset", lambda rows: nearest_centroid(data.x[:rows], data.centroids)[0], note="close calls settled in float64: the same in any batch"),
        [Method("faiss.IndexFlatIP", search, note="float32")],
        agree,
        floor={"flops": 2.0 * count * k * 384, "bytes": 4.0 * count * 384, "of": "all inner products"},
        facts=lambda label: {"largest_cluster": int(np.bincount(label).max())},
        trials=3,
    )  # fmt: skip


ROWS = {"semdedup_step_500k": semdedup_step_500k, "kmeans": kmeans, "assign": assign}
