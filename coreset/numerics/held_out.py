"""Labeled examples kept out of training, for what must be judged on data the model has not seen."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from coreset.core.pool import Indices, Pool
from coreset.core.signals import Signals, check_column
from coreset.numerics.tensors import as_tensor


def held_out(pool: Pool, signals: Signals, names: Iterable[str]) -> Indices:
    """Return the positions that the boolean column `validation` (N,) marks, with the columns
    `names` checked there.

    Raises ValueError when it is no such column, marks nothing, or marks a candidate.

    >>> held_out(
    ...     Pool(3, candidates=np.array([0, 1])),
    ...     Signals(3, validation=np.array([False, False, True])),
    ...     [],
    ... )
    array([2])
    """
    mask = as_tensor(signals.column("validation")).cpu().numpy()
    if mask.shape != (pool.size,) or mask.dtype != bool:
        raise ValueError(
            f"validation: expected one boolean per example, shape ({pool.size},), got {mask.dtype}"
            f" with shape {mask.shape}"
        )
    known = np.flatnonzero(mask).astype(np.int64)
    if not len(known):
        raise ValueError("validation: the column marks no example")
    both = np.intersect1d(known, pool.candidates)
    if len(both):
        raise ValueError(
            f"validation: {len(both)} validation examples are candidates, first position"
            f" {int(both[0])}; leave them out of the candidates"
        )
    for name in names:
        check_column(name, signals.check(name, known), known)
    return known
