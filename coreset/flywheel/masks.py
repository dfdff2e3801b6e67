"""How wrong a segmentation is: of one image 1 - the mean IoU of its classes, of a set 1 - mIoU."""

from __future__ import annotations

import hashlib
from dataclasses import InitVar, dataclass, field

import numpy as np
from numpy.typing import NDArray

from coreset.core.store import fingerprint
from coreset.flywheel.measure import Columns, Subset, Values
from coreset.flywheel.sets import NOTHING, OfSets

IGNORED = 255  # in class maps: counts neither way
_KEPT = 64  # countings held in memory


@dataclass(frozen=True, eq=False)
class Masks(OfSets):
    """Measure of a segmentation network, from its signal `class_map` (n, H, W): the class of every
    pixel.

    drawn (E, H, W) uint8: the true classes of the frozen images, in the order of the data, 255
    where a pixel does not count. Intersections and unions of a set are added up over its images;
    the mean is over the classes that occur in it, in truth or answer. A class slice is judged by
    the IoU of the class over the whole part, that of empty images (class 0) by theirs. Intervals:
    see `OfSets`.
    """

    drawn: InitVar[NDArray[np.uint8]]
    classes: int
    draws: int = 200
    truth: str = field(init=False)

    word = "1 − mIoU"
    percent = True
    needs = frozenset({"class_map"})

    def __post_init__(self, drawn: NDArray[np.uint8]) -> None:
        object.__setattr__(self, "truth", fingerprint(drawn))
        object.__setattr__(self, "_drawn", drawn)
        object.__setattr__(self, "_counted", {})

    @property
    def size(self) -> int:
        """Number of frozen images."""
        return len(self._drawn)  # type: ignore[attr-defined]

    def errors(self, columns: Columns, labels: NDArray[np.int64]) -> Values:
        """Return 1 - the mean IoU of the classes that occur in each image."""
        both, either = self._count(columns)
        share = np.divide(both, either, out=np.full(both.shape, np.nan), where=either > 0)
        return np.asarray(1 - np.nanmean(share, axis=1), np.float64)

    def weighted_error(
        self, columns: Columns, subset: Subset, weights: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return 1 - mIoU of weighted images."""
        both, either = (weights @ part for part in self._count(columns))
        classes = list(subset.classes) or list(range(self.classes))
        if subset.classes == NOTHING:
            classes = list(range(self.classes))
        share = np.divide(both, either, out=np.full(both.shape, np.nan), where=either > 0)
        known = ~np.isnan(share[:, classes])
        total = np.where(known, share[:, classes], 0.0).sum(axis=1)
        counts = known.sum(axis=1)
        mean = np.divide(total, counts, out=np.full(len(weights), np.nan), where=counts > 0)
        return np.asarray(1 - mean, np.float64)

    def _count(self, columns: Columns) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return pixels in which truth and answer both, or either, are of each class (E, C)."""
        told = np.asarray(columns["class_map"], np.uint8)
        drawn: NDArray[np.uint8] = self._drawn  # type: ignore[attr-defined]
        if told.shape != drawn.shape:
            raise ValueError(f"class_map: expected {drawn.shape}, got {told.shape}")
        kept = self._counted  # type: ignore[attr-defined]
        key = hashlib.sha256(told.tobytes()).hexdigest()
        if key not in kept:
            while len(kept) >= _KEPT:
                kept.pop(next(iter(kept)))
            seen = drawn != IGNORED
            shape = (len(drawn), self.classes)
            both, either = np.zeros(shape), np.zeros(shape)
            for c in range(self.classes):
                a, b = (drawn == c) & seen, (told == c) & seen
                both[:, c] = (a & b).sum(axis=(1, 2))
                either[:, c] = (a | b).sum(axis=(1, 2))
            kept[key] = both, either
        pair: tuple[NDArray[np.float64], NDArray[np.float64]] = kept[key]
        return pair
