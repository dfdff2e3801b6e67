"""Keep training rows clear of test sets: by word n-grams they share, or by embeddings that are
close.

GPT-3 (Brown et al., 2020, appendix C, arXiv:2005.14165) compares 13-grams of lower-case words
without punctuation. Here accents are taken off too, and a test text shorter than that is matched
whole, from `shortest` words on (GPT-3 takes N from 8 to 13 for a whole benchmark).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from coreset.core.batch import Batch, objects
from coreset.curation.io.reference_texts import Source, frozen, hashes_of, texts_of
from coreset.curation.operators.base import Decision, Filter
from coreset.curation.operators.embedding_sample import (
    Vectors,
    frozen_vectors,
    hash_of,
    named,
    vectors_of,
)
from coreset.curation.operators.threshold import undefined_reasons
from coreset.numerics.neighbors.semantic import unit_rows
from coreset.numerics.text.minhash import roll
from coreset.numerics.text.tokenize import NUMBERS, Hashes, folded


class Grams(NamedTuple):
    """The n-grams of one length in a test set: sorted hashes, and the id of the first test row that
    has each.
    """

    n: int
    hash: Hashes
    owner: np.ndarray


def grams(h: Hashes, n: int) -> Hashes:
    """Return the hashes of every n words in a row."""
    out = np.empty(max(0, len(h) - n + 1), np.uint64)
    roll(h, len(h), n, out)
    return out


def index_texts(
    rows: tuple[tuple[str, str], ...], n: int, shortest: int, numbers: str = "keep"
) -> tuple[list[Grams], int]:
    """Return the n-grams of a test set by length, and how many of its rows are too short to be
    looked for.
    """
    by_size: dict[int, dict[int, str]] = {}
    h, start = folded([t for _, t in rows], numbers)
    short = 0
    for i, (name, _) in enumerate(rows):
        words = h[start[i] : start[i + 1]]
        if len(words) < shortest:
            short += 1
            continue
        size = min(n, len(words))
        for g in grams(words, size).tolist():
            by_size.setdefault(size, {}).setdefault(g, name)
    out = []
    for size, owners in sorted(by_size.items()):
        keys = np.array(sorted(owners), np.uint64)
        out.append(Grams(size, keys, objects([owners[int(k)] for k in keys])))
    return out, short


@lru_cache(16)
def _index(
    against: Source,
    column: str,
    n: int,
    shortest: int,
    numbers: str,
    _: tuple[tuple[str, str], ...],
) -> tuple[list[Grams], int]:
    return index_texts(texts_of(against, column), n, shortest, numbers)


@dataclass(frozen=True)
class Decontaminate(Filter):
    """Drop rows that share an n-gram of folded words with a row of the test set `against` (a path,
    glob or list); gives `test_twin`, the id of that test row.

    column: of the pool; test_column: of the test set. n: 13 as GPT-3; test rows of fewer words are
    looked for whole, from `shortest` words; shorter ones cannot be. numbers: `keep` = as they are
    written, as GPT-3; `fold` = every number is read as 0, which also catches test rows with other
    numbers in them, and rows that share no more than their wording.
    """

    gives = frozenset({"test_twin"})

    against: Source
    column: str = "text"
    test_column: str = "text"
    n: int = 13
    shortest: int = 8
    numbers: str = "keep"

    def __post_init__(self) -> None:
        object.__setattr__(self, "against", frozen(self.against, "against"))
        if self.numbers not in NUMBERS:
            raise ValueError(f"numbers: expected {' or '.join(NUMBERS)}, got {self.numbers!r}")
        if not 1 <= self.shortest <= self.n:
            raise ValueError(f"shortest: expected 1 to n = {self.n}, got {self.shortest}")

    def resources(self) -> dict[str, str]:
        """Return the hashes of the test set's files."""
        return hashes_of(self.against)

    @property
    def needs(self) -> frozenset[str]:
        """Return the text."""
        return frozenset({self.column})

    def index(self) -> tuple[list[Grams], int]:
        """Return the n-grams looked for, by length, and how many test rows are too short."""
        state = tuple(sorted(self.resources().items()))
        return _index(self.against, self.test_column, self.n, self.shortest, self.numbers, state)

    def decide(self, batch: Batch) -> Decision:
        """Return the decision."""
        h, start = folded(batch.arrow(self.column), self.numbers)
        reason, duplicate_of = np.full(batch.rows, "", object), objects([None] * batch.rows)
        for part in self.index()[0]:
            for i in range(batch.rows):
                if reason[i]:
                    continue
                own = grams(h[start[i] : start[i + 1]], part.n)
                at = np.searchsorted(part.hash, own).clip(max=len(part.hash) - 1)
                hit = np.flatnonzero(part.hash[at] == own)
                if hit.size:
                    reason[i], duplicate_of[i] = (
                        "shares text with the test set",
                        part.owner[at[hit[0]]],
                    )
        return Decision(reason == "", reason, columns={"test_twin": duplicate_of})


@dataclass(frozen=True)
class DecontaminateEmbeddings(Filter):
    """Drop rows whose embedding has a cosine above `threshold` with a row of the test set; gives
    `test_cosine`, the largest.

    against: embeddings (M, D) made by the same encoder, an array or a .npy file. column: the pool's
    embedding (n, D).
    """

    gives = frozenset({"test_cosine"})

    against: Vectors
    column: str = "embedding"
    threshold: float = 0.95

    def __post_init__(self) -> None:
        object.__setattr__(self, "against", frozen_vectors(self.against, "against"))

    def resources(self) -> dict[str, str]:
        """Return the hash of the test set's file."""
        return {"test": hash_of(self.against)}

    @property
    def needs(self) -> frozenset[str]:
        """Return the embedding."""
        return frozenset({self.column})

    def decide(self, batch: Batch) -> Decision:
        """Return the decision."""
        test = vectors_of(self.against, self.resources()["test"])
        vectors = unit_rows(batch[self.column])
        if vectors.shape[1] != test.shape[1]:
            raise ValueError(
                f"{named(self.against)}: expected embeddings of {vectors.shape[1]} numbers as in"
                f" '{self.column}', got {test.shape[1]}"
            )
        there = ~np.isnan(vectors).any(axis=1)
        best = np.full(batch.rows, np.nan)
        if there.any():
            from coreset.numerics.neighbors.spherical import nearest_centroid

            best[there] = nearest_centroid(vectors[there], test)[1]
        reason = np.full(batch.rows, "", object)
        reason[best > self.threshold] = "close to the test set"
        reason[~there] = undefined_reasons(batch, self.column)[~there]
        return Decision(reason == "", reason, columns={"test_cosine": best})
