"""Signals: named per-example columns of one dataset, and the check of the columns whose meaning is
fixed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coreset.core.catalog import source
from coreset.core.columns import POWER, check_kind, kept
from coreset.core.pool import Array, Indices, as_indices


class Signals:
    """Named per-example columns of one dataset; the one place that aligns rows.

    >>> s = Signals(3, margin=[0.1, 0.5, 0.2])
    >>> s.put("loss", [2, 0], [9.0, 7.0])
    >>> s.at("loss", [0, 2])
    array([7., 9.])
    >>> s.at("loss", [1])
    Traceback (most recent call last):
    ValueError: loss: no value for 1 of the 1 examples asked for, first position 1
    """

    def __init__(self, size: int, /, **columns: Any) -> None:
        self.size = size
        self._columns: dict[str, Array] = {}
        self._known: dict[str, NDArray[np.bool_]] = {}  # only for columns put in parts
        for name, values in columns.items():
            self.put(name, None, values)

    @property
    def names(self) -> frozenset[str]:
        """Names of the columns present."""
        return frozenset(self._columns)

    def put(self, name: str, indices: ArrayLike | None, values: Any) -> None:
        """Write `values` at positions `indices` (None: the whole dataset, kept without a copy).
        Later values replace earlier ones.
        """
        values, there = kept(name, values)
        if len(values.shape) == 0:
            raise ValueError(f"{name}: expected one value per example, got a single number")
        if indices is None:
            if values.shape[0] != self.size:
                raise ValueError(
                    f"{name}: expected {self.size} rows, one per example, got shape"
                    f" {tuple(values.shape)}"
                )
            self._columns[name] = values
            self._known.pop(name, None)
            if there is not None:
                self._known[name] = there
            return
        rows = as_indices(indices, self.size, f"{name}: indices")
        if values.shape[0] != len(rows):
            raise ValueError(
                f"{name}: {len(rows)} positions but values of shape {tuple(values.shape)}"
            )
        values = np.asarray(values)
        old: Any = self._columns.get(name)
        if old is None or tuple(old.shape[1:]) != values.shape[1:]:
            old = np.zeros((self.size, *values.shape[1:]), values.dtype)
            self._known[name] = np.zeros(self.size, bool)
        elif name not in self._known:
            old = np.array(old)  # a column handed in whole is never written to
            self._known[name] = np.ones(self.size, bool)
        old = old.astype(
            np.result_type(old.dtype, values.dtype), copy=False
        )  # whole numbers or short texts first must not cut what comes later
        old[rows] = values
        self._known[name][rows] = True if there is None else there
        self._columns[name] = old

    def replaced(self, columns: Mapping[str, Array]) -> Signals:
        """Return the same columns with some replaced by others of the same rows;
        nothing is copied.
        """
        out = Signals(self.size)
        out._columns = {**self._columns, **columns}
        out._known = dict(self._known)
        return out

    def column(self, name: str) -> Array:
        """Return the whole column without a copy; rows never written hold zeros (see `check`)."""
        if name not in self._columns:
            have = ", ".join(sorted(self._columns)) or "none"
            raise KeyError(f"signal '{name}' is missing; present: {have}. {name}: {source(name)}")
        return self._columns[name]

    def check(self, name: str, indices: Indices) -> Array:
        """Return the whole column after checking that every row in `indices` has a value."""
        column = self.column(name)
        known = self._known.get(name)
        if known is not None and not known[indices].all():
            missing = indices[~known[indices]]
            raise ValueError(
                f"{name}: no value for {len(missing)} of the {len(indices)} examples asked for,"
                f" first position {int(missing[0])}"
            )
        return column

    def known(self, name: str, indices: Indices) -> Indices:
        """Return those of `indices` at which a column has a value."""
        known = self._known.get(name)
        return indices if known is None else indices[known[indices]]

    def at(self, name: str, indices: ArrayLike) -> Array:
        """Return the rows of `name` at `indices`, in that order (a copy)."""
        rows = as_indices(indices, self.size, f"{name}: indices")
        return self.check(name, rows)[rows]


# Axes and kind of the columns whose meaning is fixed: floating or whole numbers.
_KNOWN = {
    "features": ("N, D", "f"),
    "logits": ("N, C", "f"),
    "probs": ("N, C", "f"),
    "member_probs": ("N, T, C", "f"),
    "labels": ("N,", "i"),
}


def check_column(name: str, column: Array, indices: Indices) -> bool:
    """Raise ValueError when the rows `indices` of a column have a wrong shape or kind, NaN or
    infinite values, or probabilities that are none.

    Probabilities may be of any floating type; they must be non-negative and sum to one within 1e-2
    (half precision is not normalized again). Return whether all values are ordinary: whole numbers,
    or numbers of which the largest certainly lies within 1e-12 ... 1e12.
    """
    check_kind(name, column)
    axes, kind = _KNOWN.get(name, (None, None))
    if axes is not None and len(column.shape) != len(axes.replace(",", " ").split()):
        raise ValueError(f"{name}: expected shape ({axes}), got {tuple(column.shape)}")
    if axes is not None and 0 in column.shape[1:] and name != "member_probs":
        raise ValueError(
            f"{name}: expected at least one number per example, got shape {tuple(column.shape)}"
        )
    if name == "member_probs" and column.shape[1] < 1:
        raise ValueError(
            f"member_probs: expected at least one member, got shape {tuple(column.shape)}"
        )
    is_float = (
        column.dtype.kind == "f"
        if isinstance(column, np.ndarray)
        else column.dtype.is_floating_point
    )
    if kind == "i" and (
        is_float or (isinstance(column, np.ndarray) and column.dtype.kind not in "iu")
    ):
        raise ValueError(f"{name}: expected whole numbers (-1 = unknown), got {column.dtype}")
    if kind == "f" and not is_float:
        raise ValueError(f"{name}: expected floating-point values, got {column.dtype}")
    if not is_float:
        return True
    ordinary = True
    step = max(
        1, 2**22 // max(1, int(np.prod(column.shape[1:])))
    )  # blocks of about 4 M values: no copy of the whole column
    whole = len(indices) == column.shape[0]
    soft = name == "logits" and len(indices) > 1 and column.shape[-1] > 1
    like_probs = [1, 100] if soft else []  # what all rows may sum to: shares or percents
    for start in range(0, len(indices), step):
        rows = indices[start : start + step]
        block = column[start : start + step] if whole else column[rows]
        if whole:
            rows = np.arange(start, start + len(block))
        block = block if isinstance(block, np.ndarray) else block.detach().double().cpu().numpy()
        flat = block.reshape(len(block), int(np.prod(block.shape[1:])))
        with np.errstate(invalid="ignore", over="ignore", under="ignore"):
            # a sum of squares is finite only if every value is: one product at the speed of memory,
            # and row by row where it is not
            squares = np.vdot(flat, flat)
            finite = np.isfinite(squares) or np.isfinite(flat).all(axis=1)
        if block.dtype.itemsize > 2:  # 22 more bits: a block holds 2^22 values
            ordinary &= bool(2.0 ** (22 - 2 * POWER) <= squares <= 2.0 ** (2 * POWER))
        if not np.all(finite):
            bad = int((~finite).sum())
            raise ValueError(
                f"{name}: {bad} examples have NaN or infinite values, first position"
                f" {int(rows[~finite][0])}"
            )
        if name in ("probs", "member_probs"):
            off = (np.abs(block.sum(axis=-1, dtype=np.float64) - 1) > 1e-2).reshape(
                len(block), -1
            ).any(axis=1) | (flat < 0).any(axis=1)
            if off.any():
                raise ValueError(
                    f"{name}: {int(off.sum())} rows are no probabilities (non-negative, summing to"
                    f" 1), first position {int(rows[off][0])}; pass logits through softmax first"
                )
        if like_probs:
            with np.errstate(over="ignore", invalid="ignore"):
                sums = block.sum(axis=-1, dtype=np.float64)
            positive = bool((flat >= 0).all())
            like_probs = [
                w for w in like_probs if positive and bool((np.abs(sums / w - 1) <= 1e-2).all())
            ]
    if like_probs:
        raise ValueError(
            f"logits: every row is non-negative and sums to {like_probs[0]}: these are"
            " probabilities;"
            f" give them as probs{', divided by 100' if like_probs[0] == 100 else ''}"
        )
    return ordinary
