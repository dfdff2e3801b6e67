"""Spherical k-means by faiss: directions instead of points.

Johnson, Douze & Jégou, "Billion-scale similarity search with GPUs", 2017 (arXiv:1702.08734). The
rows are given in an order of the caller's, usually by id: the answer is the same for the same rows
in the same order, on one thread.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coreset.numerics.compiled import compiled
from coreset.numerics.text.tokenize import Whole

Float32 = NDArray[np.float32]
INSTALL = "spherical k-means needs faiss: pip install faiss-cpu"


def spherical_kmeans(x: Float32, k: int, iterations: int = 100, seed: int = 1234) -> Float32:
    """Return k centroids of length 1 for rows of length 1, (k, D) float32.

    x (N, D). Raises ValueError when k is not between 1 and N, ImportError without faiss.

    >>> x = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    >>> sorted(spherical_kmeans(x, 2).round(3).tolist())
    [[0.0, 1.0], [1.0, 0.0]]
    """
    if not 1 <= k <= len(x):
        raise ValueError(f"k: expected 1 to {len(x)} clusters for {len(x)} rows, got {k}")
    try:
        import faiss
    except ImportError as error:
        raise ImportError(INSTALL) from error
    kmeans = faiss.Kmeans(
        x.shape[1],
        k,
        niter=iterations,
        seed=seed,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=max(256, -(-len(x) // k)),
    )
    threads = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(1)  # the number of threads must not change the answer
        kmeans.train(np.ascontiguousarray(x, np.float32))
    finally:
        faiss.omp_set_num_threads(threads)
    centroids: Float32 = np.asarray(kmeans.centroids)
    return centroids


@compiled
def _best(
    products: Float32,
    x: Float32,
    centroids: Float32,
    slack: float,
    label: Whole,
    cosine: NDArray[np.float64],
) -> None:
    for i in range(len(products)):
        highest = np.float32(-np.inf)
        for j in range(products.shape[1]):
            highest = max(highest, products[i, j])
        cosine[i] = -np.inf
        for j in range(products.shape[1]):
            if products[i, j] >= highest - slack:
                total = 0.0
                for d in range(x.shape[1]):
                    total += np.float64(x[i, d]) * np.float64(centroids[j, d])
                if total > cosine[i]:
                    cosine[i], label[i] = total, j  # fmt: skip


def nearest_centroid(
    x: Float32, centroids: Float32, block: int = 2**21
) -> tuple[Whole, NDArray[np.float64]]:
    """Return the centroid of the largest inner product with each row (N,), ties to the lowest, and
    that product in float64 (N,).

    x (N, D) of rows and centroids (K, D) of length at most 1. The float32 products are settled in
    float64 where they are close: the same answer in any batch.

    >>> label, cosine = nearest_centroid(
    ...     np.eye(2, dtype=np.float32), np.array([[0.6, 0.8]], np.float32)
    ... )
    >>> label.tolist(), cosine.round(3).tolist()
    ([0, 0], [0.6, 0.8])
    """
    label, cosine = np.empty(len(x), np.int64), np.empty(len(x))
    slack = (x.shape[1] + 8) * 2.0**-22
    step = max(1, block // max(1, len(centroids)))
    for start in range(0, len(x), step):
        part = slice(start, start + step)
        _best(x[part] @ centroids.T, x[part], centroids, slack, label[part], cosine[part])
    return label, cosine
