"""What a label costs: images, boxes, pixels, seconds; a choice that never exceeds a budget and says what is left of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coreset.coco import CocoPool
from coreset.tasks.aggregate import reduce_boxes
from coreset.tasks.boxes import Detections, Float

FIT = ("prefix", "fill")


def box_cost(detections: Detections, score_threshold: float) -> Float:
    """Return the number of predicted boxes with at least that score, per image (I,)."""
    return np.bincount(detections.image[detections.scores >= score_threshold], minlength=len(detections.ids)).astype(
        np.float64
    )


def expected_boxes(detections: Detections) -> Float:
    """Return the sum of scores per image (I,): the expected number of true boxes if the scores are calibrated."""
    return np.nan_to_num(reduce_boxes(detections.scores, detections.offsets, "sum"))


def pixel_cost(pool: CocoPool) -> Float:
    """Return width times height per image (N,)."""
    return np.asarray(pool.sizes.prod(axis=1), np.float64)


def seconds(boxes: ArrayLike, base: float, per_box: float) -> Float:
    """Return base + per_box * boxes per image: the time to open one and to draw so many.

    >>> seconds([0, 10], base=5, per_box=7).tolist()
    [5.0, 75.0]
    """
    if base < 0 or per_box < 0:
        raise ValueError(f"base, per_box: expected at least 0 seconds, got {base} and {per_box}")
    return base + per_box * np.asarray(boxes, np.float64)


def recalibrate(estimate: ArrayLike, true: ArrayLike) -> float:
    """Return the factor sum(true) / sum(estimate) by which the estimates of labelled images have to be multiplied.

    >>> recalibrate([10, 20], [15, 30])
    1.5
    """
    a, b = np.asarray(estimate, np.float64), np.asarray(true, np.float64)
    if a.shape != b.shape or not a.sum() > 0:
        raise ValueError(
            f"expected two lists of one length and estimates that add up to more than 0, got {a.shape} (sum {a.sum()}) and {b.shape}"
        )
    return float(b.sum() / a.sum())


def check_costs(budget: Mapping[str, float], costs: Mapping[str, ArrayLike], ids: NDArray[Any]) -> dict[str, Float]:
    """Return the cost columns (N,) of the units in a budget; `images` cost 1 each. Raises KeyError or ValueError for one that is missing, negative or NaN."""
    if not budget:
        raise ValueError("budget: expected at least one limit, such as {'boxes': 3000}")
    out = {}
    for unit, limit in budget.items():
        if not (np.isfinite(limit) and limit > 0):
            raise ValueError(f"budget: {unit}: expected a positive number, got {limit}")
        if unit not in costs and unit != "images":
            raise KeyError(
                f"budget in {unit}, but costs has only {sorted(costs) or 'nothing'}: give costs={{'{unit}': one number per image}}"
            )
        column = np.asarray(costs.get(unit, np.ones(len(ids))), np.float64)
        if column.shape != ids.shape:
            raise ValueError(f"costs: {unit}: expected shape {ids.shape}, one per image, got {column.shape}")
        bad = ~(np.isfinite(column) & (column >= 0))
        if bad.any():
            raise ValueError(
                f"costs: {unit}: image {ids[np.argmax(bad)].item()!r} costs {column[np.argmax(bad)]}, expected a number of at least 0"
            )
        out[unit] = column
    return out


def most_images(costs: Mapping[str, Float], budget: Mapping[str, float]) -> int:
    """Return how many images fit at most: the cheapest ones, for each unit by itself."""
    return min(
        int(np.searchsorted(np.cumsum(np.sort(costs[unit])), limit * (1 + 1e-12), side="right"))
        for unit, limit in budget.items()
    )


def within(
    costs: Mapping[str, Float], budget: Mapping[str, float], how: str = "prefix"
) -> tuple[NDArray[np.int64], dict[str, float]]:
    """Return which of an ordered choice fit the budget, in order, and what is left per unit; costs (k,) in that order.

    how: `prefix` stops at the first that does not fit, `fill` passes over it and goes on. All limits hold at once.

    >>> within({"boxes": np.array([3.0, 9.0, 2.0])}, {"boxes": 6}, "fill")
    (array([0, 2]), {'boxes': 1.0})
    """
    if how not in FIT:
        raise ValueError(f"fit: expected {' or '.join(FIT)}, got {how!r}")
    units = list(budget)
    price = np.stack([costs[u] for u in units], axis=1)
    limit = np.array([float(budget[u]) for u in units])
    if how == "prefix":
        spent = np.cumsum(price, axis=0)
        fits = np.asarray((spent <= limit).all(axis=1))
        keep = np.arange(len(fits) if fits.all() else int(np.argmin(fits)))
        left = limit - spent[keep[-1]] if len(keep) else limit
    else:
        left, taken = limit.copy(), []
        for i, p in enumerate(price):
            if (p <= left).all():
                left -= p
                taken.append(i)
        keep = np.array(taken, np.int64)
    return keep, {u: float(s) for u, s in zip(units, left, strict=True)}
