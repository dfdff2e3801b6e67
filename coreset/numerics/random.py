"""Random numbers keyed by row id, so that order, batch size and sharding never change an answer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def keyed_uniform(salt: int, ids: NDArray[Any]) -> NDArray[np.float64]:
    """Return one number in (0, 1) per id: a hash of (salt, id), the same wherever the id stands.
    Integer ids by SplitMix64, others by their text.

    >>> bool(keyed_uniform(1, np.array([5, 9]))[1] == keyed_uniform(1, np.array([9]))[0])
    True
    """
    if ids.dtype.kind in "iu":
        x = ids.astype(np.uint64)
    else:
        import pandas as pd

        texts = np.array(
            [str(i) for i in ids.tolist()], object
        )  # not astype(str): one long name would widen all of them
        x = pd.util.hash_array(texts, hash_key="coreset-row-keys", categorize=False)
    with np.errstate(over="ignore"):
        x = x + np.uint64(salt & 0xFFFFFFFFFFFFFFFF) * np.uint64(0x9E3779B97F4A7C15)
        for _ in range(2):  # two rounds: neighboring salts and ids do not correlate
            x = x + np.uint64(0x9E3779B97F4A7C15)
            x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            x = x ^ (x >> np.uint64(31))
    return ((x >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def salt(rng: np.random.Generator) -> int:
    """Draw a 63-bit salt: the one thing a keyed decision takes from the generator."""
    return int(rng.integers(2**63))


def keyed_order(rng: np.random.Generator, ids: NDArray[Any]) -> NDArray[np.int64]:
    """Return a random order of the rows of `ids` that does not depend on how they are arranged.

    >>> a, b = np.arange(5), np.array([3, 0, 4, 1, 2])
    >>> bool(
    ...     (
    ...         a[keyed_order(np.random.default_rng(0), a)]
    ...         == b[keyed_order(np.random.default_rng(0), b)]
    ...     ).all()
    ... )
    True
    """
    return np.argsort(keyed_uniform(salt(rng), ids), kind="stable").astype(np.int64)
