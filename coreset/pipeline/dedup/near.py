"""Near duplicates by MinHash and locality-sensitive hashing, each pair verified."""

from __future__ import annotations

from dataclasses import dataclass

from coreset.batch import Batch
from coreset.numerics.minhash import band_keys
from coreset.numerics.near_duplicates import near_duplicates
from coreset.numerics.words import Hashes
from coreset.pipeline.dedup.exact import twin_verdict
from coreset.pipeline.operators import Group, Verdict


@dataclass(frozen=True)
class NearDuplicates(Group):
    """Keep the lowest id of every connected component of near duplicates: see `coreset.numerics.near_duplicates`.

    Two rows are linked when they share a band and the Jaccard similarity of their word n-grams, counted exactly, is at least `threshold`. Defaults of n, bands and rows
    as FineWeb's: a pair of similarity 0.72 shares a band in half of the cases, one of 0.8 in 92 %. Texts of fewer than n words are duplicates of nothing: run
    `ExactDuplicates` first. Nothing is held in memory beyond one group.
    """

    column: str = "text"
    n: int = 5
    bands: int = 14
    rows: int = 8
    threshold: float = 0.7
    seed: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold: expected a Jaccard similarity in (0, 1], got {self.threshold}")

    @property
    def needs(self) -> frozenset[str]:
        """Return the id and the text."""
        return frozenset({"id", self.column})

    @property
    def key_needs(self) -> frozenset[str]:
        """Return the text."""
        return frozenset({self.column})

    def key(self, batch: Batch) -> Hashes:
        """Return a key per band."""
        return band_keys(batch.arrow(self.column), self.n, self.bands, self.rows, self.seed).keys

    def decide(self, rows: Batch) -> Verdict:
        """Return the verdict about rows linked by bands."""
        kept = near_duplicates(rows.arrow(self.column), self.n, self.bands, self.rows, self.threshold, self.seed)
        return twin_verdict(rows["id"], kept, "near duplicate")
