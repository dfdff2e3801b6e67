"""Near duplicates of images: perceptual hashes a few bits apart."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.batch import Batch
from coreset.numerics.compiled import compiled
from coreset.numerics.near_duplicates import join, roots
from coreset.pipeline.dedup.exact import twin_verdict
from coreset.pipeline.operators import Group, Verdict


@compiled
def _link(
    bits: NDArray[np.uint64], part: NDArray[np.uint64], order: NDArray[np.int64], radius: int, parent: NDArray[np.int64]
) -> None:
    """Join all pairs of rows with the same part whose bits differ in at most `radius` places; order: rows sorted by part."""
    for at in range(len(order)):
        i = order[at]
        for other in range(at + 1, len(order)):
            j = order[other]
            if part[j] != part[i]:
                break
            rest, count = bits[i] ^ bits[j], 0
            while rest and count <= radius:
                rest &= rest - np.uint64(1)
                count += 1
            if count <= radius:
                join(parent, i, j)


@dataclass(frozen=True)
class ImageDuplicates(Group):
    """Keep the lowest id of every connected component of images whose hashes differ in at most `radius` of 64 bits.

    column: 16 hex digits (`phash` of `ImageHashes`); rows without a hash are duplicates of nothing. No pair is missed: hashes at most r bits apart share one of
    r + 1 pieces of their bits.
    """

    column: str = "phash"
    radius: int = 4

    def __post_init__(self) -> None:
        if not 0 <= self.radius <= 15:
            raise ValueError(f"radius: expected 0 to 15 bits, got {self.radius}")

    @property
    def needs(self) -> frozenset[str]:
        """Return the id and the hash."""
        return frozenset({"id", self.column})

    @property
    def key_needs(self) -> frozenset[str]:
        """Return the hash."""
        return frozenset({self.column})

    def _bits(self, batch: Batch) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
        texts = batch[self.column]
        there = np.array([t is not None for t in texts], bool)
        return np.array([0 if t is None else int(t, 16) for t in texts], np.uint64), there

    def key(self, batch: Batch) -> NDArray[Any]:
        """Return a key per piece of the bits, with the number of the piece."""
        bits, there = self._bits(batch)
        keys = np.zeros((len(bits), self.radius + 1), np.uint64)
        for i, part in enumerate(self._pieces(bits)):
            salt = np.uint64((i + 1) * 0xC2B2AE3D27D4EB4F % 2**64)
            mixed = (part + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + salt
            keys[:, i] = np.where(there, np.maximum(mixed, np.uint64(1)), np.uint64(0))
        return keys

    def decide(self, rows: Batch) -> Verdict:
        """Return the verdict about rows linked by pieces."""
        bits, there = self._bits(rows)
        parent = np.arange(len(bits))
        for part in self._pieces(bits):
            order = np.flatnonzero(there)
            _link(bits, part, order[np.argsort(part[order], kind="stable")], self.radius, parent)
        return twin_verdict(rows["id"], roots(parent), "near duplicate image")

    def _pieces(self, bits: NDArray[np.uint64]) -> list[NDArray[np.uint64]]:
        """Return the r + 1 pieces of the bits, each (n,)."""
        edges = np.linspace(0, 64, self.radius + 2).astype(int).tolist()
        return [(bits >> np.uint64(a)) & np.uint64(2 ** (b - a) - 1) for a, b in pairwise(edges)]
