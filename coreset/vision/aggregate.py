"""From boxes to images: one value per image, with a stated policy for images in which nothing was
found.

What libraries do differs, so nothing is silent: the score threshold, the smallest box and the
policy are asked for. `sum` prefers crowded scenes, which also cost more to label (see `cost`);
`mean` and `max` do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.columns import unmasked
from coreset.core.pool import Indices
from coreset.vision.boxes import Detections, Float

HOW = ("max", "mean", "sum", "topk_mean", "weighted_sum")
POLICIES = "exclude, last, first or quota:SHARE, such as quota:0.05"


def empty_policy(policy: str) -> tuple[str, float]:
    """Return the name of a policy and its share (0 but for a quota).

    >>> empty_policy("quota:0.05"), empty_policy("last")
    (('quota', 0.05), ('last', 0.0))
    """
    name, _, share = policy.partition(":")
    try:
        value = float(share or 0)
    except ValueError:
        value = -1.0
    if (
        name not in ("exclude", "last", "first", "quota")
        or (bool(share) != (name == "quota"))
        or not 0 <= value <= 1
    ):
        raise ValueError(f"empty: expected {POLICIES}, got {policy!r}")
    return name, value


@dataclass(frozen=True, eq=False, repr=False)
class ImageScores:
    """One value per image: ids (I,); values (I,) float64, higher = sooner, NaN where there is
    nothing to score; empty: the policy for those.

    exclude: never chosen; last or first: after or before all others; quota:0.05: that share of a
    batch is drawn at random among them.
    """

    ids: NDArray[Any]
    values: Float
    empty: str
    source: str = "scores"

    def __repr__(self) -> str:
        none = int(np.isnan(self.values).sum())
        return (
            f"ImageScores(images={len(self.ids)}, without={none}, empty={self.empty!r},"
            f" source={self.source!r})"
        )

    def __post_init__(self) -> None:
        empty_policy(self.empty)
        object.__setattr__(self, "ids", unmasked(f"{self.source}: ids", self.ids))
        object.__setattr__(self, "values", unmasked(self.source, self.values).astype(np.float64))
        if self.values.shape != self.ids.shape:
            raise ValueError(
                f"{self.source}: {len(self.ids)} ids but values of shape {self.values.shape}"
            )
        if np.isinf(self.values).any():
            at = int(np.argmax(np.isinf(self.values)))
            raise ValueError(f"{self.source}: image {self.ids[at].item()!r}: the score is infinite")

    @property
    def is_empty(self) -> NDArray[np.bool_]:
        """Return which images have nothing to score (I,)."""
        return np.isnan(self.values)


def size_filter(
    detections: Detections, score_threshold: float, min_size: float, max_aspect: float | None = None
) -> NDArray[np.bool_]:
    """Return which boxes count (B,): score >= score_threshold, sqrt(width height) > min_size
    pixels, and both aspect ratios < max_aspect when given.
    """
    side = detections.boxes[:, 2:] - detections.boxes[:, :2]
    keep = (detections.scores >= score_threshold) & (side.prod(axis=1) > min_size * abs(min_size))
    if max_aspect is not None:
        keep &= (side[:, 0] < max_aspect * side[:, 1]) & (side[:, 1] < max_aspect * side[:, 0])
    return np.asarray(keep)


def class_weight_of(detections: Detections, class_weights: Mapping[int, float]) -> Float:
    """Return the weight of each box's category (B,). Raises KeyError naming the file for a category
    without one.
    """
    names, inverse = np.unique(detections.labels, return_inverse=True)
    missing = [c for c in names.tolist() if c not in class_weights]
    if missing:
        raise KeyError(
            f"class_weights: nothing for category {missing[0]} of {detections.source}; given:"
            f" {sorted(class_weights)}"
        )
    return (
        np.array([float(class_weights[c]) for c in names.tolist()])[inverse]
        if len(names)
        else np.empty(0)
    )


def reduce_boxes(values: Float, offsets: Indices, how: str, k: int = 1) -> Float:
    """Return `how` of each image's values (I,), NaN for an image without any; values (B,) lie image
    by image, offsets (I + 1,).

    >>> reduce_boxes(np.array([1.0, 3.0]), np.array([0, 2, 2]), "mean").tolist()
    [2.0, nan]
    """
    counts = np.diff(offsets)
    full = counts > 0
    out = np.full(len(counts), np.nan)
    if not full.any():
        return out
    starts = offsets[:-1][full]
    if how == "max":
        out[full] = np.maximum.reduceat(values, starts)
        return out
    if how == "topk_mean":
        image = np.repeat(np.arange(len(counts)), counts)
        order = np.lexsort((-values, image))
        place = np.arange(len(values)) - np.repeat(offsets[:-1], counts)
        values, counts = np.where(place < k, values[order], 0.0), np.minimum(counts, k)
    sums = np.add.reduceat(values, starts)
    out[full] = sums if how == "sum" else sums / counts[full]
    return out


def aggregate(
    detections: Detections,
    values: Float,
    how: str,
    *,
    score_threshold: float,
    min_size: float,
    empty: str,
    k: int = 3,
    class_weights: Mapping[int, float] | None = None,
    max_aspect: float | None = None,
) -> ImageScores:
    """Return one value per image of the detections from one value per box, as `box_scores` gives
    them.

    how: max, mean, sum, topk_mean (of the k highest, or of all where there are fewer), weighted_sum
    (class_weights: category -> factor). Boxes that `size_filter` leaves out play no part; an image
    with none left is empty. O(B log B) at most.

    >>> detections = Detections(np.array([7, 8]), [0, 0], [[0, 0, 9, 9]] * 2, [0.9, 0.6], [1, 1])
    >>> aggregate(
    ...     detections, detections.scores, "sum", score_threshold=0.5, min_size=0, empty="last"
    ... ).values.tolist()
    [1.5, nan]
    """
    if how not in HOW:
        raise ValueError(f"how: expected one of {', '.join(HOW)}, got {how!r}")
    if (how == "weighted_sum") != (class_weights is not None):
        raise ValueError(
            f"class_weights go with weighted_sum, got how={how!r} and"
            f" {'no ' if class_weights is None else ''}class_weights"
        )
    if k < 1:
        raise ValueError(f"k: expected at least 1, got {k}")
    values = np.asarray(values, np.float64)
    if values.shape != (len(detections),):
        raise ValueError(
            f"values: expected shape ({len(detections)},), one per box of {detections.source}, got"
            f" {values.shape}"
        )
    if not np.isfinite(values).all():
        at = int(np.argmax(~np.isfinite(values)))
        raise ValueError(
            "values: NaN or infinite for a box of image"
            f" {detections.ids[detections.image[at]].item()!r} of {detections.source}"
        )
    if class_weights is not None:
        values = values * class_weight_of(detections, class_weights)
    keep = size_filter(detections, score_threshold, min_size, max_aspect)
    offsets = np.searchsorted(detections.image[keep], np.arange(len(detections.ids) + 1)).astype(
        np.int64
    )
    reduced = reduce_boxes(values[keep], offsets, "sum" if how == "weighted_sum" else how, k)
    return ImageScores(detections.ids, reduced, empty, detections.source)
