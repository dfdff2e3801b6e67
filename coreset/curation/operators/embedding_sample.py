"""Embeddings of a pool in one pass: a bounded sample that hangs on ids alone; and those of a file
beside it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coreset.core.batch import Batch
from coreset.curation.operators.base import Estimator
from coreset.numerics.neighbors.semantic import unit_rows
from coreset.numerics.random import keyed_uniform


class Sample(NamedTuple):
    """Rows seen, and the rows of the smallest keyed numbers: number (m,), id (m,), vector (m, D)."""

    rows: int
    number: NDArray[np.float64]
    id: NDArray[Any]
    vector: NDArray[np.float32]

    def least(self, k: int) -> Sample:
        """Return the sample cut to its k smallest numbers, in the order of ids."""
        first = np.lexsort((self.id.astype(str), self.number))[:k]
        order = first[np.argsort(self.id[first].astype(str), kind="stable")]
        return Sample(self.rows, self.number[order], self.id[order], self.vector[order])


class SampledVectors(Estimator):
    """A fit to `sample` unit vectors of `column` (n, D), drawn by id with `seed`; rows without one
    do not count.
    """

    column: str
    sample: int
    seed: int

    @property
    def needs(self) -> frozenset[str]:
        """Return the id and the embedding."""
        return frozenset({"id", self.column})

    def fit(self, batch: Batch) -> Sample:
        """Return the sample of one batch."""
        vectors = unit_rows(batch[self.column])
        there = ~np.isnan(vectors[:, 0]) if vectors.size else np.zeros(batch.rows, bool)
        ids = batch["id"][there]
        return Sample(int(there.sum()), keyed_uniform(self.seed, ids), ids, vectors[there]).least(
            self.sample
        )

    def to_state(self, state: Sample) -> Any:
        """Return the sample as a plain tuple."""
        return tuple(state)

    def from_state(self, plain: Any) -> Sample:
        """Return the sample of its plain form."""
        return Sample(*plain)

    def merge(self, a: Sample, b: Sample) -> Sample:
        """Return the sample of both."""
        parts = [s for s in (a, b) if len(s.id)] or [a]
        both = (np.concatenate([s[i] for s in parts]) for i in (1, 2, 3))
        return Sample(a.rows + b.rows, *both).least(self.sample)


@lru_cache(4)
def vectors_of(path: str, _: str) -> NDArray[np.float32]:
    """Return the embeddings (M, D) of a .npy file, of length 1; the second argument, the file's
    hash, is for the cache alone.

    Raises ValueError for embeddings that are zero or undefined.
    """
    found = unit_rows(np.load(path, allow_pickle=False))
    if np.isnan(found).any():
        raise ValueError(
            f"{path}: {int(np.isnan(found).any(axis=1).sum())} embeddings are zero or undefined"
        )
    return found
