"""SemDeDup's eps from how many rows are to stay, and what clusters hide: pairs that are near but
never compared.

How many rows of a cluster the rules of `coreset.numerics.neighbors.semantic` remove at any eps is
the number of certain cosines above 1 - eps, so that eps is a matter of sorting.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from coreset.numerics.compiled import compiled
from coreset.numerics.neighbors.semantic import Float32, _cosine, _nearest
from coreset.numerics.text.tokenize import Whole

Cosines = NDArray[np.float64]
_BLOCK = 256


@compiled
def _close(
    p: Float32, x: Float32, label: Whole, first: int, cut: float, slack: float
) -> tuple[int, int]:
    """Count the products above the cut, and those of two labels; where float32 leaves it open,
    float64 decides.
    """
    low, sure = np.float32(cut - slack), np.float32(cut + slack)
    pairs = apart = 0
    for i in range(len(p)):
        for c in range(max(0, i - first + 1), p.shape[1]):
            if p[i, c] > low and (p[i, c] > sure or _cosine(x[i], x[first + c]) > cut):
                pairs += 1
                apart += label[i] != label[first + c]
    return pairs, apart


@compiled
def _with_nearest(x: Float32, nearest: Whole) -> Cosines:
    out = np.full(len(x), -np.inf)
    for j in range(len(x)):
        if nearest[j] >= 0:
            out[j] = _cosine(x[nearest[j]], x[j])
    return out


@compiled
def _along_tree(x: Float32) -> Cosines:
    """Return the cosines along a spanning tree of the largest (Prim), -inf for the root."""
    n = len(x)
    best, out = np.full(n, -np.inf), np.full(n, -np.inf)
    done = np.zeros(n, np.bool_)
    at = 0
    for step in range(1, n):
        done[at] = True
        to = -1
        for j in range(n):
            if not done[j]:
                best[j] = max(best[j], _cosine(x[at], x[j]))
                if to < 0 or best[j] > best[to]:
                    to = j
        out[step], at = best[to], to
    return out


def _products(x: Float32) -> Iterator[tuple[int, Float32]]:
    """Yield blocks of columns of x x^T, down to their diagonal, and the first column of each."""
    for first in range(0, len(x), _BLOCK):
        end = min(first + _BLOCK, len(x))
        yield first, x[:end] @ x[first:end].T


def _slack(x: Float32) -> float:
    return float((x.shape[1] + 8) * 2.0**-23)


def leaving_cosines(x: Float32, components: bool = False) -> Cosines:
    """Return N cosines, float64: at any eps `semantic_twins` removes as many rows of this cluster
    as lie above 1 - eps; -inf for the row that always stays.

    x (N, D): rows of length 1 in the order in which they are preferred. Of the released rule the
    cosines are each row's own, its largest with a row before it; with components they are those at
    which groups join. Time: O(N^2 D).

    >>> angles = np.radians([0, 20, 10])
    >>> x = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    >>> leaving_cosines(x).round(3).tolist(), leaving_cosines(x, components=True).round(3).tolist()
    ([-inf, 0.94, 0.985], [-inf, 0.985, 0.985])
    """
    if components:
        return np.asarray(_along_tree(x))
    best, nearest = np.full(len(x), -3.0, np.float32), np.full(len(x), -1, np.int64)
    for first, product in _products(x):
        _nearest(product, x, first, -2.0, _slack(x), best, nearest)
    return np.asarray(_with_nearest(x, nearest))


def eps_of(cosines: Cosines, keep: int) -> float:
    """Return the eps at which `keep` of the rows stay whose `leaving_cosines` these are, those of
    all clusters together; a few more stay where several are equal.

    Raises ValueError for fewer than one row a cluster, or more than there are.

    >>> round(eps_of(np.array([-np.inf, 0.5, 0.9]), 2), 3)
    0.3
    """
    rising = np.sort(cosines)
    least = int(np.isneginf(cosines).sum())
    if not least <= keep <= len(rising):
        raise ValueError(
            f"expected to keep {least} (one row a cluster) to {len(rising)} rows, got {keep}"
        )
    low = max(float(rising[keep - 1]), -1.0)
    high = 1.0 if keep == len(rising) else float(rising[keep])
    return min(max(1.0 - (low + high) / 2, 0.0), 2.0)


def close_pairs(x: Float32, label: Whole, eps: float) -> tuple[int, int]:
    """Return how many pairs of rows (N, D), of length 1, have a cosine above 1 - eps, and how many
    of these have different labels (N,).

    >>> x = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    >>> close_pairs(x, np.array([0, 1, 1]), 0.1)
    (1, 1)
    """
    counts = [
        _close(product, x, label, first, 1.0 - eps, _slack(x)) for first, product in _products(x)
    ]
    return sum(int(f[0]) for f in counts), sum(int(f[1]) for f in counts)
