"""Semantic duplicates inside one cluster of embeddings: which rows lie within an angle of a row
before them.

Abbas et al., "SemDeDup: Data-efficient learning at web-scale through semantic deduplication", 2023
(arXiv:2303.09540). The released code walks a cluster in an order (far from the centroid first) and
removes a row when any row before it, kept or not, has a cosine above 1 - eps; the paper says one
row per group is kept. Both are here by name.

Products are float32; where their error (`slack`) leaves a comparison open the cosine is taken again
in float64, so that the answer does not depend on the matrix library. In large clusters, where
bfloat16 is faster, its products tell nearly all pairs away first, and every pair that is left is
taken in float64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coreset.core.ranges import check_range
from coreset.numerics.compiled import compiled
from coreset.numerics.neighbors.bfloat16 import STORED, bfloat16_pays
from coreset.numerics.text.near_duplicates import join, root, roots
from coreset.numerics.text.tokenize import Whole

Float32 = NDArray[np.float32]
_BLOCK = 128  # columns of a product: it stays in the second cache
# rows up to which one product does: of a matrix by its own transpose numpy computes half
_WHOLE = 512
_LARGE = 768  # rows from which on bfloat16 is tried
_ROUNDED = 2.0**-8  # of its length is what a row at most loses in bfloat16
_TILE = 256  # rows and columns of a bfloat16 product: one shape, which the library prepares once
# pairs over n^2 up to which taking them one by one in float64 costs less than the float32 products
_FEW = 0.005


@compiled
def _unit(x: NDArray[np.floating], out: Float32) -> None:
    for i in range(len(x)):
        square = 0.0
        for d in range(x.shape[1]):
            square += np.float64(x[i, d]) * np.float64(x[i, d])
        scale = 1 / np.sqrt(square) if 0 < square < np.inf else np.nan
        for d in range(x.shape[1]):
            out[i, d] = np.float32(np.float64(x[i, d]) * scale)


def unit_rows(x: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the rows of `x` (N, D) scaled to length 1, float32, lengths taken in float64; a row of
    zeros or with an undefined number becomes NaN.

    >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]])).astype(float).round(3).tolist()
    [[0.6, 0.8], [nan, nan]]
    """
    out = np.empty(x.shape, np.float32)
    _unit(np.asarray(x, x.dtype if x.dtype in (np.float32, np.float64) else np.float64), out)
    return out


@compiled
def _cosine(a: Float32, b: Float32) -> float:
    total, one, two = 0.0, 0.0, 0.0
    for d in range(len(a)):
        x, y = np.float64(a[d]), np.float64(b[d])
        total += x * y
        one += x * x
        two += y * y
    return float(total / np.sqrt(one * two))


@compiled
def _nearer(x: Float32, i: int, rival: int, j: int, cut: float) -> bool:
    """Return whether row i is above the cut to row j, and nearer than the rival (-1: none)."""
    exact = _cosine(x[i], x[j])
    return bool(exact > cut and (rival < 0 or exact > _cosine(x[rival], x[j])))


@compiled
def _nearest(
    p: Float32, x: Float32, first: int, cut: float, slack: float, best: Float32, duplicate_of: Whole
) -> None:
    """Look through products p (rows 0 .. first + columns, columns from `first`) for each column's
    nearest row before it, above the cut.
    """
    low, sure = np.float32(cut - slack), np.float32(cut + slack)
    for i in range(len(p)):
        row = p[i]
        begin = max(0, i - first + 1)
        any_above = 0
        for c in range(begin, len(row)):
            any_above += row[c] > low
        if any_above:
            for c in range(begin, len(row)):
                j = first + c
                if row[c] > low and row[c] > best[j] - 2 * slack:
                    clear = row[c] > sure and row[c] > best[j] + 2 * slack
                    if clear or _nearer(x, i, duplicate_of[j], j, cut):
                        best[j], duplicate_of[j] = row[c], i  # fmt: skip


@compiled
def _link(p: Float32, x: Float32, first: int, cut: float, slack: float, parent: Whole) -> None:
    low, sure = np.float32(cut - slack), np.float32(cut + slack)
    for i in range(len(p)):
        row = p[i]
        begin = max(0, i - first + 1)
        any_above = 0
        for c in range(begin, len(row)):
            any_above += row[c] > low
        if any_above:
            for c in range(begin, len(row)):
                if (
                    row[c] > low
                    and root(parent, i) != root(parent, first + c)
                    and (row[c] > sure or _cosine(x[i], x[first + c]) > cut)
                ):
                    join(parent, i, first + c)  # fmt: skip


