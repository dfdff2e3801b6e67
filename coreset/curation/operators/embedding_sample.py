"""Embeddings of a pool in one pass: a bounded sample that hangs on ids alone; and those of a file
beside it.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coreset.core.batch import Batch
from coreset.curation.io.write import file_hash
from coreset.curation.operators.base import Estimator
from coreset.numerics.neighbors.semantic import unit_rows
from coreset.numerics.random import keyed_uniform


class Sample(NamedTuple):
    """Rows seen, and the rows of the smallest keyed numbers:
    number (m,), id (m,), vector (m, D).
    """

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


Vectors = str | NDArray[np.float32]  # a .npy file, or the array itself


def frozen_vectors(source: Any, name: str) -> Vectors:
    """Return a path as it is, and embeddings (M, D) as float32 rows of length 1, read-only.

    Raises ValueError, beginning with `name`, for another shape and for embeddings that are zero or
    undefined.
    """
    if isinstance(source, str | Path):
        return str(source)
    vectors = np.asarray(source, np.float32)
    if vectors.ndim != 2 or not len(vectors):
        raise ValueError(
            f"{name}: expected a .npy file or an array (M, D) of M > 0 embeddings, got shape"
            f" {vectors.shape}"
        )
    unit = _unit(vectors, name)
    unit.setflags(write=False)
    return unit


def named(source: Vectors) -> str:
    """Return what messages call reference embeddings."""
    return source if isinstance(source, str) else f"against {source.shape}"


def hash_of(source: Vectors) -> str:
    """Return the SHA-256 of a file, or of an array's bytes."""
    if isinstance(source, str):
        return file_hash(Path(source))
    return hashlib.sha256(np.ascontiguousarray(source).tobytes()).hexdigest()


def vectors_of(source: Vectors, sha256: str) -> NDArray[np.float32]:
    """Return reference embeddings (M, D) of length 1; sha256: of the file, for the cache.

    Raises ValueError for embeddings that are zero or undefined.
    """
    return _read_vectors(source, sha256) if isinstance(source, str) else source


@lru_cache(4)
def _read_vectors(path: str, _: str) -> NDArray[np.float32]:
    return _unit(np.load(path, allow_pickle=False), path)


def _unit(vectors: NDArray[Any], name: str) -> NDArray[np.float32]:
    unit = unit_rows(vectors)
    undefined = int(np.isnan(unit).any(axis=1).sum())
    if undefined:
        raise ValueError(f"{name}: {undefined} embeddings are zero or undefined")
    return unit
