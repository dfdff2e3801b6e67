"""MinHash signatures of word n-grams straight from UTF-8 bytes, and the bands of locality-sensitive
hashing.

Broder, "On the resemblance and containment of documents", 1997. Instead of one hash function per
position ("256 permutations") every shingle is hashed into one position per round until all
positions are filled: Dahlgaard, Knudsen & Thorup, "Fast Similarity Sketching", FOCS 2017
(arXiv:1704.04370). In round i a shingle takes a hashed position with a hashed value, from round t
on position i - t; a position keeps the least (round, value). So each position is the minimum, over
the shingles of the text, of a quantity that depends on the shingle alone: two texts agree there
with probability exactly their Jaccard similarity, as with permutations, and positions of one round
are drawn without replacement, so that the share that agrees varies no more than with independent
permutations. The cost is t log t + n hashes a text instead of t n.

Two texts with Jaccard similarity s share one of b bands of r positions with probability about 1 -
(1 - s^r)^b: `coreset.numerics.text.lsh` has the curve, its threshold and the bands for a threshold.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coreset.core.pool import Array
from coreset.numerics.compiled import compiled
from coreset.numerics.text.characters import tables, utf8
from coreset.numerics.text.tokenize import Flags, Hashes, Points, Whole, byte_terms, folded_row, mix

Bytes = NDArray[np.uint8]
EMPTY = np.uint64(0xFFFFFFFFFFFFFFFF)
_BASE = np.uint64(0x9FB21C651E98DF25)


@compiled
def roll(h: Hashes, count: int, n: int, out: Hashes) -> int:
    """Write the hash of every n words in a row of h[:count] to `out`; return how many there are:
    count - n + 1, or none.
    """
    if count < n:
        return 0
    top = np.uint64(1)
    for _ in range(n):
        top *= _BASE
    value = np.uint64(0)
    for i in range(count):
        value = value * _BASE + h[i]
        if i >= n:
            value -= h[i - n] * top
        if i >= n - 1:
            out[i - n + 1] = mix(value)
    return count - n + 1


@compiled
def _fill(
    shingles: Hashes, count: int, seed: np.uint64, place: Hashes, entry: Hashes, out: Hashes
) -> None:
    """Fill the signature `out` (t,) of shingles[:count]. place, entry: room for as many numbers.

    Two loops a round: one that vector registers take, one without a branch. Indices are unsigned,
    since a signed one is checked.
    """
    size, one, end = np.uint64(len(out)), np.uint64(1), np.uint64(count)
    out[:] = EMPTY
    empty, turn = size, np.uint64(0)
    while turn < size + size:
        salt = mix(seed + (turn + one) * np.uint64(0x9E3779B97F4A7C15))
        for i in range(count):
            value = (shingles[i] ^ salt) * np.uint64(0xFF51AFD7ED558CCD)
            value = (value ^ (value >> np.uint64(32))) * np.uint64(0xC4CEB9FE1A85EC53)
            place[i] = ((value >> np.uint64(32)) * size) >> np.uint64(32)
            entry[i] = turn << np.uint64(32) | (
                (value ^ (value >> np.uint64(32))) & np.uint64(0xFFFFFFFF)
            )
        if turn >= size:
            place[:count] = turn - size
        k = np.uint64(0)
        while k < end:
            at = place[k]
            before = out[at]
            empty -= np.uint64(before == EMPTY)
            out[at] = min(entry[k], before)
            k += one
        if empty == 0:
            break
        turn += one


@compiled
def _signatures(
    data: Bytes,
    start: Whole,
    n: int,
    seed: np.uint64,
    terms: Hashes,
    flags: Flags,
    fold: Points,
    out: Hashes,
    counts: Whole,
) -> None:
    longest = 0
    for row in range(len(start) - 1):
        longest = max(longest, start[row + 1] - start[row])
    h, shingles = np.empty(longest + 1, np.uint64), np.empty(longest + 1, np.uint64)
    place, entry = np.empty(longest + 1, np.uint64), np.empty(longest + 1, np.uint64)
    for row in range(len(start) - 1):
        count = roll(
            h, folded_row(data, start[row], start[row + 1], terms, flags, fold, h), n, shingles
        )
        counts[row] = count
        _fill(shingles, count, seed, place, entry, out[row])  # fmt: skip


@compiled
def _bands(
    data: Bytes,
    start: Whole,
    n: int,
    bands: int,
    rows: int,
    seed: np.uint64,
    terms: Hashes,
    flags: Flags,
    fold: Points,
    keys: Hashes,
    whole: Hashes,
) -> None:
    longest = 0
    for row in range(len(start) - 1):
        longest = max(longest, start[row + 1] - start[row])
    h, shingles = np.empty(longest + 1, np.uint64), np.empty(longest + 1, np.uint64)
    place, entry = np.empty(longest + 1, np.uint64), np.empty(longest + 1, np.uint64)
    signature = np.empty(bands * rows, np.uint64)
    for row in range(len(start) - 1):
        count = roll(
            h, folded_row(data, start[row], start[row + 1], terms, flags, fold, h), n, shingles
        )
        keys[row] = 0
        whole[row] = 0
        if count == 0:
            continue
        _fill(shingles, count, seed, place, entry, signature)
        total = np.uint64(0)
        for i in range(count):
            total += shingles[i] * np.uint64(2 * i + 1)
        whole[row] = max(mix(total), np.uint64(1))
        for b in range(bands):
            key = np.uint64(b + 1) * np.uint64(0x9E3779B97F4A7C15)
            for i in range(b * rows, (b + 1) * rows):
                key = (key ^ signature[np.uint64(i)]) * np.uint64(0xFF51AFD7ED558CCD)
                key ^= key >> np.uint64(32)
            keys[row, b] = max(mix(key), np.uint64(1))  # fmt: skip


def signatures(
    texts: Array | pa.Array, n: int = 5, size: int = 128, seed: int = 1, numbers: str = "keep"
) -> tuple[Hashes, Whole]:
    """Return the signature (N, size) uint64 of every text over its n-grams of folded words (see
    `words`), and how many n-grams it has (N,), repeats counted.

    The share of positions in which two signatures agree estimates the Jaccard similarity of the two
    sets of n-grams, without bias. A text of fewer than n words has no n-grams; its signature is
    filled with 2^64 - 1. numbers: see `words.folded`.

    >>> s, count = signatures(
    ...     ["the cat sat on the mat today", "The CAT sat, on the mat (today)!"], n=3, size=64
    ... )
    >>> float((s[0] == s[1]).mean()), count.tolist()
    (1.0, [5, 5])
    """
    data, start, _ = utf8(texts)
    out, counts = np.empty((len(start) - 1, size), np.uint64), np.zeros(len(start) - 1, np.int64)
    _signatures(data, start, n, np.uint64(seed), byte_terms(numbers), *tables(), out, counts)
    return out, counts


class Bands(NamedTuple):
    """keys (N, bands) uint64, 0 where a text has no n-grams; whole (N,) uint64: a hash of the
    text's n-grams in order, 0 for none.
    """

    keys: Hashes
    whole: Hashes


def band_keys(
    texts: Array | pa.Array,
    n: int = 5,
    bands: int = 14,
    rows: int = 8,
    seed: int = 1,
    numbers: str = "keep",
) -> Bands:
    """Return one key per band of every text's signature of bands x rows positions: texts that share
    a key are candidates.

    numbers: see `words.folded`. Raises ValueError when n, bands or rows is below 1, or a signature
    would be longer than 2^14.

    >>> keys, _ = band_keys(["a b c d e f", "A b; c d e f", "a b"])
    >>> bool((keys[0] == keys[1]).all()), keys[2].any()
    (True, np.False_)
    """
    if min(n, bands, rows) < 1 or bands * rows > 2**14:
        raise ValueError(
            f"n, bands, rows: expected at least 1 and bands x rows at most {2**14}, got {n},"
            f" {bands}, {rows}"
        )
    data, start, _ = utf8(texts)
    keys, whole = np.empty((len(start) - 1, bands), np.uint64), np.empty(len(start) - 1, np.uint64)
    _bands(
        data, start, n, bands, rows, np.uint64(seed), byte_terms(numbers), *tables(), keys, whole
    )
    return Bands(keys, whole)  # fmt: skip
