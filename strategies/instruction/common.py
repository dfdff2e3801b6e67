"""What the instruction selectors share: candidates in the order of ids, and choices that only fill
a budget up.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from coreset import Pool, Signals
from coreset.core.pool import Indices


def by_id(pool: Pool) -> Indices:
    """Return the candidates in the order of their ids, to which ties go; by default that is the
    order of positions.

    >>> by_id(Pool(3, candidates=[0, 2], ids=np.array(["c", "b", "a"])))
    array([2, 0])
    """
    return pool.candidates[np.argsort(pool.ids[pool.candidates], kind="stable")]


def tags_at(signals: Signals, at: Indices) -> list[frozenset[str]]:
    """Return the tags of each example of `at`. Raises ValueError for what is no list of texts."""
    values = signals.at("tags", at)
    if values.ndim != 1:
        raise ValueError(
            "tags: expected one list of texts per example, shape (N,), got shape"
            f" {tuple(values.shape)}"
        )
    for row, value in zip(at.tolist(), values, strict=True):
        if (
            not isinstance(value, Collection)
            or isinstance(value, str)
            or not all(isinstance(t, str) for t in value)
        ):
            raise ValueError(f"tags: expected a list of texts, got {value!r} at position {row}")
    return [frozenset(value) for value in values]
