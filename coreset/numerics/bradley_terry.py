"""Ratings from comparisons of two: their difference is the log-odds that one is preferred.

Bradley & Terry, "Rank Analysis of Incomplete Block Designs: The Method of Paired Comparisons",
Biometrika 39, 1952.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, identity
from scipy.sparse.linalg import spsolve

from coreset.core.ranges import check_range

Float = NDArray[np.float64]
_STEPS = 100


def bradley_terry(
    pairs: NDArray[np.int64],
    share: Float,
    size: int,
    ridge: float = 0.01,
    features: Float | None = None,
) -> Float:
    """Return the ratings (size,) under which comparisons are likeliest, or coefficients.

    pairs (m, 2): which two were compared; share (m,): the share of votes in [0, 1] for the first.
    Least is sum -[y log s(r_a - r_b) + (1 - y) log s(r_b - r_a)] + ridge / 2 |r|^2, s the
    logistic function; without a ridge what won every comparison has no finite rating. features
    (size, D): then r = features w, the ridge is of w, and w (D,) is returned. Raises ValueError
    for shares outside [0, 1], a pair of one thing with itself, or a ridge that is not above 0.

    >>> r = bradley_terry(np.array([[0, 1], [1, 2]]), np.array([0.75, 0.5]), 3, ridge=1e-9)
    >>> (r[0] - r[1]).round(4) == np.log(3).round(4), bool(abs(r.sum()) < 1e-6)
    (np.True_, True)
    """
    check_range("a number in (0, inf)", ridge=ridge)
    if not ((share >= 0) & (share <= 1)).all() or (pairs[:, 0] == pairs[:, 1]).any():
        raise ValueError("comparisons: expected shares in [0, 1] and pairs of two different things")
    row = np.arange(len(pairs))
    sign = np.repeat([1.0, -1.0], len(pairs))
    place = (np.concatenate([row, row]), np.concatenate([pairs[:, 0], pairs[:, 1]]))
    design = csr_matrix((sign, place), shape=(len(pairs), size))
    if features is not None:
        design = csr_matrix(design @ np.asarray(features, np.float64))
    return _newton(design, share, ridge)


def _newton(design: Any, share: Float, ridge: float) -> Float:
    """Return the coefficients of a logistic regression on shares, by Newton's method."""
    w = np.zeros(design.shape[1])
    loss = _loss(design, share, ridge, w)
    eye = identity(len(w), format="csc") * ridge
    for _ in range(_STEPS):
        p = _logistic(design @ w)
        slope = design.T @ (p - share) + ridge * w
        curve = (design.T @ design.multiply((p * (1 - p))[:, None]) + eye).tocsc()
        step = np.atleast_1d(spsolve(curve, slope))
        scale, limit = 1.0, loss + 1e-12 * abs(loss)  # at the end a loss can fall no further
        while scale > 1e-10 and _loss(design, share, ridge, w - scale * step) > limit:
            scale /= 2
        w = w - scale * step
        loss = _loss(design, share, ridge, w)
        if np.abs(scale * step).max(initial=0.0) < 1e-12:
            break
    return w


def _logistic(x: Float) -> Float:
    return np.asarray(np.exp(-np.logaddexp(0.0, -x)), np.float64)


def _loss(design: Any, share: Float, ridge: float, w: Float) -> float:
    x = design @ w
    own = share * np.logaddexp(0.0, -x) + (1 - share) * np.logaddexp(0.0, x)
    return float(own.sum() + ridge / 2 * (w @ w))
