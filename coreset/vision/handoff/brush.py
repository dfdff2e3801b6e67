"""Label Studio's run lengths of brush masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_RUN = 16  # bits of a run's length


def encode_brush(mask: NDArray[np.bool_]) -> list[int]:
    """Return a mask (H, W) as Label Studio's run lengths of RGBA pixels, 255 inside and 0 outside.

    >>> decode_brush(encode_brush(np.array([[True, False, False]])), 3, 1).tolist()
    [[True, False, False]]
    """
    flat = np.repeat(np.asarray(mask, bool).ravel(), 4)
    cuts = np.flatnonzero(np.diff(flat)) + 1
    starts = np.concatenate([[0], cuts])
    bits = [f"{len(flat):032b}", f"{7:05b}", *(f"{s - 1:04b}" for s in (3, 4, 8, _RUN))]
    for start, length in zip(starts, np.diff(np.concatenate([starts, [len(flat)]])), strict=True):
        value, left = (255 if flat[start] else 0), int(length)
        while left:
            part = min(left, 2**_RUN)
            bits.append(f"1{3:02b}{part - 1:0{_RUN}b}{value:08b}")
            left -= part
    digits = np.frombuffer("".join(bits).encode(), np.uint8) - ord("0")
    return [int(v) for v in np.packbits(digits)]


def decode_brush(rle: list[int], width: int, height: int) -> NDArray[np.bool_]:
    """Return the mask (H, W) of Label Studio's run lengths: RGBA pixels packed bit by bit, of which
    the last channel counts.

    Format: a 32-bit count of values, 5 bits of word size, four 4-bit run sizes, then runs of equal
    values or of single ones. Raises ValueError for another number of pixels, or runs that end
    early.
    """
    bits = np.unpackbits(np.asarray(rle, np.uint8))
    powers = 2 ** np.arange(31, -1, -1, dtype=np.int64)
    at = 0

    def read(size: int) -> int:
        nonlocal at
        part = bits[at : at + size]
        if len(part) < size:
            raise ValueError("a mask whose run lengths end early")
        at += size
        return int(part @ powers[32 - size :])

    count = read(32)
    if count != 4 * width * height:
        raise ValueError(f"a mask of {count} values, expected {4 * width * height}")
    word = read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    out = np.zeros(count, np.uint8)
    i = 0
    while i < count:
        same = read(1)
        j = i + 1 + read(sizes[read(2)])
        if same:
            out[i:j] = read(word)
        else:
            for k in range(i, j):
                out[k : k + 1] = read(word)
        i = j
    return out.reshape(height, width, 4)[..., 3] > 0
