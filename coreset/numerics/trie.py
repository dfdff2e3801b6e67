"""Which of many strings occur in a text: a trie over bytes, held in one hash table.

Every occurrence of every pattern is found, overlapping ones and those inside others too: what the automaton of Aho & Corasick, 1975, finds by its plain walk. A walk begins
at each character of the text; patterns that all begin with a space stop it at once elsewhere, which is why no failure links are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coreset.numerics.compiled import compiled
from coreset.numerics.words import mix

Bytes = NDArray[np.uint8]
Whole = NDArray[np.int64]
_WRAPPED, _SPACED = b",.;:?!`", b"\t\n\r"
KIND = np.zeros(256, np.uint8)  # 1: a space on both sides; 2: a space instead
KIND[list(_WRAPPED)] = 1
KIND[list(_SPACED)] = 2


class Trie(NamedTuple):
    """key, child (slots,): the edges (node * 256 + byte + 1 -> node), open addressing; pattern (nodes,): which pattern ends at a node, -1 none."""

    key: NDArray[np.uint64]
    child: NDArray[np.int32]
    pattern: NDArray[np.int32]


@compiled
def _slot(key: NDArray[np.uint64], edge: Any) -> int:
    mask = np.uint64(len(key) - 1)
    at = mix(edge) & mask
    while key[at] != 0 and key[at] != edge:
        at = (at + np.uint64(1)) & mask
    return int(at)


@compiled
def _insert(
    data: Bytes, start: Whole, key: NDArray[np.uint64], child: NDArray[np.int32], pattern: NDArray[np.int32]
) -> int:
    """Put all patterns in; return the first one that is there twice, or -1."""
    nodes = np.int32(1)
    for i in range(len(start) - 1):
        node = np.int32(0)
        for at in range(start[i], start[i + 1]):
            edge = np.uint64(node) * np.uint64(256) + np.uint64(data[at]) + np.uint64(1)
            slot = _slot(key, edge)
            if key[slot] == 0:
                key[slot] = edge
                child[slot] = nodes
                nodes += np.int32(1)
            node = child[slot]
        if pattern[node] >= 0:
            return i
        pattern[node] = i
    return -1


def build(patterns: Sequence[str]) -> Trie:
    """Return the trie of distinct strings, none empty. Raises ValueError for an empty one and one that is there twice.

    >>> trie = build([" cat ", " at "])
    >>> find(trie, *packed([" cat  at "]))[0].tolist()
    [0, 1]
    """
    data, start = packed(patterns)
    empty = np.flatnonzero(np.diff(start) == 0)
    if len(empty):
        raise ValueError(f"pattern {int(empty[0])} is empty")
    order = sorted(patterns)
    raw = [p.encode() for p in order]
    nodes = 1 + sum(len(b) - _common(a, b) for a, b in zip([b"", *raw], raw, strict=False))
    slots = 1 << (nodes * 3 // 2).bit_length()
    key, child = np.zeros(slots, np.uint64), np.zeros(slots, np.int32)
    pattern = np.full(nodes, -1, np.int32)
    twice = _insert(data, start, key, child, pattern)
    if twice >= 0:
        raise ValueError(f"pattern {patterns[twice]!r} is there twice")
    return Trie(key, child, pattern)


def _common(a: bytes, b: bytes) -> int:
    n = min(len(a), len(b))
    if a[:n] == b[:n]:
        return n
    low, high = 0, n
    while low < high:
        mid = (low + high + 1) // 2
        low, high = (mid, high) if a[:mid] == b[:mid] else (low, mid - 1)
    return low


def packed(texts: Sequence[str]) -> tuple[Bytes, Whole]:
    """Return the bytes of texts, one after the other, and where each starts (n + 1,)."""
    raw = [t.encode("utf-8", "surrogatepass") for t in texts]
    start = np.zeros(len(raw) + 1, np.int64)
    np.cumsum([len(r) for r in raw], out=start[1:])
    return np.frombuffer(b"".join(raw), np.uint8), start


@compiled
def _spaced(row: Bytes, kind: Bytes, out: Bytes) -> int:
    """Write " row " with spaces around or instead of some bytes; return how many bytes that are."""
    n = 1
    out[0] = 32
    for b in row:
        if kind[b] == 1:
            out[n], out[n + 1], out[n + 2] = 32, b, 32
            n += 3
        else:
            out[n] = 32 if kind[b] == 2 else b
            n += 1
    out[n] = 32
    return n + 1


@compiled
def _find(
    data: Bytes,
    start: Whole,
    kind: Bytes,
    key: NDArray[np.uint64],
    child: NDArray[np.int32],
    pattern: NDArray[np.int32],
) -> tuple[NDArray[np.int32], Whole]:
    rows = len(start) - 1
    longest = 0
    for i in range(rows):
        longest = max(longest, start[i + 1] - start[i])
    buffer = np.empty(3 * longest + 2, np.uint8)
    found, first, count = np.empty(8 * rows + 8, np.int32), np.zeros(rows + 1, np.int64), 0
    for i in range(rows):
        size = _spaced(data[start[i] : start[i + 1]], kind, buffer)
        for at in range(size):
            if buffer[at] & 0xC0 == 0x80:  # inside a character
                continue
            node = np.int32(0)
            for to in range(at, size):
                slot = _slot(key, np.uint64(node) * np.uint64(256) + np.uint64(buffer[to]) + np.uint64(1))
                if key[slot] == 0:
                    break
                node = child[slot]
                new = pattern[node] >= 0
                for other in range(first[i], count):
                    if not new or found[other] == pattern[node]:
                        new = False
                        break
                if new:
                    if count == len(found):
                        more = np.empty(2 * count, np.int32)
                        more[:count] = found
                        found = more
                    found[count] = pattern[node]
                    count += 1
        found[first[i] : count].sort()
        first[i + 1] = count
    return found[:count], first


def find(trie: Trie, data: Bytes, start: Whole, kind: Bytes = KIND) -> tuple[NDArray[np.int32], Whole]:
    """Return which patterns occur in each spaced text, sorted, and where those of each text start (n + 1,).

    A text is spaced by a space before and after it and by `kind` (256,) of its bytes: 0 stays, 1 gets a space on both sides, 2 becomes one.
    """
    found: tuple[NDArray[np.int32], Whole] = _find(data, start, kind, *trie)
    return found
