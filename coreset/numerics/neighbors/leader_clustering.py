"""Leader clustering: each row joins the first leader it is close to, or leads itself. One pass, the
answer fixed by the order of the rows.

Hartigan, "Clustering Algorithms", 1975, chapter 3.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coreset.core.ranges import check_range
from coreset.numerics.compiled import compiled
from coreset.numerics.neighbors.semantic import Float32, _cosine
from coreset.numerics.text.tokenize import Whole

_BLOCK = 256


@compiled
def _join(
    p: Float32,
    x: Float32,
    first: int,
    leaders: Whole,
    known: int,
    cut: float,
    slack: float,
    out: Whole,
) -> int:
    """Give every row of a block its leader: known ones by their products p, those of this block by
    the cosine itself. Return how many leaders there are then.
    """
    count = known
    low, sure = np.float32(cut - slack), np.float32(cut + slack)
    for i in range(len(p)):
        row = first + i
        out[row] = -1
        for k in range(known):
            if p[i, k] >= low and (p[i, k] >= sure or _cosine(x[row], x[leaders[k]]) >= cut):
                out[row] = leaders[k]
                break
        if out[row] < 0:
            for k in range(known, count):
                if _cosine(x[row], x[leaders[k]]) >= cut:
                    out[row] = leaders[k]
                    break
        if out[row] < 0:
            leaders[count] = row
            out[row] = row
            count += 1
    return count


def leaders(x: NDArray[np.float32], similarity: float) -> Whole:
    """Return the leader of each row (N,): the first leader before it with a cosine of at least
    `similarity`, else the row itself.

    x (N, D): rows of length 1. Raises ValueError for a similarity outside [-1, 1].

    >>> angles = np.radians([0, 10, 20, 30])
    >>> leaders(
    ...     np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32), 0.96
    ... ).tolist()
    [0, 0, 2, 2]
    """
    check_range("a cosine in [-1, 1]", similarity=similarity)
    n, dim = x.shape
    chosen, out, known = np.empty(n, np.int64), np.empty(n, np.int64), 0
    table = np.empty((64, dim), np.float32)
    for first in range(0, n, _BLOCK):
        block = x[first : first + _BLOCK]
        count = _join(
            block @ table[:known].T,
            x,
            first,
            chosen,
            known,
            similarity,
            (dim + 8) * 2.0**-23,
            out[: first + len(block)],
        )
        while count > len(table):
            table = np.concatenate([table, np.empty_like(table)])
        table[known:count] = x[chosen[known:count]]
        known = count
    return out
