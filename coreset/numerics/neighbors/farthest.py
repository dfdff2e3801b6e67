"""Farthest-first traversal, exact: the picks of a float64 loop.

Gonzalez, "Clustering to Minimize the Maximum Intercluster Distance", Theoretical Computer Science
38, 1985.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.numerics.compiled import compiled
from coreset.numerics.neighbors.distances import Float, square_distance
from coreset.numerics.tensors import as_array, as_tensor, is_tensor

Whole = NDArray[np.int64]
_LOOP = 2e8  # multiplications up to which the loop itself is as fast as blocks, and needs no torch
_COPY = 2**22  # numbers that the loop may copy


@compiled
def _loop(x: Float, count: int, picks: Whole, squares: NDArray[np.float64]) -> float:
    """Pick among the first `count` rows of `x`; the others are the centers. Write positions and
    squared distances and return the largest squared distance left.
    """
    near = np.full(count, np.inf)
    for i in range(count):
        for j in range(count, len(x)):
            near[i] = min(near[i], square_distance(x[i], x[j]))
    for taken in range(len(picks)):
        best = 0
        for i in range(1, count):
            if near[i] > near[best]:
                best = i
        picks[taken], squares[taken] = best, near[best]
        near[best] = -1.0
        for i in range(count):
            if near[i] > 0:
                near[i] = min(near[i], square_distance(x[i], x[best]))
    left = 0.0
    for i in range(count):
        left = max(left, near[i])
    return left


def farthest_first(
    x: Any, k: int, centers: Any, candidates: Any
) -> tuple[Whole, NDArray[np.float64], float]:
    """Return `k` picks in order, the distance (k,) of each to the centers before it, and the
    largest distance of a candidate to its center at last.

    x (N, D), an array or a tensor; centers (M,) at least one position; candidates (n,) ascending
    positions that may be picked, n >= k. Euclidean, float64; ties go to the lowest position. Small
    work is one compiled loop, large work goes in blocks (`farthest_blocks`); the picks are the
    same. Memory beside x: O(N), see `farthest_blocks.by_blocks`.

    >>> x = np.array([[0.0], [1.0], [5.0]])
    >>> picks, distances, radius = farthest_first(x, 1, np.array([0]), np.array([1, 2]))
    >>> picks.tolist(), distances.tolist(), radius
    ([2], [5.0], 1.0)
    """
    order, given = as_array(candidates), as_array(centers)
    dim, size = x.shape[1], len(order) + len(given)
    on_cpu = not is_tensor(x) or x.device.type == "cpu"
    if on_cpu and size * dim <= _COPY and len(order) * (k + len(given)) * dim <= _LOOP:
        if is_tensor(x):
            x = x.float() if x.dtype.itemsize < 4 else x
        rows = as_array(x)[np.concatenate([order, given])]
        wide = np.float64 if rows.dtype.itemsize > 4 else np.float32
        picks, squares = np.empty(k, np.int64), np.empty(k)
        left = _loop(np.ascontiguousarray(rows, wide), len(order), picks, squares)
        return order[picks], np.sqrt(squares), float(np.sqrt(left))
    from coreset.numerics.neighbors.farthest_blocks import by_blocks  # brings torch

    x = as_tensor(x)
    places = (as_tensor(given).to(x.device), as_tensor(order).to(x.device))
    return by_blocks(x, k, *places)
