"""The measures of Gopher's repetition rules: repeated lines, paragraphs and word n-grams, as shares
of the text.

Rae et al., 2021, table A1 (arXiv:2112.11446). Variants of the most frequent n-gram:

    gopher      characters inside its occurrences, each counted once, and only when it occurs at
                least twice: a share, at most 1
    datatrove   its length times its count, overlaps and all: above 1 for "a a a a", above the
                threshold for every short caption
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from coreset.numerics.compiled import compiled
from coreset.numerics.text.tokenize import Hashes, Whole, words
from coreset.scorers.text.base import TextScorer, Values
from coreset.scorers.text.gopher_quality import VARIANTS

TOP = (2, 3, 4)
DUPLICATE = (5, 6, 7, 8, 9, 10)
# a first character that stands for itself is looked for ten times as fast as "\n+"
_PARAGRAPHS, _LINES = re.compile(r"\n\n+"), re.compile(r"\n\n*")


@compiled
def _gram(h: Hashes, i: int, n: int) -> np.uint64:
    value = np.uint64(n)
    for k in range(i, i + n):
        value = (value ^ h[k]) * np.uint64(0xFF51AFD7ED558CCD)
        value ^= value >> np.uint64(32)
    return value


@compiled
def _find(value: np.uint64, grams: Hashes, table: Whole) -> int:
    """Return the slot of a hash: table holds 1 + the number of the n-gram, 0 = free."""
    mask = np.uint64(len(table) - 1)
    at = value & mask
    while table[at] and grams[table[at] - 1] != value:
        at = (at + np.uint64(1)) & mask
    return int(at)


@compiled
def top_gram(h: Hashes, begin: Whole, length: Whole, n: int, covered: bool) -> int:
    """Return the characters of the most frequent n-gram (the first of several), covered or length
    times count; 0 for fewer than n words.
    """
    size = len(h) - n + 1
    if size < 1:
        return 0
    table = np.zeros(1 << int(np.ceil(np.log2(2 * size + 1))), np.int64)
    grams, count = np.empty(size, np.uint64), np.zeros(size, np.int64)
    for i in range(size):
        grams[i] = _gram(h, i, n)
        at = _find(grams[i], grams, table)
        if not table[at]:
            table[at] = i + 1
        count[table[at] - 1] += 1
    best = 0
    for i in range(size):
        if count[i] > count[best]:
            best = i
    if not covered:
        characters = n - 1
        for k in range(best, best + n):
            characters += length[k]
        return int(characters * count[best])
    if count[best] < 2:
        return 0
    total, reached = 0, 0
    for i in range(size):
        if grams[i] == grams[best]:
            end = begin[i + n - 1] + length[i + n - 1]
            total += end - max(begin[i], reached)
            reached = end
    return total


@compiled
def duplicate_grams(h: Hashes, length: Whole, n: int) -> int:
    """Return the characters of words inside n-grams that occurred before, read from left to right
    without overlap.
    """
    size = len(h) - n + 1
    if size < 1:
        return 0
    table = np.zeros(1 << int(np.ceil(np.log2(2 * size + 1))), np.int64)
    grams = np.empty(size, np.uint64)
    total, i = 0, 0
    while i < size:
        grams[i] = _gram(h, i, n)
        at = _find(grams[i], grams, table)
        if table[at]:
            for k in range(i, i + n):
                total += length[k]
            i += n
        else:
            table[at] = i + 1
            i += 1
    return total


@compiled
def _all(h: Hashes, begin: Whole, length: Whole, start: Whole, covered: bool, out: Whole) -> None:
    for row in range(len(start) - 1):
        a, b = start[row], start[row + 1]
        for n in range(2, 5):
            out[row, n - 2] = top_gram(h[a:b], begin[a:b], length[a:b], n, covered)
        for n in range(5, 11):
            out[row, n - 2] = duplicate_grams(h[a:b], length[a:b], n)


def repeated(parts: Sequence[str]) -> tuple[int, int]:
    """Return how many parts occurred before in the list, and their characters.

    >>> repeated(["a", "bb", "bb", "bb"])
    (2, 4)
    """
    seen: set[str] = set()
    count = characters = 0
    for part in parts:
        if part in seen:
            count += 1
            characters += len(part)
        seen.add(part)
    return count, characters


@dataclass(frozen=True)
class GopherRepetition(TextScorer):
    """Measure one text column for `coreset.curation.operators.rules.GopherRepetitionFilter`; all
    shares.

    gopher_duplicate_paragraphs, ..._paragraph_characters, ..._lines, ..._line_characters: parts
    that occurred before, of all parts and of all characters. gopher_top_2 to 4: characters of the
    most frequent n-gram of words. gopher_duplicate_5 to 10: characters of words in n-grams that
    occurred before.

    >>> GopherRepetition()({"text": ["to be or not to be"]})["gopher_top_2"].round(3)
    array([0.556])
    """

    columns = (
        "gopher_duplicate_paragraphs",
        "gopher_duplicate_paragraph_characters",
        "gopher_duplicate_lines",
        "gopher_duplicate_line_characters",
        *(f"gopher_top_{n}" for n in TOP),
        *(f"gopher_duplicate_{n}" for n in DUPLICATE),
    )
    status_column = "gopher_repetition_status"

    column: str = "text"
    variant: str = "gopher"

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant: expected {' or '.join(VARIANTS)}, got {self.variant!r}")

    def measure(self, texts: Sequence[str], column: pa.Array) -> Values:
        """Return the shares."""
        w = words(column)
        grams = np.zeros((len(texts), len(TOP) + len(DUPLICATE)), np.int64)
        _all(w.hash, w.begin, w.length, w.start, self.variant == "gopher", grams)
        shares = np.zeros((len(texts), 4))
        for i, text in enumerate(texts):
            for at, parts in ((0, _PARAGRAPHS.split(text.strip())), (2, _LINES.split(text))):
                count, characters = repeated(parts)
                shares[i, at : at + 2] = count / len(parts), characters / len(text)
        size = np.array([len(t) for t in texts], np.float64).reshape(-1, 1)
        return dict(zip(self.columns, np.hstack([shares, grams / size]).T, strict=True))
