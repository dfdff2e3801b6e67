"""Which of many strings occur in a text: a trie over bytes, its chains one node after another, its
branches in a hash table.

Every occurrence of every pattern is found, overlapping ones and those inside others too: what the
automaton of Aho & Corasick, 1975, finds by its plain walk. A walk begins at each character of the
text; patterns that all begin with a space stop it at once elsewhere, which is why no failure links
are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coreset.numerics.compiled import compiled
from coreset.numerics.text.tokenize import mix

Bytes = NDArray[np.uint8]
Whole = NDArray[np.int64]
_WRAPPED, _SPACED = b",.;:?!`", b"\t\n\r"
KIND = np.zeros(256, np.uint8)  # 1: a space on both sides; 2: a space instead
KIND[list(_WRAPPED)] = 1
KIND[list(_SPACED)] = 2


_BYTE, _NONE, _MORE, _END = (
    0x1FF,
    0x100,
    0x200,
    0x400,
)  # of a node: its first child's byte; it has none; it has others; a pattern ends here


class Trie(NamedTuple):
    """A trie whose nodes are numbered in the order of the sorted patterns: the first child of a
    node is the next node.

    first (nodes,): the byte that leads to the first child, _NONE where there is none, plus _MORE
    where there are others and _END where a pattern ends; key, child (slots,): the edges to the
    others (node * 256 + byte + 1 -> node), open addressing; pattern (nodes,): which pattern ends at
    a node, -1 none.
    """

    first: NDArray[np.uint16]
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
def _step(
    first: NDArray[np.uint16],
    key: NDArray[np.uint64],
    child: NDArray[np.int32],
    node: int,
    byte: int,
) -> int:
    """Return the child of a node by a byte, or -1."""
    here = first[node]
    if here & np.uint16(_BYTE) == byte:
        return node + 1
    if here & np.uint16(_MORE) == 0:
        return -1
    slot = _slot(key, np.uint64(node) * np.uint64(256) + np.uint64(byte) + np.uint64(1))
    return -1 if key[slot] == 0 else int(child[slot])


@compiled
def _insert(
    data: Bytes,
    start: Whole,
    order: Whole,
    first: NDArray[np.uint16],
    key: NDArray[np.uint64],
    child: NDArray[np.int32],
    pattern: NDArray[np.int32],
) -> int:
    """Put all patterns in, in sorted order; return one that is there twice, or -1."""
    last = 0
    for i in order:
        node = 0
        for at in range(start[i], start[i + 1]):
            to = _step(first, key, child, node, data[at])
            if to < 0:
                to = last + 1
                if node == last:
                    first[node] = first[node] & np.uint16(_END) | np.uint16(data[at])
                else:
                    edge = np.uint64(node) * np.uint64(256) + np.uint64(data[at]) + np.uint64(1)
                    slot = _slot(key, edge)
                    key[slot], child[slot] = edge, to
                    first[node] |= np.uint16(_MORE)
                last = to
            node = to
        if pattern[node] >= 0:
            return int(i)
        pattern[node] = i
        first[node] |= np.uint16(_END)
    return -1


def build(patterns: Sequence[str]) -> Trie:
    """Return the trie of distinct strings, none empty. Raises ValueError for an empty one and one
    that is there twice.

    >>> trie = build([" cat ", " at "])
    >>> find(trie, *packed([" cat  at "]))[0].tolist()
    [0, 1]
    """
    data, start = packed(patterns)
    empty = np.flatnonzero(np.diff(start) == 0)
    if len(empty):
        raise ValueError(f"pattern {int(empty[0])} is empty")
    order = sorted(range(len(patterns)), key=patterns.__getitem__)
    raw = [patterns[i].encode("utf-8", "surrogatepass") for i in order]
    nodes = 1 + sum(len(b) - _common(a, b) for a, b in zip([b"", *raw], raw, strict=False))
    # a pattern has one edge at most that is no first child's
    slots = 1 << (len(patterns) * 3 // 2).bit_length()
    first, pattern = np.full(nodes, _NONE, np.uint16), np.full(nodes, -1, np.int32)
    key, child = np.zeros(slots, np.uint64), np.zeros(slots, np.int32)
    twice = _insert(data, start, np.array(order, np.int64), first, key, child, pattern)
    if twice >= 0:
        raise ValueError(f"pattern {patterns[twice]!r} is there twice")
    return Trie(first, key, child, pattern)


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
    edges: NDArray[np.uint16],
    key: NDArray[np.uint64],
    child: NDArray[np.int32],
    pattern: NDArray[np.int32],
) -> tuple[NDArray[np.int32], Whole]:
    rows = len(start) - 1
    longest = 0
    for i in range(rows):
        longest = max(longest, start[i + 1] - start[i])
    buffer = np.empty(3 * longest + 2, np.uint8)
    hits, first, count = np.empty(8 * rows + 8, np.int32), np.zeros(rows + 1, np.int64), 0
    for i in range(rows):
        size = _spaced(data[start[i] : start[i + 1]], kind, buffer)
        for at in range(size):
            if buffer[at] & 0xC0 == 0x80:  # inside a character
                continue
            node = 0
            for to in range(at, size):
                node = _step(edges, key, child, node, buffer[to])
                if node < 0:
                    break
                if edges[node] & np.uint16(_END) == 0:
                    continue
                new = True
                for other in range(first[i], count):
                    if hits[other] == pattern[node]:
                        new = False
                        break
                if new:
                    if count == len(hits):
                        more = np.empty(2 * count, np.int32)
                        more[:count] = hits
                        hits = more
                    hits[count] = pattern[node]
                    count += 1
        hits[first[i] : count].sort()
        first[i + 1] = count
    return hits[:count], first


def find(
    trie: Trie, data: Bytes, start: Whole, kind: Bytes = KIND
) -> tuple[NDArray[np.int32], Whole]:
    """Return which patterns occur in each spaced text, sorted, and where those of each text start
    (n + 1,).

    A text is spaced by a space before and after it and by `kind` (256,) of its bytes: 0 stays, 1
    gets a space on both sides, 2 becomes one.
    """
    hits: tuple[NDArray[np.int32], Whole] = _find(data, start, kind, *trie)
    return hits
