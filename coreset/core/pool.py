"""The pool: what exists, what is selected, what may be chosen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coreset.core.columns import unmasked

Indices = NDArray[np.int64]


Array = Any  # a numpy array or a torch tensor; its first axis is the dataset


def as_indices(values: ArrayLike, size: int, what: str) -> Indices:
    """Return `values` as distinct int64 positions in a dataset of `size` examples, in the order
    given.

    Raises TypeError for anything but whole numbers (a boolean mask of length `size` is accepted)
    and ValueError for positions outside the dataset or given twice.

    >>> as_indices([2, 0], 3, "selected")
    array([2, 0])
    >>> as_indices([True, False, True], 3, "selected")
    array([0, 2])
    """
    array = unmasked(what, values)
    if array.dtype == bool:
        if array.shape != (size,):
            raise ValueError(
                f"{what}: a mask must have shape ({size},), one entry per example, but has shape"
                f" {array.shape}"
            )
        return np.flatnonzero(array).astype(np.int64)
    if array.size == 0:
        return np.empty(0, np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise TypeError(
            f"{what}: expected a one-dimensional list of whole numbers, got {array.dtype} with"
            f" shape {array.shape}"
        )
    array = array.astype(np.int64)
    outside = array[(array < 0) | (array >= size)]
    if outside.size:
        raise ValueError(
            f"{what}: {outside.size} positions lie outside the dataset of {size} examples, first"
            f" {int(outside[0])}"
        )
    if len(np.unique(array)) != len(array):
        unique, counts = np.unique(array, return_counts=True)
        raise ValueError(
            f"{what}: {int((counts > 1).sum())} positions occur more than once, first"
            f" {int(unique[counts > 1][0])}"
        )
    return array


@dataclass(frozen=True, eq=False)
class Pool:
    """What exists, what is taken, what may be chosen.

    size: number of examples in the whole dataset. selected: positions already taken. candidates:
    positions that may be chosen (default: all that are not taken), kept sorted. ids: names of the
    examples outside (COCO ids, paths), shape (size,), default their positions.

    >>> Pool(4, selected=[1]).candidates
    array([0, 2, 3])
    """

    size: int
    selected: Indices = field(default_factory=lambda: np.empty(0, np.int64))
    candidates: Indices = None  # type: ignore[assignment]  # filled below
    ids: NDArray[Any] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if (
            isinstance(self.size, bool)
            or not isinstance(self.size, int | np.integer)
            or self.size < 1
        ):
            raise ValueError(
                f"size: expected the number of examples, at least 1, got {self.size!r}"
            )
        selected = as_indices(self.selected, self.size, "selected")
        given: ArrayLike | None = self.candidates
        if given is None:
            free = np.ones(self.size, bool)
            free[selected] = False
            candidates = np.flatnonzero(free).astype(np.int64)
        else:
            candidates = np.sort(as_indices(given, self.size, "candidates"))
            both = np.intersect1d(candidates, selected)
            if both.size:
                raise ValueError(
                    f"candidates: {both.size} of them are already selected, first {int(both[0])}"
                )
        ids = np.arange(self.size) if self.ids is None else unmasked("ids", self.ids)
        if ids.shape != (self.size,):
            raise ValueError(
                f"ids: expected shape ({self.size},), one name per example, got {ids.shape}"
            )
        if self.ids is not None and len(np.unique(ids)) != self.size:
            unique, counts = np.unique(ids, return_counts=True)
            raise ValueError(
                f"ids: {int((counts > 1).sum())} names occur more than once, first"
                f" {unique[counts > 1][0]!r}"
            )
        for name, value in (
            ("size", int(self.size)),
            ("selected", selected),
            ("candidates", candidates),
            ("ids", ids),
        ):
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        counts = (
            f"size={self.size}, selected={len(self.selected)}, candidates={len(self.candidates)}"
        )
        return f"{type(self).__name__}({counts})"

    def _repr_html_(self) -> str:
        """Return how much of the pool is taken, as bars, for a notebook."""
        from coreset.core import html

        rest = self.size - len(self.selected) - len(self.candidates)
        counts = {
            "selected": len(self.selected),
            "candidates": len(self.candidates),
            "neither": rest,
        }
        return html.card(f"pool of {self.size:,}", html.bars(counts))
