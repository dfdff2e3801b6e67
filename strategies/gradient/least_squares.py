"""Least squares that grow by one variable at a time: min w'(A + λI)w - 2 b'w, over w >= 0 or all w.

Lawson & Hanson, "Solving Least Squares Problems", 1974, chapter 23, with the Cholesky factor of the
active part kept up to date: O(p²) for a variable that enters or leaves. The answer is the exact
optimum over the variables added so far.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.numerics.compiled import compiled

Float = NDArray[np.float64]


@compiled
def _enter(
    factor: Float,
    y: Float,
    active: NDArray[np.int64],
    p: int,
    gram: Float,
    b: Float,
    i: int,
    ridge: float,
) -> bool:
    """Add variable `i` as the p-th active one; False when it depends linearly on those before."""
    row = factor[p]
    for j in range(p):
        total = gram[i, active[j]]
        for m in range(j):
            total -= row[m] * factor[j, m]
        row[j] = total / factor[j, j]
    pivot, value = gram[i, i] + ridge, b[i]
    for j in range(p):
        pivot -= row[j] * row[j]
        value -= row[j] * y[j]
    if pivot <= 1e-10 * (gram[i, i] + ridge):
        return False
    row[p] = np.sqrt(pivot)
    y[p] = value / row[p]
    active[p] = i
    return True


@compiled
def _leave(factor: Float, y: Float, active: NDArray[np.int64], p: int, m: int) -> None:
    """Take the m-th of p active variables out: its row goes, Givens rotations make the rest
    triangular again.
    """
    for i in range(m, p - 1):
        active[i] = active[i + 1]
        for j in range(i + 2):
            factor[i, j] = factor[i + 1, j]
    for i in range(m, p - 1):
        size = np.hypot(factor[i, i], factor[i, i + 1])
        c, s = factor[i, i] / size, factor[i, i + 1] / size
        for j in range(i, p - 1):
            a, b = factor[j, i], factor[j, i + 1]
            factor[j, i], factor[j, i + 1] = c * a + s * b, c * b - s * a
        a, b = y[i], y[i + 1]
        y[i], y[i + 1] = c * a + s * b, c * b - s * a


@compiled
def _solve(factor: Float, y: Float, p: int, z: Float) -> None:
    """Back substitution: z = the unconstrained optimum over the p active variables."""
    z[:p] = y[:p]
    for i in range(p - 1, -1, -1):
        z[i] /= factor[i, i]
        for j in range(i):
            z[j] -= z[i] * factor[i, j]


@compiled
def _grow(
    factor: Float,
    y: Float,
    active: NDArray[np.int64],
    p: int,
    gram: Float,
    b: Float,
    w: Float,
    t: int,
    ridge: float,
    tolerance: float,
) -> int:
    """Bring `w` to the optimum over variables 0 ... t - 1, of which the first p of `active` are
    positive now; return the new p.
    """
    z = np.empty(t)
    passive = np.ones(t, np.bool_)
    passive[active[:p]] = False
    for _ in range(3 * t + 10):
        best, most = -1, tolerance
        for i in range(t):
            if passive[i]:
                slope = b[i]
                for j in range(p):
                    slope -= gram[i, active[j]] * w[active[j]]
                if slope > most:
                    best, most = i, slope
        if best < 0:
            break
        passive[best] = False
        if not _enter(factor, y, active, p, gram, b, best, ridge):
            continue
        p += 1
        while True:
            _solve(factor, y, p, z)
            step, out = 1.0, -1
            for j in range(p):
                if z[j] <= 0 and w[active[j]] < step * (w[active[j]] - z[j]):
                    step, out = w[active[j]] / (w[active[j]] - z[j]), j
            for j in range(p):
                w[active[j]] += step * (z[j] - w[active[j]])
            if out < 0:
                break
            w[active[out]] = 0.0
            passive[active[out]] = True
            _leave(factor, y, active, p, out)
            p -= 1
    return p


class LeastSquares:
    """The growing problem: `add` a variable, read `weights`. capacity: how many there can be;
    ridge: λ; positive: keep w >= 0 (otherwise w is free).

    >>> problem = LeastSquares(2)
    >>> problem.add(np.array([4.0]), 4.0)
    >>> problem.add(np.array([1.0, 2.0]), -1.0)
    >>> problem.weights.tolist()
    [1.0, 0.0]
    """

    def __init__(self, capacity: int, ridge: float = 0.0, positive: bool = True) -> None:
        self.ridge, self.positive = ridge, positive
        self.size = self._count = 0
        self._gram, self._factor = np.zeros((capacity, capacity)), np.zeros((capacity, capacity))
        self._b, self._w, self._y = np.zeros(capacity), np.zeros(capacity), np.zeros(capacity)
        self._active = np.zeros(capacity, np.int64)

    @property
    def weights(self) -> Float:
        """The optimum over the variables added, (size,)."""
        return self._w[: self.size]

    def nonnegative(self) -> Float:
        """Return the optimum over w >= 0, (size,), whatever was kept to so far."""
        if self.positive or not (self.weights < 0).any():
            return self.weights.copy()
        other = LeastSquares(self.size, self.ridge)
        for t in range(self.size):
            other.add(self._gram[t, : t + 1], float(self._b[t]))
        return other.weights

    def add(self, gram: NDArray[Any], b: float) -> None:
        """Add a variable: gram (size + 1,), its products with those before and itself; b its
        product with the target. One that depends on those before gets 0.
        """
        t = self.size
        self._gram[t, : t + 1] = self._gram[: t + 1, t] = gram
        self._b[t] = b
        self.size = t + 1
        parts = self._factor, self._y, self._active, self._count, self._gram, self._b
        if self.positive:
            tolerance = 1e-12 * float(np.abs(self._b[: t + 1]).max())
            self._count = _grow(*parts, self._w, t + 1, self.ridge, tolerance)
        elif _enter(*parts, t, self.ridge):
            self._count += 1
            z = np.empty(self._count)
            _solve(self._factor, self._y, self._count, z)
            self._w[self._active[: self._count]] = z
