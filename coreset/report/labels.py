"""Labels at line ends, moved apart as little as possible."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def spread(wanted: ArrayLike, gap: float, low: float, high: float) -> NDArray[np.float64]:
    """Return positions at least `gap` apart, in the same order, within [low, high], with the least
    sum of squared moves; ties keep their order.

    Subtracting `gap` times the rank turns it into isotonic regression, which pooling adjacent
    violators solves exactly; clipping its answer keeps it the best within the limits. When all do
    not fit, the gap shrinks until they do.

    >>> spread([5.0, 5.0, 9.0], 2.0, 0.0, 10.0)
    array([4., 6., 9.])
    """
    y = np.asarray(wanted, np.float64)
    if len(y) < 2:
        return np.clip(y, low, high)
    gap = min(gap, (high - low) / (len(y) - 1))
    order = np.argsort(y, kind="stable")
    steps = gap * np.arange(len(y))
    pools: list[list[float]] = []  # mean and size
    for value in y[order] - steps:
        pools.append([float(value), 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, m), (b, n) = pools[-2:]
            pools[-2:] = [[(a * m + b * n) / (m + n), m + n]]
    flat = np.concatenate([np.full(int(n), mean) for mean, n in pools])
    out = np.empty(len(y))
    out[order] = np.clip(flat, low, high - steps[-1]) + steps
    return out


def groups(ends: Sequence[float], tolerance: float) -> list[list[int]]:
    """Return the positions of `ends` in groups whose neighbors lie within `tolerance`, left to
    right.

    >>> groups([3.0, 1.0, 3.1], 0.5)
    [[1], [0, 2]]
    """
    clusters: list[list[int]] = []
    for i in np.argsort(ends, kind="stable").tolist():
        if clusters and ends[i] - ends[clusters[-1][-1]] <= tolerance:
            clusters[-1].append(i)
        else:
            clusters.append([i])
    return clusters
