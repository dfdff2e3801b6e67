"""Image data sets in memory or memory-mapped: uint8 images, int64 labels, a pool to choose from and
a test set that is never part of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.ranges import check_range
from coreset.core.store import fingerprint
from coreset.numerics.random import keyed_uniform

AUGMENTS = ("none", "crop", "crop_flip")


def channel_stats(images: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the standard deviation of `images / 255` per channel, exact whatever the
    order; a constant channel gets 1.0.

    images (N, H, W, C) is read in blocks, so it may be memory-mapped.
    """
    counts = np.zeros((images.shape[3], 256), np.int64)
    step = max(1, 2**22 // max(1, images[:1].size))
    for start in range(0, len(images), step):
        block = np.asarray(images[start : start + step])
        for channel in range(images.shape[3]):
            counts[channel] += np.bincount(block[..., channel].ravel(), minlength=256)
    values = np.arange(256) / 255
    share = counts / counts.sum(axis=1, keepdims=True)
    mean = share @ values
    std = np.sqrt((share * (values - mean[:, None]) ** 2).sum(axis=1))
    return tuple(mean.tolist()), tuple(np.where(std > 0, std, 1.0).tolist())


def split_test(labels: NDArray[np.int64], ids: NDArray[Any], share: float) -> NDArray[np.bool_]:
    """Return a mask (N,) of the examples that go to the test set: about `share` of every class, by
    a hash of each one's id.

    Adding examples never moves one that was there, except in a class so small that its one test (or
    its one pool) example had to be appointed. Raises ValueError for a share outside (0, 1).
    """
    check_range("a share in (0, 1)", test_share=share)
    key = keyed_uniform(0, ids)
    test = key < share
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) > 1 and test[rows].all():
            test[rows[key[rows].argmax()]] = False
        elif len(rows) > 1 and not test[rows].any():
            test[rows[key[rows].argmin()]] = True
    return test


@dataclass(frozen=True, eq=False)
class ImageData:
    """A pool of images with its labels, and a test set.

    images (N, S, S, C) uint8, square, may be memory-mapped; labels (N,) int64, -1 = unknown;
    test_images, test_labels: of the test set, every label known, (0, S, S, C) where there is none;
    classes: their names in label order; mean, std: per channel, of images / 255, default from the
    pool; ids (N,): outside names, default positions; augment: what a loader may do to a training
    image (`none`, `crop`, `crop_flip`); content: a hash of the images, where it is known without
    reading them. Raises ValueError or TypeError naming the field that is wrong.
    """

    name: str
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    classes: tuple[str, ...]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    ids: NDArray[Any] = None  # type: ignore[assignment]  # filled below
    augment: str = "none"
    content: str = ""

    def __post_init__(self) -> None:
        for what, images in (("images", self.images), ("test_images", self.test_images)):
            if images.dtype != np.uint8:
                raise TypeError(f"{what}: expected uint8, got {images.dtype}")
            if images.ndim != 4 or not (len(images) or what == "test_images"):
                raise ValueError(
                    f"{what}: expected at least one image, shape (N, H, W, C), got {images.shape}"
                )
        if self.images.shape[1] != self.images.shape[2]:
            raise ValueError(
                f"images: expected square images, got {self.images.shape[1]} x"
                f" {self.images.shape[2]} pixels"
            )
        if self.images.shape[1:] != self.test_images.shape[1:]:
            raise ValueError(
                f"test_images: shape {self.test_images.shape[1:]} but the pool's is"
                f" {self.images.shape[1:]}"
            )
        classes = tuple(str(c) for c in self.classes)
        if len(classes) < 2 or len(set(classes)) < len(classes):
            raise ValueError(f"classes: expected at least two different names, got {list(classes)}")
        labels = _labels("labels", self.labels, len(self.images), -1, len(classes))
        test_labels = _labels(
            "test_labels", self.test_labels, len(self.test_images), 0, len(classes)
        )
        if self.augment not in AUGMENTS:
            raise ValueError(
                f"augment: expected one of {', '.join(AUGMENTS)}, got {self.augment!r}"
            )
        mean, std = (self.mean, self.std) if self.mean or self.std else channel_stats(self.images)
        mean, std = tuple(map(float, mean)), tuple(map(float, std))
        channels = self.images.shape[3]
        if len(mean) != channels or len(std) != channels or not all(0 < s < np.inf for s in std):
            raise ValueError(
                f"mean, std: expected {channels} of each, std above 0, got {mean} and {std}"
            )
        ids = np.arange(len(self.images)) if self.ids is None else np.asarray(self.ids)
        if ids.shape != (len(self.images),):
            raise ValueError(
                f"ids: expected shape ({len(self.images)},), one name per pool image, got"
                f" {ids.shape}"
            )
        filled = {
            "classes": classes,
            "labels": labels,
            "test_labels": test_labels,
            "mean": mean,
            "std": std,
            "ids": ids,
        }
        for name, value in filled.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of everything a result depends on: images, labels, class names, ids,
        normalization. The name is not part of it.
        """
        content = self.content or fingerprint(self.images, self.test_images)
        shape = [len(self.images), len(self.test_images), *self.images.shape[1:]]
        return fingerprint(
            content,
            shape,
            self.labels,
            self.test_labels,
            self.classes,
            self.ids,
            self.mean,
            self.std,
        )


def exchanged(data: ImageData) -> ImageData:
    """Return the data with pool and test set exchanged: what measures the pool then measures the
    test set. Ids are positions in the test set.
    """
    return replace(
        data,
        images=data.test_images,
        labels=data.test_labels,
        test_images=data.images[:1],
        test_labels=np.zeros(1, np.int64),
        ids=None,  # type: ignore[arg-type]
        content="",
    )


def _labels(
    what: str, values: NDArray[Any], size: int, low: int, classes: int
) -> NDArray[np.int64]:
    """Return labels as int64 after checking their shape and range."""
    labels = np.asarray(values)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{what}: expected whole numbers, got {labels.dtype}")
    if labels.shape != (size,):
        raise ValueError(f"{what}: expected shape ({size},), one per image, got {labels.shape}")
    labels = labels.astype(np.int64)
    outside = np.flatnonzero((labels < low) | (labels >= classes))
    if outside.size:
        first = int(outside[0])
        raise ValueError(
            f"{what}: {outside.size} lie outside {low} .. {classes - 1}, first {int(labels[first])}"
            f" at position {first}"
        )
    return labels
