"""Budgets: how many examples may be taken, as counts or shares of the pool, and limits of what they
may cost together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coreset.core.columns import unmasked

FIT = ("prefix", "fill")
Float = NDArray[np.float64]


def budget_size(budget: Any, size: int, what: str = "budget") -> int:
    """Return one budget as a number of examples: an int is a count, a float in (0, 1] a share of
    the whole pool (rounded, at least 1).

    Raises TypeError for anything else and ValueError for zero, negative, NaN or more than the pool.

    >>> budget_size(500, 1000), budget_size(0.3, 1000), budget_size(1.0, 1000)
    (500, 300, 1000)
    """
    if hasattr(budget, "item") and getattr(budget, "shape", None) == ():
        budget = budget.item()
    if isinstance(budget, bool) or not isinstance(budget, int | float):
        raise TypeError(f"{what}: expected a count (500) or a share (0.3), got {budget!r}")
    if isinstance(budget, int):
        if not 1 <= budget <= size:
            raise ValueError(
                f"{what}: expected a count from 1 to {size} (the pool) or a share in (0, 1], got"
                f" {budget}"
            )
        return budget
    if math.isnan(budget) or not 0 < budget <= 1:
        hint = (
            f"; a count is written without a point: {int(budget)}"
            if budget > 1 and budget.is_integer()
            else ""
        )
        raise ValueError(f"{what}: expected a share of the pool in (0, 1], got {budget}{hint}")
    return max(1, math.floor(budget * size + 0.5))


def budget_sizes(budget: Any, size: int, what: str = "budget") -> list[int]:
    """Return cumulative totals for one budget or a list of them, which must grow from one to the
    next.

    >>> budget_sizes([0.02, 0.05, 100], 1000)
    [20, 50, 100]
    """
    several = budget if isinstance(budget, Sequence) and not isinstance(budget, str) else [budget]
    if not several:
        raise ValueError(f"{what}: expected at least one budget, got an empty list")
    sizes = [budget_size(b, size, what) for b in several]
    if any(b <= a for a, b in zip(sizes, sizes[1:], strict=False)):
        raise ValueError(
            f"{what}: totals must grow from one budget to the next, got {list(several)} = {sizes}"
            f" of {size} examples"
        )
    return sizes


def budget_counts(
    budget: Any, unit: str, classes: int, image_bytes: int, what: str = "budget"
) -> Any:
    """Return a budget in images. unit: `images` = the budget as it is; `ipc` = images per class;
    `bytes` of pixels and labels.

    image_bytes: what one image with its label costs. Bytes are never overrun: as many whole images
    of every class as they pay for. Raises ValueError for another unit, for anything but whole
    numbers per class or of bytes, and for bytes that do not pay for one image of every class.

    >>> (
    ...     budget_counts([1, 10], "ipc", 10, 785),
    ...     budget_counts(20000, "bytes", 10, 785),
    ...     budget_counts(0.3, "images", 10, 785),
    ... )
    ([10, 100], [20], 0.3)
    """
    if unit not in ("images", "ipc", "bytes"):
        raise ValueError(f"unit: expected images, ipc or bytes, got {unit!r}")
    if unit == "images":
        return budget
    several = (
        list(budget) if isinstance(budget, Sequence) and not isinstance(budget, str) else [budget]
    )
    for value in several:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(
                f"{what}: in {unit} expected whole numbers of at least 1, got {value!r}"
            )
    if unit == "ipc":
        return [value * classes for value in several]
    short = [value for value in several if value < classes * image_bytes]
    if short:
        raise ValueError(
            f"{what}: {short[0]} bytes do not pay for one image of each of {classes} classes at"
            f" {image_bytes} bytes: {classes * image_bytes}"
        )
    return [value // (classes * image_bytes) * classes for value in several]


def per_class(sizes: Sequence[int], classes: int, what: str = "budget") -> list[int]:
    """Return numbers of images as images per class; ValueError when one is no whole number of them.

    >>> per_class([10, 100], 10)
    [1, 10]
    """
    odd = [size for size in sizes if size % classes]
    if odd:
        raise ValueError(
            f"{what}: {odd[0]} images are no whole number for each of {classes} classes; say it per"
            " class: 'budget=[1,10]' unit=ipc"
        )
    return [size // classes for size in sizes]


@dataclass(frozen=True)
class Budget:
    """Limits of what a choice may cost, by unit: images, boxes, pixels, tokens, bytes, seconds. All
    hold at once, and none is ever exceeded.

    >>> budget = Budget({"boxes": 6})
    >>> budget.walk({"boxes": np.array([3.0, 9.0, 2.0])}, "fill")
    (array([0, 2]), {'boxes': 1.0})
    """

    limits: Mapping[str, float]

    def columns(self, costs: Mapping[str, ArrayLike], ids: NDArray[Any]) -> dict[str, Float]:
        """Return the costs (N,) of every unit of the budget; `images` cost 1 each.

        Raises KeyError for a unit without costs, ValueError for no limit, a limit that is not
        positive, and costs of another shape, negative or NaN, named by `ids` (N,).
        """
        if not self.limits:
            raise ValueError("budget: expected at least one limit, such as {'boxes': 3000}")
        out = {}
        for unit, limit in self.limits.items():
            number = isinstance(limit, int | float | np.integer | np.floating)
            number = number and not isinstance(limit, bool)
            if not (number and np.isfinite(limit) and limit > 0):
                raise ValueError(f"budget: {unit}: expected a positive number, got {limit!r}")
            if unit not in costs and unit != "images":
                raise KeyError(
                    f"budget in {unit}, but costs has only {sorted(costs) or 'nothing'}: give"
                    f" costs={{'{unit}': one number per image}}"
                )
            given = costs.get(unit, np.ones(len(ids)))
            column = unmasked(f"costs: {unit}", given).astype(np.float64)
            if column.shape != ids.shape:
                raise ValueError(
                    f"costs: {unit}: expected shape {ids.shape}, one per image, got {column.shape}"
                )
            bad = ~(np.isfinite(column) & (column >= 0))
            if bad.any():
                at = int(np.argmax(bad))
                raise ValueError(
                    f"costs: {unit}: image {ids[at].item()!r} costs {column[at]}, expected a number"
                    " of at least 0"
                )
            out[unit] = column
        return out

    def most(self, costs: Mapping[str, Float]) -> int:
        """Return an upper bound on how many examples fit: the cheapest ones, for each unit by
        itself. Sums in another order differ in their last digits, so 1e-12 of a limit is let in.
        """
        return min(
            int(np.searchsorted(np.cumsum(np.sort(costs[unit])), limit * (1 + 1e-12), side="right"))
            for unit, limit in self.limits.items()
        )

    def walk(
        self, costs: Mapping[str, Float], fit: str = "prefix"
    ) -> tuple[NDArray[np.int64], dict[str, float]]:
        """Return which examples of an ordered choice fit, as places in that order, and what is left
        per unit.

        costs (k,) of each unit in the order of the choice, at least 0. fit: `prefix` stops at the
        first example that does not fit, `fill` passes over it and goes on. Raises ValueError for
        another `fit`.
        """
        if fit not in FIT:
            raise ValueError(f"fit: expected {' or '.join(FIT)}, got {fit!r}")
        price = np.stack([np.asarray(costs[u], np.float64) for u in self.limits], axis=1)
        limit = np.array([float(value) for value in self.limits.values()])
        if fit == "prefix":
            spent = np.cumsum(price, axis=0)
            fits = np.asarray((spent <= limit).all(axis=1))
            keep = np.arange(len(fits) if fits.all() else int(np.argmin(fits)))
            left = limit - spent[keep[-1]] if len(keep) else limit
        else:
            left, taken = limit.copy(), []
            cheapest = price.min(axis=0, initial=np.inf)
            for i, p in enumerate(price):
                if (p <= left).all():
                    left -= p
                    taken.append(i)
                if (cheapest > left).any():  # nothing fits any more
                    break
            keep = np.array(taken, np.int64)
        return keep, {u: float(s) for u, s in zip(self.limits, left, strict=True)}
