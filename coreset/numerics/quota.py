"""Whole-number shares of a budget."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def largest_remainder(
    weights: ArrayLike, k: int, caps: ArrayLike | None = None
) -> NDArray[np.int64]:
    """Split `k` in proportion to `weights` (G,), exactly: floors first, what is left to the largest
    remainders, ties to the lowest index.

    caps (G,): at most that many each; what a full group cannot take goes to the others in
    proportion. Raises ValueError for weights or caps that are negative or not finite, and when the
    groups of positive weight hold less than `k`.

    >>> largest_remainder([33, 33, 34], 10)
    array([3, 3, 4])
    >>> largest_remainder([1, 1], 10, caps=[2, 20])
    array([2, 8])
    """
    w = np.asarray(weights, np.float64)
    if w.ndim != 1 or not np.isfinite(w).all() or (w < 0).any():
        raise ValueError(
            f"weights: expected a list of finite numbers of at least 0, got {w.tolist()}"
        )
    cap = (
        np.full(len(w), k, np.int64) if caps is None else np.minimum(np.asarray(caps, np.int64), k)
    )
    if cap.shape != w.shape or (cap < 0).any():
        raise ValueError(
            f"caps: expected {len(w)} whole numbers of at least 0, one a group, got {cap.tolist()}"
        )
    open_cap = np.where(w > 0, cap, 0)
    if open_cap.sum() < k:
        raise ValueError(
            f"caps: the groups hold {int(open_cap.sum())}, fewer than the {k} asked for"
        )
    out = np.zeros(len(w), np.int64)
    full = w <= 0
    while (left := k - int(out.sum())) > 0:
        live = np.where(full, 0.0, w)
        live /= live.max()  # their sum neither overflows nor vanishes
        exact = live / live.sum() * (k - int(out[full].sum()))
        over = ~full & (exact >= cap)
        if over.any():  # full groups are settled first, the rest is split again
            out[over] = cap[over]
            full |= over
            out[~full] = 0
            continue
        out[~full] = np.floor(exact[~full] + 1e-9).astype(np.int64)
        left = k - int(out.sum())
        remainder = np.where(
            full, -1.0, (exact - out).round(9)
        )  # rounded: equal shares tie although their last digits differ
        out[np.argsort(-remainder, kind="stable")[:left]] += 1
    return out