@compiled
def _above(bits: NDArray[np.int16], low: np.int16, first: int, start: int, out: Whole) -> int:
    """Fill out with the pairs (row, column), row before column, of a tile whose products, bfloat16
    as whole numbers of the same order, lie above `low`; return how many.
    """
    count = 0
    for i in range(len(bits)):
        row = bits[i]
        begin = max(0, first + i - start + 1)
        near = np.int32(0)
        for c in range(begin, len(row)):
            near += np.int32(row[c] > low)
        if near:
            for c in range(begin, len(row)):
                if row[c] > low:
                    out[count, 0], out[count, 1] = first + i, start + c
                    count += 1
    return count


@compiled
def _keep_nearest(
    pairs: Whole, x: Float32, cut: float, best: NDArray[np.float64], duplicate_of: Whole
) -> None:
    for at in range(len(pairs)):
        i, j = pairs[at]
        exact = _cosine(x[i], x[j])
        if exact > cut and exact > best[j]:
            best[j], duplicate_of[j] = exact, i


@compiled
def _join_above(pairs: Whole, x: Float32, cut: float, parent: Whole) -> None:
    for at in range(len(pairs)):
        i, j = pairs[at]
        if root(parent, i) != root(parent, j) and _cosine(x[i], x[j]) > cut:
            join(parent, i, j)


def _by_bfloat16(x: Float32, cut: float, slack: float, components: bool) -> Whole | None:
    """Return the duplicates by way of bfloat16 products; None where they are no faster, or leave
    too many pairs.
    """
    n, dim = x.shape
    if n < _LARGE:
        return None
    import torch

    if not bfloat16_pays(dim, torch.get_num_threads()):
        return None
    narrow = torch.zeros(-(-n // _TILE) * _TILE, dim, dtype=torch.bfloat16)
    narrow[:n] = torch.from_numpy(x)
    low = cut - 2.01 * _ROUNDED - 1.01 * STORED - slack
    if not low > 0:
        return None
    floor = np.int16(np.array(low, np.float32).view(np.uint32) >> 16)
    best, duplicate_of, parent = np.full(n, -2.0), np.full(n, -1, np.int64), np.arange(n)
    product, pairs = (
        torch.empty(_TILE, _TILE, dtype=torch.bfloat16),
        np.empty((_TILE * _TILE, 2), np.int64),
    )
    left = int(_FEW * n * n)
    for start in range(0, n, _TILE):
        for first in range(0, start + 1, _TILE):
            torch.mm(narrow[first : first + _TILE], narrow[start : start + _TILE].T, out=product)
            count = _above(product.view(torch.int16).numpy(), floor, first, start, pairs)
            left -= count
            if left < 0:
                return None
            if components:
                _join_above(pairs[:count], x, cut, parent)
            else:
                _keep_nearest(pairs[:count], x, cut, best, duplicate_of)
    return roots(parent) if components else _ends(duplicate_of)


@compiled
def _ends(duplicate_of: Whole) -> Whole:
    """Follow every row to the row that is kept at the end of its chain."""
    out = np.empty(len(duplicate_of), np.int64)
    for j in range(len(duplicate_of)):
        out[j] = j if duplicate_of[j] < 0 else out[duplicate_of[j]]
    return out


def semantic_twins(x: Float32, eps: float, components: bool = False) -> Whole:
    """Return for each row of a cluster (N,), given in the order in which rows are preferred, the
    row kept in its place; its own where it is kept.

    x (N, D): rows of length 1. A row goes when a row before it has a cosine above 1 - eps, be that
    row kept or not (the released rule); its duplicate_of is the end of the chain of nearest rows
    before it. components: the first row of every connected component is kept instead. Raises
    ValueError for eps outside [0, 2].

    >>> angles = np.radians([0, 20, 10])
    >>> x = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    >>> semantic_twins(x, 0.02).tolist(), semantic_twins(x, 0.02, components=True).tolist()
    ([0, 1, 0], [0, 0, 0])
    """
    check_range("a number, 1 - cosine, in [0, 2]", eps=eps)
    n, dim = x.shape
    cut, slack = 1.0 - eps, (dim + 8) * 2.0**-23
    quick = _by_bfloat16(x, cut, slack, components)
    if quick is not None:
        return quick
    best, duplicate_of, parent = (
        np.full(n, -2.0, np.float32),
        np.full(n, -1, np.int64),
        np.arange(n),
    )
    step = n if n <= _WHOLE else _BLOCK
    for first in range(0, n, max(1, step)):
        end = min(first + step, n)
        product = x @ x.T if step == n else x[:end] @ x[first:end].T
        if components:
            _link(product, x, first, cut, slack, parent)
        else:
            _nearest(product, x, first, cut, slack, best, duplicate_of)
    return roots(parent) if components else _ends(duplicate_of)
