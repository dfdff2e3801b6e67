"""Rows in the plane of their two principal axes: what a map of features is drawn from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def plane(x: NDArray[Any]) -> NDArray[np.float32]:
    """Return rows (n, D) in the plane of their two principal axes, (n, 2); each axis points where
    its largest entry is positive.

    The axes are those of every k-th row, of at most 4,000. Of one dimension, or one row, the rest
    is 0.

    >>> plane(np.array([[2.0, 0], [-2, 0], [0, 1], [0, -1]])).tolist()
    [[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]]
    """
    x = x.astype(np.float64)
    x -= x.mean(axis=0)
    axes = np.linalg.svd(x[:: max(1, len(x) // 2000)], full_matrices=False)[2][:2]
    axes = (
        axes
        * np.where(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)] < 0, -1.0, 1.0)[:, None]
    )
    found = x @ axes.T
    return np.asarray(np.pad(found, ((0, 0), (0, 2 - found.shape[1]))), np.float32)
