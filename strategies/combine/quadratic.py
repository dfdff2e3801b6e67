"""The `k` rows of the largest F(X) = info . X - alpha / 2 X . pairs X: shares X in [0, 1] that add
up to k, then rounded.

Mirror ascent in the entropy sum of x ln x + (1 - x) ln(1 - x) (Beck & Teboulle, 2003) never lowers
F with steps up to 4 / |alpha pairs|. Pipage rounding (Ageev & Sviridenko, 2004) does not either:
with a zero diagonal and pairs of at least 0, F is convex along every exchange of shares between two
rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.sparse import triu
from scipy.special import expit

from coreset.numerics.compiled import compiled
from coreset.numerics.tensors import top_k

Rows = NDArray[np.int64]
Values = NDArray[np.float64]


def relax(info: Values, pairs: Any, k: int, alpha: float, iterations: int) -> Values:
    """Return shares X (n,) in [0, 1] with sum `k`, 1 <= k < n, after `iterations` steps of mirror
    ascent on info . X - alpha / 2 X . pairs X from X = k / n; info (n,), pairs (n, n) sparse,
    symmetric, of at least 0, with a zero diagonal.

    >>> from scipy.sparse import csr_matrix
    >>> relax(np.array([1.0, 0.9, 0.2]), csr_matrix((3, 3)), 1, 0.3, 5).round(3).tolist()
    [1.0, 0.0, 0.0]
    """
    n = len(info)
    steep = alpha * float(pairs.sum(axis=1).max()) if alpha else 0.0  # at least |alpha pairs|_2
    shares, dual = np.full(n, k / n), np.zeros(n)
    if not steep:  # no pair counts: the highest scores
        shares[:] = 0
        shares[top_k(info, k)] = 1
        return shares
    for _ in range(iterations):
        dual += 4 / steep * (info - alpha * (pairs @ shares))  # the entropy is 4-convex
        level = brentq(
            lambda level, z: expit(z - level).sum() - k, dual.min() - 40, dual.max() + 40, (dual,)
        )
        shares = expit(dual - level)
    return shares


@compiled
def _exchange(
    start: Rows, column: Rows, value: Values, gradient: Values, shares: Values, i: int, j: int
) -> None:
    """Move shares between i and j, the way that raises F more, until one of them is 0 or 1. value:
    alpha pairs.
    """
    pair = 0.0
    for e in range(start[i], start[i + 1]):
        if column[e] == j:
            pair = value[e]
    up, down = min(1 - shares[i], shares[j]), min(shares[i], 1 - shares[j])
    slope = gradient[i] - gradient[j]
    step = up if up * (slope + pair * up) >= down * (pair * down - slope) else -down
    if step > 0:
        whole = shares[i] + shares[j] >= 1
        shares[i], shares[j] = (1.0, shares[j] - step) if whole else (shares[i] + step, 0.0)
    elif step < 0:
        whole = shares[i] + shares[j] >= 1
        shares[i], shares[j] = (shares[i] + step, 1.0) if whole else (0.0, shares[j] - step)
    for e in range(start[i], start[i + 1]):
        gradient[column[e]] -= value[e] * step
    for e in range(start[j], start[j + 1]):
        gradient[column[e]] += value[e] * step


@compiled
def _along(
    start: Rows, column: Rows, value: Values, gradient: Values, shares: Values, edges: Rows
) -> None:
    """Exchange along `edges` (m, 2) between shares that are neither 0 nor 1."""
    for i, j in edges:
        if 0 < shares[i] < 1 and 0 < shares[j] < 1:
            _exchange(start, column, value, gradient, shares, i, j)


@compiled
def _across(
    start: Rows, column: Rows, value: Values, gradient: Values, shares: Values, order: Rows
) -> None:
    """Exchange between the first and the last of `order` that are neither 0 nor 1, until one is
    left.
    """
    first, last = 0, len(order) - 1
    while first < last:
        _exchange(start, column, value, gradient, shares, order[first], order[last])
        if not 0 < shares[order[first]] < 1:
            first += 1
        if first < last and not 0 < shares[order[last]] < 1:
            last -= 1


def settle(info: Values, pairs: Any, shares: Values, k: int, alpha: float) -> Rows:
    """Return `k` rows, ascending, whose F is at least that of the shares (n,), which add up to k:
    shares are exchanged between the most similar examples first, then between those of the largest
    and of the smallest gradient.

    >>> from scipy.sparse import csr_matrix
    >>> pairs = csr_matrix([[0.0, 2.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    >>> settle(np.array([1.0, 0.9, 0.8]), pairs, np.full(3, 2 / 3), 2, 0.3)
    array([0, 2])
    """
    shares = shares.copy()
    gradient = info - alpha * (pairs @ shares)
    upper = triu(pairs).tocoo()
    best = np.argsort(-upper.data, kind="stable")
    edges = np.stack([upper.row[best], upper.col[best]], axis=1).astype(np.int64)
    graph = pairs.indptr.astype(np.int64), pairs.indices.astype(np.int64), alpha * pairs.data
    _along(*graph, gradient, shares, edges)
    open_ = np.flatnonzero((shares > 0) & (shares < 1))
    _across(*graph, gradient, shares, open_[np.argsort(-gradient[open_], kind="stable")])
    return np.sort(top_k(shares, k))
