"""Sampling without replacement in proportion to weights, keyed by row id.

Adding Gumbel noise to log-weights and sorting draws one after the other in proportion to the
weights that are left: Efraimidis & Spirakis, 2006; Kool, van Hoof & Welling, "Stochastic Beams and
Where to Find Them", ICML 2019 (arXiv:1903.06059).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coreset.numerics.random import keyed_uniform, salt


def gumbel_order(
    rng: np.random.Generator, ids: NDArray[Any], log_weights: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return all rows in the order drawn, and the perturbed log-weight of each in that order; a
    prefix is a smaller draw.

    log_weights (n,): any offset; -inf = weight zero, drawn only when nothing else is left, in a
    random order. Raises ValueError for NaN or +inf.

    >>> order, keys = gumbel_order(np.random.default_rng(0), np.arange(3), [-np.inf, 0.0, 100.0])
    >>> order.tolist(), bool(keys[0] > keys[1] > keys[2])
    ([2, 1, 0], True)
    """
    weights = np.asarray(log_weights, np.float64)
    if np.isnan(weights).any() or (weights == np.inf).any():
        raise ValueError(
            f"log_weights: {int((~(weights < np.inf)).sum())} of {len(weights)} are NaN or infinite"
        )
    noise = -np.log(-np.log(keyed_uniform(salt(rng), ids)))
    keys = weights + noise
    order = np.lexsort((-noise, -keys)).astype(np.int64)
    return order, keys[order]
