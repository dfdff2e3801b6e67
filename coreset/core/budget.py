"""Budgets: how many examples may be taken, as counts or shares of the pool."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


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

    >>> budget_counts([1, 10], "ipc", 10, 785), budget_counts(20000, "bytes", 10, 785), budget_counts(0.3, "images", 10, 785)
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
