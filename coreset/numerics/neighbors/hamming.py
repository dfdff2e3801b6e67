"""Pairs of 64-bit hashes a few bits apart, each verified, and joined into connected components: in
less than quadratic time, however many share a key.

Hashes of a bucket that is large are cut again into radius + 1 pieces of the bits in which they
differ: two at most `radius` bits apart agree in one of them (Manku et al., "Detecting
near-duplicates for web crawling", WWW 2007). Where that does not help, since nearly all agree in
every piece, each is compared with those of a like color only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coreset.numerics.compiled import compiled
from coreset.numerics.text.near_duplicates import join, roots

Bits = NDArray[np.uint64]
Colors = NDArray[np.uint8]
Whole = NDArray[np.int64]
_SMALL = 512  # hashes of a bucket that are compared each with each


@compiled
def bits_apart(a: np.uint64, b: np.uint64) -> int:
    """Return in how many of 64 bits two hashes differ.

    >>> bits_apart(np.uint64(5), np.uint64(3))
    2
    """
    x = a ^ b
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((x * np.uint64(0x0101010101010101)) >> np.uint64(56))  # type: ignore[return-value]


@compiled
def _alike(a: Colors, b: Colors, tolerance: int) -> bool:
    """Return whether no number of two differs by more than the tolerance."""
    for k in range(len(a)):
        x, y = np.int64(a[k]), np.int64(b[k])
        if x - y > tolerance or y - x > tolerance:
            return False
    return True


@compiled
def _each(
    bits: Bits, colors: Colors, order: Whole, first: Whole, last: Whole, radius: int,
    tolerance: int, parent: Whole,
) -> None:  # fmt: skip
    """Join all verified pairs inside the buckets order[first[b]:last[b]]."""
    for b in range(len(first)):
        for s in range(first[b], last[b]):
            i = order[s]
            for t in range(s + 1, last[b]):
                j = order[t]
                if bits_apart(bits[i], bits[j]) <= radius and _alike(
                    colors[i], colors[j], tolerance
                ):
                    join(parent, i, j)


@compiled
def _sweep(
    bits: Bits,
    colors: Colors,
    order: Whole,
    widest: NDArray[np.int16],
    radius: int,
    tolerance: int,
    parent: Whole,
) -> None:
    """Join all verified pairs of rows in the order of the first of their widest colors (m, 3), in
    which no pair differs by more than the tolerance.
    """
    one, two, three = widest[:, 0].copy(), widest[:, 1].copy(), widest[:, 2].copy()
    for s in range(len(order)):
        i = order[s]
        for t in range(s + 1, len(order)):
            if one[t] - one[s] > tolerance:
                break
            if abs(two[t] - two[s]) > tolerance or abs(three[t] - three[s]) > tolerance:
                continue
            j = order[t]
            # joined already, for most
            if parent[i] == parent[j] or bits_apart(bits[i], bits[j]) > radius:
                continue
            if _alike(colors[i], colors[j], tolerance):
                join(parent, i, j)


def linked(bits: Bits, colors: Colors, start: Whole, radius: int, tolerance: int = 0) -> Whole:
    """Return for every row the first row of its component (n,): rows of one bucket at most `radius`
    bits apart whose colors differ nowhere by more than `tolerance`.

    bits (n,) uint64; colors (n, C) uint8, C = 0 for hashes alone; start (B + 1,): the buckets begin
    there, each a run of rows. Rows of different buckets are not compared.

    >>> linked(
    ...     np.array([0, 1, 240, 3], np.uint64), np.zeros((4, 0), np.uint8), np.array([0, 4]), 1
    ... ).tolist()
    [0, 0, 2, 0]
    """
    bits, colors = np.ascontiguousarray(bits, np.uint64), np.ascontiguousarray(colors, np.uint8)
    parent, every = np.arange(len(bits)), np.arange(len(bits))
    first, last = start[:-1], start[1:]
    small = (last - first > 1) & (last - first <= _SMALL)
    _each(bits, colors, every, first[small], last[small], radius, tolerance, parent)
    large = last - first > _SMALL
    for a, b in zip(first[large].tolist(), last[large].tolist(), strict=True):
        _bucket(
            bits, colors, _distinct(bits, colors, every[a:b], parent), radius, tolerance, parent
        )
    return np.asarray(roots(parent))


def _distinct(bits: Bits, colors: Colors, rows: Whole, parent: Whole) -> Whole:
    """Return the rows without those of the same hash and colors, which are joined to the one that
    stands for them.
    """
    both = np.concatenate([bits[rows][:, None].view(np.uint8), colors[rows]], axis=1)
    _, where, which = np.unique(
        np.ascontiguousarray(both).view(f"V{both.shape[1]}").ravel(),
        return_index=True,
        return_inverse=True,
    )
    for i, j in zip(rows.tolist(), rows[where][which.reshape(-1)].tolist(), strict=True):
        if i != j:
            join(parent, i, j)
    return np.sort(rows[where])


def _bucket(
    bits: Bits, colors: Colors, rows: Whole, radius: int, tolerance: int, parent: Whole
) -> None:
    """Join the verified pairs of one large bucket."""
    varying = np.bitwise_or.reduce(bits[rows] ^ bits[rows[0]])
    places = np.flatnonzero(
        np.unpackbits(np.frombuffer(varying.tobytes(), np.uint8), bitorder="little")
    )
    if len(places) > radius:
        parts = []
        for piece in np.array_split(places, radius + 1):
            own = bits[rows] & np.bitwise_or.reduce(np.uint64(1) << piece.astype(np.uint64))
            order = np.argsort(own, kind="stable")
            cut = np.flatnonzero(np.diff(own[order])) + 1
            parts.append(
                (rows[order], np.concatenate([[0], cut]), np.concatenate([cut, [len(rows)]]))
            )
        compared = sum(float(np.square(b - a, dtype=np.float64).sum()) for _, a, b in parts)
        if compared < 0.5 * len(rows) ** 2:
            for order, first, last in parts:
                small = (last - first > 1) & (last - first <= _SMALL)
                _each(bits, colors, order, first[small], last[small], radius, tolerance, parent)
                for a, b in zip(
                    first[last - first > _SMALL], last[last - first > _SMALL], strict=True
                ):
                    _bucket(bits, colors, np.sort(order[a:b]), radius, tolerance, parent)
            return
    widest = np.zeros((len(rows), 3), np.int16)
    own = colors[rows]
    most = np.argsort(-own.std(axis=0), kind="stable")[:3]
    widest[:, : len(most)] = own[:, most]
    order = np.argsort(widest[:, 0], kind="stable")
    _sweep(bits, colors, rows[order], widest[order], radius, tolerance, parent)
