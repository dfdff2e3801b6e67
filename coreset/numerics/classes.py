"""Per-class shares of a budget, and answers interleaved so that early choices are spread over the
classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.numerics.quota import largest_remainder


def class_shares(labels: NDArray[Any], k: int) -> list[tuple[Any, NDArray[np.int64], int]]:
    """Return (class, its rows, how many of them to choose) for every class with a share; shares add
    up to `k`, in proportion to the class sizes.

    Unknown labels (-1) form a class of their own.

    >>> [(int(c), rows.tolist(), n) for c, rows, n in class_shares(np.array([1, 0, 1, 1]), 3)]
    [(0, [1], 1), (1, [0, 2, 3], 2)]
    """
    names, group, counts = np.unique(labels, return_inverse=True, return_counts=True)
    quota = largest_remainder(counts, k, caps=counts)
    return [
        (names[g], np.flatnonzero(group == g), int(quota[g])) for g in range(len(names)) if quota[g]
    ]


def interleave(sizes: Sequence[int]) -> NDArray[np.int64]:
    """Return an order of the concatenation of parts of these sizes in which every prefix holds
    about the same share of each part.

    >>> interleave([2, 4]).tolist()
    [2, 0, 3, 4, 1, 5]
    """
    part = np.repeat(np.arange(len(sizes)), sizes)
    place = np.concatenate([(np.arange(n) + 0.5) / n for n in sizes])
    return np.lexsort((part, place)).astype(np.int64)
