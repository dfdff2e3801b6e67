"""Exact duplicates: rows of the same text; the lowest id is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.batch import Batch, objects
from coreset.curation.operators.base import Decision, GroupBy
from coreset.numerics.text.tokenize import NUMBERS, folded


def first_of(parts: list[Any]) -> NDArray[np.int64]:
    """Return for each entry the position of the first one equal to it.

    >>> first_of(["a", "b", "a"]).tolist()
    [0, 1, 0]
    """
    seen: dict[Any, int] = {}
    return np.array([seen.setdefault(p, i) for i, p in enumerate(parts)], np.int64)


def duplicate_of_verdict(ids: NDArray[Any], kept: NDArray[np.int64], reason: str) -> Decision:
    """Return the decision that keeps the rows which stand for themselves. kept (n,): position of
    the row kept in the place of each.
    """
    keep = kept == np.arange(len(kept))
    duplicates = [None if k else ids[t] for k, t in zip(keep.tolist(), kept.tolist(), strict=True)]
    return Decision.where(keep, reason, duplicate_of=duplicates)


@dataclass(frozen=True)
class ExactDuplicates(GroupBy):
    """Keep the first of all rows whose `column` is the same, to the last character; folded: of
    which only case, accents and punctuation differ.

    numbers: of folded texts, `keep` = numbers must be the same, `fold` = every number is read as 0.
    Texts are brought together by a hash and compared in full. Missing texts, and without words when
    folded, are duplicates of nothing. Raises ValueError for another word in `numbers`.
    """

    column: str = "text"
    folded: bool = False
    numbers: str = "keep"

    def __post_init__(self) -> None:
        if self.numbers not in NUMBERS:
            raise ValueError(f"numbers: expected {' or '.join(NUMBERS)}, got {self.numbers!r}")

    @property
    def needs(self) -> frozenset[str]:
        """Return the id and the text."""
        return frozenset({"id", self.column})

    @property
    def key_needs(self) -> frozenset[str]:
        """Return the text."""
        return frozenset({self.column})

    def key(self, batch: Batch) -> NDArray[Any]:
        """Return the text, or a hash of its folded words."""
        if not self.folded:
            return batch[self.column]
        return objects([w.hex() or None for w in self._words(batch)])

    def _words(self, batch: Batch) -> list[bytes]:
        h, start = folded(batch.arrow(self.column), self.numbers)
        return [
            h[a:b].tobytes() for a, b in zip(start[:-1].tolist(), start[1:].tolist(), strict=True)
        ]

    def decide(self, rows: Batch) -> Decision:
        """Return the decision about rows of the same hash."""
        parts = self._words(rows) if self.folded else rows[self.column].tolist()
        return duplicate_of_verdict(rows["id"], first_of(parts), "exact duplicate")
