"""What the instruction selectors share: candidates in the order of ids, and choices that only fill a budget up."""

from __future__ import annotations

import numpy as np

from coreset import Pool
from coreset.types import Indices


def by_id(pool: Pool) -> Indices:
    """Return the candidates in the order of their ids, to which ties go; by default that is the order of positions.

    >>> by_id(Pool(3, candidates=[0, 2], ids=np.array(["c", "b", "a"])))
    array([2, 0])
    """
    return pool.candidates[np.argsort(pool.ids[pool.candidates], kind="stable")]
