"""Measures whose error belongs to a set of images and is no mean over them: mAP, mIoU."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from coreset.flywheel.measure import Columns, Subset

NOTHING = (0,)  # the class of images in which nothing is drawn


class OfSets(ABC):
    """A measure by sets: its gain has a normal interval with the variance of `draws` paired
    bootstrap samples of the images plus that of the seeds. size: number of frozen images.
    """

    draws: int

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of frozen images."""

    @abstractmethod
    def weighted_error(
        self, columns: Columns, subset: Subset, weights: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the error (B,) where each frozen image counts `weights` (B, E) times; NaN where
        nothing can be judged.
        """

    def of_set(self, columns: Columns, labels: NDArray[np.int64], subset: Subset) -> float:
        """Return the error of a set."""
        return float(self.weighted_error(columns, subset, self._weights(subset, 0))[0])

    def gain(
        self,
        before: Sequence[Columns],
        after: Sequence[Columns],
        labels: NDArray[np.int64],
        subset: Subset,
        alpha: float,
    ) -> tuple[float, float, float]:
        """Return by how much the error falls, mean over seeds, and its interval."""
        weights = self._weights(subset, self.draws)
        gains = np.stack([
            self.weighted_error(old, subset, weights) - self.weighted_error(new, subset, weights)
            for old, new in zip(before, after, strict=True)
        ])  # fmt: skip
        seeds = gains[:, 0]
        variance = float(np.nanvar(gains[:, 1:].mean(axis=0), ddof=1))
        variance += float(seeds.var(ddof=1)) / len(seeds) if len(seeds) > 1 else 0.0
        half = float(norm.ppf(1 - alpha / 2)) * float(np.sqrt(variance))
        return float(seeds.mean()), float(seeds.mean()) - half, float(seeds.mean()) + half

    def predicted(self, columns: Columns) -> NDArray[np.int64] | None:
        """Return None: an image has no one class."""
        return None

    def calibration(self, columns: Columns, labels: NDArray[np.int64]) -> float | None:
        """Return None: there is no one confidence an image."""
        return None

    def _weights(self, subset: Subset, draws: int) -> NDArray[np.float64]:
        """Return how often each frozen image counts (1 + draws, E): once, then as it is drawn."""
        of_class = subset.classes and subset.classes != NOTHING
        rows = subset.everyone if of_class else subset.rows
        out = np.zeros((1 + draws, self.size))
        out[0, rows] = 1
        rng = np.random.default_rng([len(rows), draws])
        for sample in out[1:]:
            sample += np.bincount(rng.choice(rows, len(rows)), minlength=len(sample))
        return out
