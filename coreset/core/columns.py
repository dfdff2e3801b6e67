"""What columns come as, and what strategies get: missing values, strange dtypes, and numbers too
large or too small to square.
"""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = Any  # a numpy array or a torch tensor; its first axis is the dataset
POWER = 40  # values whose largest lies within 2^-40 ... 2^40 (1e-12 ... 1e12) are ordinary
_BLOCK = 2**22


def unmasked(name: str, values: Any) -> NDArray[Any]:
    """Return values as an array. Raises ValueError for masked entries, which would be read as what
    lies under the mask.

    >>> unmasked("costs", np.ma.masked_array([1, 2], mask=[False, True]))
    Traceback (most recent call last):
    ValueError: costs: expected a value in every place, 1 of 2 are masked, first 1
    """
    values = _stacked(values)
    if isinstance(values, np.ma.MaskedArray) and np.ma.getmaskarray(values).any():
        masked = np.flatnonzero(np.ma.getmaskarray(values))
        raise ValueError(
            f"{name}: expected a value in every place, {len(masked)} of {values.size} are masked,"
            f" first {masked[0]}"
        )
    return np.asarray(values)


def _stacked(values: Any) -> Any:
    """Return a list of masked arrays or values as one masked array, anything else as it is."""
    if isinstance(values, list | tuple) and any(isinstance(v, np.ma.MaskedArray) for v in values):
        gaps = [v is np.ma.masked for v in values]
        if any(gaps):
            dense = [0 if gap else v for v, gap in zip(values, gaps, strict=True)]
            return np.ma.array(dense, mask=gaps)
        return np.ma.array(values)
    return values


def kept(name: str, values: Any) -> tuple[Array, NDArray[np.bool_] | None]:
    """Return a column as an array or tensor, and which rows have a value (None: all).

    Tensors are left alone, everything else becomes a numpy array without a copy where that is
    possible; lists of texts one of lists, (N,), however long they are. Masked entries of a masked
    array, and missing ones (pandas' NA, None) among numbers, are no values: a row with one is
    missing. Raises TypeError for a scipy sparse matrix.
    """
    if type(values).__module__.split(".")[0] == "torch":
        return values, None
    if type(values).__module__.startswith("scipy.sparse"):
        raise TypeError(f"{name}: expected an array, got a sparse matrix; pass {name}.toarray()")
    if (
        isinstance(values, list)
        and values
        and all(isinstance(v, list) and all(isinstance(t, str) for t in v) for v in values)
    ):
        lists = np.empty(len(values), object)
        lists[:] = values
        return lists, None
    values = _stacked(values)
    if isinstance(values, np.ma.MaskedArray):
        mask = np.ma.getmaskarray(values)
        data = np.asarray(values.filled(0) if values.dtype.kind in "biuf" else values.data)
        if not mask.any() or mask.ndim == 0:
            return np.asarray(values.data), None
        return data, np.asarray(~mask.reshape(len(mask), -1).any(axis=1))
    array = np.asarray(values)
    converted = array.dtype == object and array.ndim > 0 and not isinstance(values, np.ndarray)
    return _numbers(array) if converted else (array, None)


def _numbers(array: NDArray[Any]) -> tuple[Array, NDArray[np.bool_] | None]:
    """Return an object array of numbers as numbers, and which of them are there; any other object
    array as it is.
    """
    gaps = np.zeros(array.shape, bool)
    for at, value in np.ndenumerate(array):
        if value is None or type(value).__name__ in ("NAType", "NaTType"):
            gaps[at] = True
        elif not isinstance(value, numbers.Real | np.bool_):
            return array, None
    if gaps.all():
        return array, None
    there = array[~gaps].tolist()
    dense = np.asarray(there)
    if dense.dtype == object or dense.ndim != 1:
        return array, None
    out = np.zeros(array.shape, dense.dtype)
    out[~gaps] = dense
    return out, np.asarray(~gaps.reshape(len(gaps), -1).any(axis=1)) if gaps.any() else None


def check_kind(name: str, column: Array) -> None:
    """Raise ValueError for what no strategy can read: complex numbers, dates, sparse, meta,
    quantized tensors, whole numbers beyond int64.
    """
    if isinstance(column, np.ndarray):
        if column.dtype.kind in "cmMV":
            raise ValueError(f"{name}: expected numbers, got {column.dtype}")
        if (
            column.dtype.kind == "u"
            and column.dtype.itemsize == 8
            and column.size
            and int(column.max()) > 2**63 - 1
        ):
            raise ValueError(f"{name}: expected whole numbers below 2^63, got {int(column.max())}")
        return
    if type(column).__name__ == "MaskedTensor":
        raise ValueError(f"{name}: expected a plain tensor, got a MaskedTensor; pass its rows")
    if str(column.layout) != "torch.strided":
        raise ValueError(
            f"{name}: expected a dense tensor, got {column.layout}; pass {name}.to_dense()"
        )
    if column.device.type == "meta":
        raise ValueError(f"{name}: expected a tensor with values, got one on the device meta")
    if column.is_complex() or column.is_quantized:
        raise ValueError(f"{name}: expected numbers, got {column.dtype}")


def plain(column: Array) -> Array:
    """Return a column without what torch and numpy cannot share; the same object where there is
    nothing to change.

    Whole numbers (N,) become int64, unsigned ones of two or more bytes too; long double becomes
    float64, bfloat16 (N,) float32; tensors leave the graph they were computed in.

    >>> plain(np.array([1, 2], np.uint16)).dtype
    dtype('int64')
    """
    if isinstance(column, np.ndarray):
        if (
            column.dtype.kind in "iu"
            and column.dtype != np.int64
            and (column.ndim == 1 or column.dtype.kind == "u")
        ):
            return column.astype(np.int64)
        if column.dtype.kind == "f" and column.dtype.itemsize > 8:
            with np.errstate(over="ignore", under="ignore"):
                return column.astype(np.float64)
        return column
    column = column.detach()
    whole = not column.is_floating_point() and str(column.dtype) != "torch.bool"
    if whole and (column.ndim == 1 or str(column.dtype).startswith("torch.uint")):
        return column.long()
    return column.float() if column.ndim == 1 and str(column.dtype) == "torch.bfloat16" else column


def largest(column: Array, rows: NDArray[np.int64]) -> float:
    """Return the largest absolute value of some rows of a floating-point column, in blocks."""
    step = max(1, _BLOCK // max(1, int(np.prod(column.shape[1:]))))
    out = 0.0
    for start in range(0, len(rows), step):
        part = column[rows[start : start + step]]
        if part.shape[0] and int(np.prod(part.shape)):
            out = max(out, float(abs(part).max()))
    return out


def rescaled(column: Array, power: int) -> Array:
    """Return a floating-point column times 2^power, in float64: exact wherever the product is a
    normal number.

    >>> rescaled(np.array([1e-310]), 1000)[0] == 1e-310 * 2.0**1000
    np.True_
    """
    with np.errstate(over="ignore", under="ignore"):
        half = power // 2  # 2^power alone may be no float64
        out = column.astype(np.float64) if isinstance(column, np.ndarray) else column.double()
        return out * 2.0**half * 2.0 ** (power - half)


def times(value: Any, power: float) -> Any:
    """Return a number or array of them times 2^power; infinite or zero where float64 ends."""
    with np.errstate(over="ignore", under="ignore"):
        half = np.clip(power / 2, -1000, 1000)
        out = np.asarray(value, np.float64) * np.exp2(half) * np.exp2(half)
    return out if np.ndim(value) else float(out)
