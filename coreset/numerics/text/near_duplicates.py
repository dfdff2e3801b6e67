"""Groups of near duplicates: candidates that share a band, verified by the true Jaccard similarity
of their n-grams, joined into connected components.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from coreset.core.pool import Array
from coreset.core.ranges import check_range
from coreset.numerics.compiled import compiled
from coreset.numerics.text.characters import tables, utf8, whole_characters
from coreset.numerics.text.minhash import Bytes, band_keys, roll
from coreset.numerics.text.tokenize import Flags, Hashes, Points, Whole, byte_terms, folded_row


@compiled
def root(parent: Whole, i: int) -> int:
    """Return the lowest row known to be in the component of row i, halving the path."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@compiled
def join(parent: Whole, i: int, j: int) -> None:
    """Make one component of the two; the lowest row is its root."""
    a, b = root(parent, i), root(parent, j)
    if a < b:
        parent[b] = a
    else:
        parent[a] = b


@compiled
def roots(parent: Whole) -> Whole:
    """Return the lowest row of the component of every row (N,)."""
    out = np.empty(len(parent), np.int64)
    for i in range(len(parent)):
        out[i] = root(parent, i)
    return out


@compiled
def _index(keys: Hashes, table: Whole, chain: Whole) -> None:
    """Link every row to the row before it with the same key (-1: none) through an open hash table
    of a power of two.
    """
    mask = np.uint64(len(table) - 1)
    table[:] = -1
    for i in range(len(keys)):
        chain[i] = -1
        if keys[i] == 0:
            continue
        at = keys[i] & mask
        while table[at] >= 0 and keys[table[at]] != keys[i]:
            at = (at + np.uint64(1)) & mask
        chain[i] = table[at]
        table[at] = i


@compiled
def _sets(
    data: Bytes,
    start: Whole,
    wanted: Whole,
    n: int,
    terms: Hashes,
    flags: Flags,
    fold: Points,
    out: Hashes,
    begin: Whole,
) -> None:
    """Write the sorted distinct n-grams of the wanted rows, one after the other."""
    at, longest = 0, 0
    for row in wanted:
        longest = max(longest, start[row + 1] - start[row])
    h, shingles = np.empty(longest + 1, np.uint64), np.empty(longest + 1, np.uint64)
    for k in range(len(wanted)):
        row = wanted[k]
        begin[k] = at
        count = roll(
            h, folded_row(data, start[row], start[row + 1], terms, flags, fold, h), n, shingles
        )
        ordered = np.sort(shingles[:count])
        for i in range(count):
            if i == 0 or ordered[i] != ordered[i - 1]:
                out[at] = ordered[i]
                at += 1
    begin[len(wanted)] = at  # fmt: skip


@compiled
def _jaccard(a: Hashes, b: Hashes) -> float:
    """Return |A and B| / |A or B| of two sorted sets; NaN for two empty ones."""
    i = j = both = 0
    while i < len(a) and j < len(b):
        x, y = a[i], b[j]
        both += x == y
        i += x <= y
        j += y <= x
    union = len(a) + len(b) - both
    return both / union if union else np.nan


@compiled
def _verify(
    keys: Hashes,
    chains: Whole,
    position: Whole,
    sets: Hashes,
    begin: Whole,
    threshold: float,
    parent: Whole,
) -> None:
    for band in range(len(chains)):
        for j in range(len(keys)):
            i = chains[band, j]
            while i >= 0:
                if root(parent, i) != root(parent, j):
                    seen = False
                    for earlier in range(band):
                        seen |= keys[i, earlier] == keys[j, earlier]
                    if not seen:
                        a, b = position[i], position[j]
                        if (
                            _jaccard(sets[begin[a] : begin[a + 1]], sets[begin[b] : begin[b + 1]])
                            >= threshold
                        ):
                            join(parent, i, j)
                i = chains[band, i]  # fmt: skip


def jaccard(texts: Array | pa.Array, pairs: Whole, n: int = 5, numbers: str = "keep") -> np.ndarray:
    """Return the Jaccard similarity of the n-grams of folded words for each pair of rows (P, 2),
    float64; NaN where neither text has any.

    numbers: keep = as they are written, fold = every number is "0", as FineWeb has them.

    >>> jaccard(["a b c d", "b c d e"], np.array([[0, 1]]), n=2).round(3).tolist()
    [0.5]
    """
    data, start, _ = utf8(texts)
    rows, place = np.unique(pairs, return_inverse=True)
    sets, begin = _shingle_sets(data, start, rows, n, numbers)
    place = place.reshape(-1, 2)
    part = [sets[begin[k] : begin[k + 1]] for k in range(len(rows))]
    return np.array([_jaccard(part[a], part[b]) for a, b in place], np.float64)


def _shingle_sets(
    data: Bytes, start: Whole, rows: Whole, n: int, numbers: str
) -> tuple[Hashes, Whole]:
    rows = rows.astype(np.int64)
    out, begin = (
        np.empty(int((start[rows + 1] - start[rows]).sum()) + 1, np.uint64),
        np.zeros(len(rows) + 1, np.int64),
    )
    _sets(data, start, rows, n, byte_terms(numbers), *tables(), out, begin)
    return out, begin  # fmt: skip


def near_duplicates(
    texts: Array | pa.Array,
    n: int = 5,
    bands: int = 14,
    rows: int = 8,
    threshold: float = 0.7,
    seed: int = 1,
    numbers: str = "keep",
) -> Whole:
    """Return for every text the lowest row of its group of near duplicates (N,); its own row where
    it has none.

    Two texts are linked when they share one of `bands` bands of `rows` positions and the Jaccard
    similarity of their sets of n-grams of folded words is at least `threshold`; a group is a
    connected component. Texts of fewer than n words are in no group. The groups do not depend on
    the order of the texts. numbers: keep = as they are written; fold = every number is "0", so that
    texts which differ in their numbers alone are one, as FineWeb has them. Raises ValueError for a
    threshold outside (0, 1].

    >>> near_duplicates(
    ...     ["one two three four five six", "x", "One two, three four five six!", "x"]
    ... ).tolist()
    [0, 1, 0, 3]
    """
    check_range("a Jaccard similarity in (0, 1]", threshold=threshold)
    if not isinstance(texts, pa.Array):
        texts = pa.array(whole_characters(texts), pa.large_string())
    keys, whole = band_keys(texts, n, bands, rows, seed, numbers)
    size = len(keys)
    parent = np.arange(size)
    table = np.empty(1 << max(4, int(2 * size).bit_length()), np.int64)
    same = np.empty(size, np.int64)
    _index(whole, table, same)
    later = np.flatnonzero(same >= 0)
    parent[later] = same[later]  # equal n-grams in equal order: one text stands for all
    keys[later] = 0
    chains = np.empty((bands, size), np.int64)
    for band in range(bands):
        _index(np.ascontiguousarray(keys[:, band]), table, chains[band])
    touched = np.asarray((chains >= 0).any(axis=0), bool)
    touched[chains[chains >= 0]] = True
    wanted = np.flatnonzero(touched)
    data, start, _ = utf8(texts)
    sets, begin = _shingle_sets(data, start, wanted, n, numbers)
    position = np.zeros(size, np.int64)
    position[wanted] = np.arange(len(wanted))
    _verify(keys, chains, position, sets, begin, threshold, parent)
    return roots(parent)
