"""Repetition inside one text, and the loop a language model falls into at its end.

The share of n-grams of characters is that of Data-Juicer's character_repetition_filter (Chen et
al., SIGMOD 2024, arXiv:2309.02033). The share of n-grams of words follows the same formula over
this project's words (`coreset.numerics.text.tokenize`: signs are words, case differs, Chinese has
words), and so is not the number of its word_repetition_filter, which cuts at white space, lowers
case and strips signs and digits. distinct-n: Li et al., NAACL 2016 (arXiv:1510.03055). A loop is
the longest tail that is at least two copies of one piece: "ha" * 40, which n-grams of words do not
see, since it is one word. InternVL 2.5 names it as what ruins a model (arXiv:2412.05271).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from coreset.numerics.compiled import compiled
from coreset.numerics.text.characters import SPACE, characters, tables
from coreset.numerics.text.tokenize import Flags, Hashes, Points, Whole, split
from coreset.scorers.text.base import TextScorer, Values


@compiled
def suffix_loop(p: Points, flags: Flags) -> tuple[int, int]:
    """Return (length of the piece, copies) of the loop at the end of `p` that covers most of it,
    the shortest piece of several; (0, 1) for none.

    flags: of `characters.tables`. A first copy that lacks no more than the white space between two
    copies is one too: "ha ha ha" is three.
    """
    size = len(p)
    ink = np.zeros(size + 1, np.int64)  # characters before each that are no white space
    for i in range(size):
        ink[i + 1] = ink[i] + (0 if flags[p[i]] & SPACE else 1)
    # of the text read backwards: how far it agrees with itself shifted by i
    z = np.zeros(size, np.int64)
    left = right = 0
    best, unit, copies = 0, 0, 1
    for i in range(1, size):
        if i < right:
            z[i] = min(right - i, z[i - left])
        while i + z[i] < size and p[size - 1 - z[i]] == p[size - 1 - i - z[i]]:
            z[i] += 1
        if i + z[i] > right:
            left, right = i, i + z[i]
        covered = i + z[i]
        times, rest, begin = covered // i, covered % i, size - covered
        if rest and ink[begin + i] == ink[begin + rest]:  # what the copy before would begin with
            times += 1
        if times > 1 and times * i > best:
            best, unit, copies = times * i, i, times
    return unit, copies


@compiled
def _grams(values: Hashes, n: int) -> Hashes:
    out = np.empty(max(0, len(values) - n + 1), np.uint64)
    for i in range(len(out)):
        h = np.uint64(n)
        for k in range(i, i + n):
            h = (h ^ values[k]) * np.uint64(0xFF51AFD7ED558CCD)
            h ^= h >> np.uint64(32)
        out[i] = h
    return out


@compiled
def _counts(grams: Hashes) -> Whole:
    """Return how often each distinct value occurs, most often first."""
    ordered = np.sort(grams)
    out = np.zeros(len(ordered), np.int64)
    k = -1
    for i in range(len(ordered)):
        if i == 0 or ordered[i] != ordered[i - 1]:
            k += 1
        out[k] += 1
    return np.sort(out[: k + 1])[::-1]


@compiled
def _last(p: Points, flags: Flags) -> int:
    """Return where the white space at the end begins."""
    end = len(p)
    while end and flags[p[end - 1]] & SPACE:
        end -= 1
    return int(end)


@compiled
def _measure(
    points: Points,
    begin: Whole,
    h: Hashes,
    start: Whole,
    flags: Flags,
    char_n: int,
    word_n: int,
    distinct_n: int,
    out: np.ndarray,
) -> None:
    for row in range(len(begin) - 1):
        p = points[begin[row] : begin[row + 1]]
        w = h[start[row] : start[row + 1]]
        counts = _counts(_grams(p.astype(np.uint64), char_n))
        top = min(int(np.sqrt(len(counts))), (counts > 1).sum())
        out[row, 0] = counts[:top].sum() / max(1, counts.sum())
        counts = _counts(_grams(w, word_n))
        out[row, 1] = counts[counts > 1].sum() / max(1, counts.sum())
        counts = _counts(_grams(w, distinct_n))
        out[row, 2] = len(counts) / counts.sum() if len(counts) else 1.0
        out[row, 3], out[row, 4] = suffix_loop(p[: _last(p, flags)], flags)  # fmt: skip


@dataclass(frozen=True)
class Repetition(TextScorer):
    """Measure one text column for `coreset.curation.operators.rules.RepetitionFilter`.

    char_repetition: share of the sqrt(types) most frequent repeated n-grams of characters.
    word_repetition: share of repeated n-grams of words. distinct_words: different n-grams of words
    per n-gram. A text shorter than n repeats nothing: 0, 0 and 1. loop_unit, loop_copies:
    characters and copies of the piece that the text ends in (0 and 1: none).

    >>> loops = Repetition()({"text": ["ha" * 40]})
    >>> loops["loop_unit"], loops["loop_copies"], loops["word_repetition"]
    (array([2.]), array([40.]), array([0.]))
    """

    columns = ("char_repetition", "word_repetition", "distinct_words", "loop_unit", "loop_copies")
    status_column = "repetition_status"

    column: str = "text"
    char_n: int = 10
    word_n: int = 10
    distinct_n: int = 2

    def __post_init__(self) -> None:
        if min(self.char_n, self.word_n, self.distinct_n) < 1:
            raise ValueError(
                f"char_n, word_n, distinct_n: expected at least 1, got {self.char_n},"
                f" {self.word_n}, {self.distinct_n}"
            )

    def measure(self, texts: Sequence[str], column: pa.Array) -> Values:
        """Return the measures; to a loop white space at the end does not count."""
        points, begin, _ = characters(column)
        w = split(points, begin)
        measures = np.empty((len(texts), len(self.columns)))
        _measure(
            points,
            begin,
            w.hash,
            w.start,
            tables()[0],
            self.char_n,
            self.word_n,
            self.distinct_n,
            measures,
        )
        return dict(zip(self.columns, measures.T, strict=True))  # fmt: skip
