"""Principal axes of rows, and the plane of the first two, which a map of features is drawn in."""

from __future__ import annotations

from dataclasses import dataclass
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
    projected = x @ axes.T
    return np.asarray(np.pad(projected, ((0, 0), (0, 2 - projected.shape[1]))), np.float32)


@dataclass(frozen=True, eq=False)
class Axes:
    """A mean (D,) and principal axes (D, k), most variance first."""

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]

    def of(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Return the coordinates (n, k) float32 of rows x (n, D), in blocks."""
        out = np.empty((len(x), self.axes.shape[1]), np.float32)
        for start in range(0, len(x), 4096):
            part = np.asarray(x[start : start + 4096], np.float64)
            out[start : start + 4096] = (part - self.mean) @ self.axes
        return out


def principal_axes(x: NDArray[Any], k: int) -> Axes:
    """Return the min(k, D, n) principal axes of rows x (n, D), each pointing where its largest
    entry is positive; x is read in blocks and may be memory-mapped.

    >>> principal_axes(np.array([[2.0, 0], [-2, 0], [0, 1], [0, -1]]), 1).axes.tolist()
    [[1.0], [0.0]]
    """
    n, d = x.shape
    mean, second = np.zeros(d), np.zeros((d, d))
    for start in range(0, n, 4096):
        mean += np.asarray(x[start : start + 4096], np.float64).sum(axis=0) / n
    for start in range(0, n, 4096):
        part = np.asarray(x[start : start + 4096], np.float64) - mean
        second += part.T @ part
    axes = np.linalg.eigh(second)[1][:, ::-1][:, : min(k, d, n)]
    largest = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    return Axes(mean, axes * np.where(largest < 0, -1.0, 1.0))
