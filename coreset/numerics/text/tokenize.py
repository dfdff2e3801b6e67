"""Words of many texts at once, as 64-bit hashes and lengths.

    standard    runs of letters, digits and marks are words. Inside stay a full stop between two of
                them ("U.S"), a comma between digits ("1,000"), - / : before a digit ("IL-2",
                "10:30") and a hyphen after one ("3-day"); an apostrophe begins a word of its own
                ("it" "'s"). Every character of a script without spaces is a word; any other
                character is a token, a run of the same one a single token
    folded      what near duplicates are compared by: lower case, no accents, punctuation is a
                space. Numbers are kept as they are written ("1,000" is one word and no "1000"), or
                every number is folded into "0", as FineWeb's MinHash does

The first is close to what spaCy's English tokenizer does, at the speed of a scan.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coreset.core.pool import Array
from coreset.numerics.compiled import compiled
from coreset.numerics.text.characters import (
    ALONE,
    ALPHA,
    DIGIT,
    DROP,
    SPACE,
    WORD,
    characters,
    tables,
    utf8,
)

Flags = NDArray[np.uint8]
Points = NDArray[np.uint32]
Hashes = NDArray[np.uint64]
Whole = NDArray[np.int64]

HAS_ALPHA, HAS_WORD = 1, 2
NUMBERS = ("keep", "fold")  # what folded words make of numbers


class Words(NamedTuple):
    """hash (w,) uint64; begin, length (w,) characters from the start of all texts; kind (w,):
    HAS_ALPHA, HAS_WORD (a symbol has neither); start (n + 1,): first word of each text.
    """

    hash: Hashes
    begin: Whole
    length: Whole
    kind: NDArray[np.uint8]
    start: Whole


@compiled
def mix(h: Any) -> Any:
    """Scramble 64 bits (the finaliser of SplitMix64)."""
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


@compiled
def _standard(
    p: Points,
    begin: Whole,
    flags: Flags,
    h: Hashes,
    at: Whole,
    length: Whole,
    kind: NDArray[np.uint8],
    start: Whole,
) -> int:
    count = 0
    for row in range(len(begin) - 1):
        start[row] = count
        i, end = begin[row], begin[row + 1]
        while i < end:
            f = flags[p[i]]
            if f & SPACE:
                i += 1
                continue
            j = i + 1
            value = np.uint64(p[i]) + np.uint64(0x9E3779B97F4A7C15)
            k = np.uint8(HAS_ALPHA * ((f & ALPHA) > 0)) | np.uint8(HAS_WORD * ((f & WORD) > 0))
            short = False  # "'s" and "'t" are words of their own
            if (p[i] == 39 or p[i] == 0x2019) and i > begin[row] and j < end:
                before, after = flags[p[i - 1]], flags[p[j]]
                short = before & WORD and not before & ALONE and after & WORD and not after & ALONE
                k |= np.uint8(HAS_WORD * short)
            if short or (f & WORD and not f & ALONE):
                while j < end:
                    c = p[j]
                    g = flags[c]
                    inside = g & WORD and not g & ALONE
                    if not inside and 44 <= c <= 58 and j + 1 < end:
                        last, after = flags[p[j - 1]], flags[p[j + 1]]
                        if c == 46:
                            inside = after & WORD and not after & ALONE
                        elif c == 44:
                            inside = last & DIGIT and after & DIGIT
                        elif c == 45 or c == 47 or c == 58:
                            inside = after & DIGIT or (
                                c == 45 and last & DIGIT and after & ALPHA and not after & ALONE
                            )
                    if not inside:
                        break
                    value = (value ^ np.uint64(c)) * np.uint64(0xFF51AFD7ED558CCD)
                    value ^= value >> np.uint64(32)
                    k |= np.uint8(HAS_ALPHA * ((g & ALPHA) > 0))
                    j += 1
            elif not f & WORD:
                while j < end and p[j] == p[i]:
                    j += 1
                value += np.uint64(j - i) << np.uint64(32)
            h[count] = mix(value)
            at[count], length[count], kind[count] = i, j - i, k
            count += 1
            i = j
    start[len(begin) - 1] = count
    return count


def words(texts: Array | pa.Array) -> Words:
    """Return the words of all texts by the standard rule; a missing text has none.

    >>> w = words(["I don't know... 1,000!", None])
    >>> w.start.tolist(), w.length.tolist(), w.kind.tolist()
    ([0, 7, 7], [1, 3, 2, 4, 3, 5, 1], [3, 3, 3, 3, 0, 2, 0])
    """
    points, begin, _ = characters(texts)
    return split(points, begin)


def split(points: Points, begin: Whole) -> Words:
    """Return the words of texts given as code points."""
    size = len(points)
    h, at, length, kind = (
        np.empty(size, np.uint64),
        np.empty(size, np.int64),
        np.empty(size, np.int64),
        np.empty(size, np.uint8),
    )
    start = np.empty(len(begin), np.int64)
    n = _standard(points, begin, tables()[0], h, at, length, kind, start)
    return Words(h[:n].copy(), at[:n].copy(), length[:n].copy(), kind[:n].copy(), start)


@lru_cache(2)
def byte_terms(numbers: str = "keep") -> Hashes:
    """Return what each byte adds to the hash of a folded word, and what numbers are, (257,) uint64.

    Of a byte: 0 a separator, 1 whatever takes a second look, else the term of the letter it folds
    to. The last entry is 1 where numbers are folded and 0 where they are kept.
    Raises ValueError for another word than keep or fold.

    >>> byte_terms("fold").shape, int(byte_terms("fold")[-1]), int(byte_terms("keep")[-1])
    ((257,), 1, 0)
    """
    if numbers not in NUMBERS:
        raise ValueError(f"numbers: expected {' or '.join(NUMBERS)}, got {numbers!r}")
    flags, fold = tables()
    out = np.ones(257, np.uint64)
    for b in range(128):
        if not flags[b] & DIGIT and chr(b) not in ".,":
            out[b] = term(fold[b]) if flags[b] & WORD else 0
    out[256] = int(numbers == "fold")
    return out


@compiled
def term(point: Any) -> Any:
    """Return what a folded character adds to the hash of its word, never 0 or 1."""
    return mix(np.uint64(point) + np.uint64(0x9E3779B97F4A7C15)) | np.uint64(2)


@compiled
def folded_row(
    data: NDArray[np.uint8],
    first: int,
    last: int,
    terms: Hashes,
    flags: Flags,
    fold: Points,
    out: Hashes,
) -> int:
    """Write the hashes of the folded words of the UTF-8 bytes [first, last) to `out` (one longer
    than that at least); return how many there are.

    terms: of `byte_terms`, which say what becomes of numbers too. Without a branch a byte: letters
    are rotated in, and the hash so far is written at every byte, to be written over until a word
    ends. Indices are unsigned, since a signed one is checked.
    """
    folding = terms[256] != 0
    one, i, end = np.uint64(1), np.uint64(first), np.uint64(last)
    # number: where the last digit ended
    count, value, number = np.uint64(0), np.uint64(0), end + np.uint64(1)
    while i < end:
        t = terms[data[i]]
        if t != one:
            i += one
            out[count] = value
            is_end = np.uint64(t == 0)
            count += is_end & np.uint64(value != 0)
            value = ((value << np.uint64(11) | value >> np.uint64(53)) + t) & (is_end - one)
            continue
        b, at = data[i], i
        if b < 0x80:
            point = np.uint32(b)
            i += one
        elif b < 0xE0:
            point = np.uint32(b & 0x1F) << np.uint32(6) | np.uint32(data[i + one] & 0x3F)
            i += np.uint64(2)
        elif b < 0xF0:
            point = (
                np.uint32(b & 0x0F) << np.uint32(12)
                | np.uint32(data[i + one] & 0x3F) << np.uint32(6)
                | np.uint32(data[i + np.uint64(2)] & 0x3F)
            )
            i += np.uint64(3)
        else:
            point = np.uint32(b & 0x07) << np.uint32(18) | np.uint32(
                data[i + one] & 0x3F
            ) << np.uint32(12)
            point = (
                point
                | np.uint32(data[i + np.uint64(2)] & 0x3F) << np.uint32(6)
                | np.uint32(data[i + np.uint64(3)] & 0x3F)
            )
            i += np.uint64(4)
        f = flags[point]
        if f & WORD and not f & ALONE:
            if f & DIGIT:
                if not folding:
                    value = (value << np.uint64(11) | value >> np.uint64(53)) + term(
                        np.uint64(fold[point])
                    )
                elif number != at:  # a run of digits is one "0" of its word
                    value = (value << np.uint64(11) | value >> np.uint64(53)) + term(np.uint64(48))
                number = i
            elif fold[point] != DROP:
                value = (value << np.uint64(11) | value >> np.uint64(53)) + term(
                    np.uint64(fold[point])
                )
            elif number == at:
                number = i
        elif number == at and (b == 44 or b == 46) and i < end and 48 <= data[i] < 58:
            number = i  # "1,000" and "3.14" are one number
            if not folding:
                value = (value << np.uint64(11) | value >> np.uint64(53)) + term(np.uint64(b))
        else:
            if value != 0:
                out[count] = value
                count += one
                value = np.uint64(0)
            if f & ALONE:
                out[count] = term(np.uint64(fold[point]))
                count += one
    if value != 0:
        out[count] = value
        count += one
    for k in range(count):
        out[k] = mix(out[k])
    return int(count)  # fmt: skip


def folded(texts: Array | pa.Array, numbers: str = "keep") -> tuple[Hashes, Whole]:
    """Return the hashes of the folded words of all texts, and where each text starts in them (n +
    1,).

    numbers: keep = as they are written, fold = every number is "0". Raises ValueError for another.

    >>> h, start = folded(["The Café: 1,000", "the cafe 7"])
    >>> (h[:3] == h[3:]).tolist(), start.tolist()
    ([True, True, False], [0, 3, 6])
    >>> h, _ = folded(["The Café: 1,000", "the cafe 7"], numbers="fold")
    >>> bool((h[:3] == h[3:]).all())
    True
    """
    data, start, _ = utf8(texts)
    out, first = np.empty(int(start[-1] - start[0]) + 1, np.uint64), np.empty(len(start), np.int64)
    _folded(data, start, byte_terms(numbers), *tables(), out, first)
    return out[: first[-1]].copy(), first


@compiled
def _folded(
    data: NDArray[np.uint8],
    start: Whole,
    terms: Hashes,
    flags: Flags,
    fold: Points,
    out: Hashes,
    first: Whole,
) -> None:
    at = 0
    for row in range(len(start) - 1):
        first[row] = at
        at += folded_row(data, start[row], start[row + 1], terms, flags, fold, out[at:])
    first[len(start) - 1] = at  # fmt: skip
