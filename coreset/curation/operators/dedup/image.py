"""Near duplicates of images: perceptual hashes a few bits apart, in the same colors."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.batch import Batch, objects
from coreset.core.ranges import check_range
from coreset.curation.operators.base import Decision, GroupBy
from coreset.curation.operators.dedup.exact import duplicate_of_verdict
from coreset.numerics.neighbors.hamming import linked


@dataclass(frozen=True)
class ImageDuplicates(GroupBy):
    """Keep the lowest id of every connected component of images that look the same in shape and in
    color.

    Two are linked when their hashes differ in at most `radius` of 64 bits and their colors nowhere
    by more than `tolerance` of 255: each pair that comes into question is compared, and only those
    that are linked come together in a group. column: 16 hex digits (`phash` of `ImageHashes`); rows
    without a hash are duplicates of nothing. colors: hex digits of the same number for all rows
    (`colors` of `ImageHashes`: a small thumbnail); null: hashes alone, to which a red button is a
    copy of a blue one. No pair is missed: hashes at most r bits apart share one of r + 1 pieces of
    their bits. Gives `image_distance`, the bits between a row and its duplicate_of, and
    `color_distance`, the largest difference of their colors; both 0 for a row that stands for
    others, none for one without a duplicate_of; and both may lie above the limits where further
    rows link the two.
    """

    column: str = "phash"
    radius: int = 4
    colors: str | None = "colors"
    tolerance: int = 32

    def __post_init__(self) -> None:
        check_range("a number of bits in [0, 15]", radius=self.radius)
        check_range("a number in [0, 255]", tolerance=self.tolerance)

    @property
    def gives(self) -> frozenset[str]:  # type: ignore[override]
        """Return the distances to the duplicate_of."""
        return frozenset({"image_distance", *(["color_distance"] if self.colors else [])})

    @property
    def needs(self) -> frozenset[str]:
        """Return the id, the hash and the colors."""
        return frozenset({"id"}) | self.key_needs

    @property
    def key_needs(self) -> frozenset[str]:
        """Return the hash and the colors."""
        return frozenset({self.column, *([self.colors] if self.colors else [])})

    def _bits(
        self, batch: Batch
    ) -> tuple[NDArray[np.uint64], NDArray[np.uint8], NDArray[np.bool_]]:
        """Return hashes (n,), colors (n, C) and which rows have both (n,)."""
        texts = batch[self.column]
        hues = batch[self.colors] if self.colors else objects([""] * batch.rows)
        there = np.array(
            [t is not None and h is not None for t, h in zip(texts, hues, strict=True)], bool
        )
        held = [bytes.fromhex(h) for h in hues[there]]
        sizes = {len(h) for h in held}
        if len(sizes) > 1:
            raise ValueError(
                f"'{self.colors}': expected as many hex digits in all rows, got {sorted(sizes)}"
                " bytes"
            )
        colors = np.zeros((batch.rows, sizes.pop() if sizes else 0), np.uint8)
        colors[there] = (
            np.frombuffer(b"".join(held), np.uint8).reshape(len(held), -1)
            if colors.size
            else colors[there]
        )
        return (
            np.array(
                [int(t, 16) if k else 0 for t, k in zip(texts, there, strict=True)], np.uint64
            ),
            colors,
            there,
        )

    def key(self, batch: Batch) -> NDArray[Any]:
        """Return a key per piece of the bits, with the number of the piece."""
        bits, _, there = self._bits(batch)
        keys = np.zeros((len(bits), self.radius + 1), np.uint64)
        for i, part in enumerate(self._pieces(bits)):
            salt = np.uint64((i + 1) * 0xC2B2AE3D27D4EB4F % 2**64)
            mixed = (part + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + salt
            keys[:, i] = np.where(there, np.maximum(mixed, np.uint64(1)), np.uint64(0))
        return keys

    def signature(self, batch: Batch) -> NDArray[np.uint8]:
        """Return the hash and the colors of every row."""
        bits, colors, _ = self._bits(batch)
        return np.concatenate([bits[:, None].view(np.uint8).reshape(len(bits), 8), colors], axis=1)

    def linked(self, signature: NDArray[np.uint8], start: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the first row of the component of each."""
        bits = np.ascontiguousarray(signature[:, :8]).view(np.uint64).reshape(-1)
        return linked(bits, signature[:, 8:], start, self.radius, self.tolerance)

    def decide(self, rows: Batch) -> Decision:
        """Return the decision about rows that may be linked; every pair is compared here too."""
        bits, colors, there = self._bits(rows)
        known = np.flatnonzero(there)
        kept = np.arange(rows.rows)
        kept[known] = known[
            linked(
                bits[known], colors[known], np.array([0, len(known)]), self.radius, self.tolerance
            )
        ]
        columns: dict[str, Any] = {
            "image_distance": np.bitwise_count(bits ^ bits[kept]).astype(np.int64)
        }
        if self.colors:
            apart = np.abs(colors.astype(np.int64) - colors[kept])
            columns["color_distance"] = apart.max(axis=1, initial=0)
        decision = duplicate_of_verdict(rows["id"], kept, "near duplicate image")
        return Decision(decision.keep, decision.reason, decision.duplicate_of, columns)

    def _pieces(self, bits: NDArray[np.uint64]) -> list[NDArray[np.uint64]]:
        """Return the r + 1 pieces of the bits, each (n,)."""
        edges = np.linspace(0, 64, self.radius + 2).astype(int).tolist()
        return [(bits >> np.uint64(a)) & np.uint64(2 ** (b - a) - 1) for a, b in pairwise(edges)]
