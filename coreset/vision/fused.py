"""Pixel scores on a CPU in one pass over the logits: a strip of pixels at a time stays in the
first-level cache, and no map of probabilities is made.

The formulas of `pixels`, rearranged so that the logits are enough: with m = max z, e = exp(z - m),
S = sum e and T = sum e (z - m) over the classes, entropy = ln S - T / S, p1 = 1 / S, p2 = exp(z2 -
m) / S. In float32, with an exponential of our own that the compiler can vectorize (relative error
about 1e-7).
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset.numerics.compiled import compiled

KINDS = {"entropy": 0, "margin": 1, "least_confidence": 2}
_STRIP = 256  # pixels


def fits(maps: Tensor) -> bool:
    """Return whether these logits are scored here: on a CPU, in float32 or less."""
    return maps.device.type == "cpu" and maps.dtype in (
        torch.float32,
        torch.bfloat16,
        torch.float16,
    )


def score(maps: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """Return the score (n, H, W) float32 and the predicted class (n, H, W) int32 of logits (n, C,
    H, W); NaN where a logit is NaN or infinite.

    >>> s, c = score(torch.tensor([0.0, 0.0, -9.0]).reshape(1, 3, 1, 1), "margin")
    >>> round(s.item(), 6), c.item()
    (1.0, 0)
    """
    if kind == "margin" and maps.shape[1] < 2:
        raise ValueError(
            f"a margin needs at least two classes, got maps of shape {tuple(maps.shape)}"
        )
    n, classes, height, width = maps.shape
    last = maps.is_contiguous(memory_format=torch.channels_last) and not maps.is_contiguous()
    z = (maps.permute(0, 2, 3, 1) if last else maps.contiguous()).float().numpy()
    out, best = np.empty((n, height * width), np.float32), np.empty((n, height * width), np.int32)
    flat = z.reshape(n, height * width, classes) if last else z.reshape(n, classes, height * width)

    def strip(job: tuple[int, int, int]) -> None:
        i, start, stop = job
        _score(flat[i], last, KINDS[kind], start, stop, out[i], best[i])

    each(strip, n, height * width)
    return torch.from_numpy(out).view(n, height, width), torch.from_numpy(best).view(
        n, height, width
    )


def each(work: Any, images: int, pixels: int) -> None:
    """Call `work` for parts of all images, with as many threads as torch uses."""
    threads = torch.get_num_threads()
    step = max(_STRIP, -(-pixels // max(1, -(-threads // images)) // _STRIP) * _STRIP)
    jobs = [
        (i, start, min(start + step, pixels))
        for i in range(images)
        for start in range(0, pixels, step)
    ]
    if threads == 1 or len(jobs) == 1:
        for job in jobs:
            work(job)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, jobs))


@compiled
def _score(
    z: NDArray[np.float32],
    last: bool,
    kind: int,
    start: int,
    stop: int,
    out: NDArray[np.float32],
    best: NDArray[np.int32],
) -> None:
    classes = z.shape[1] if last else z.shape[0]
    x = np.empty((classes, _STRIP), np.float32)
    top, second, check = (
        np.empty(_STRIP, np.float32),
        np.empty(_STRIP, np.float32),
        np.empty(_STRIP, np.float32),
    )
    total, moment = np.empty(_STRIP, np.float32), np.empty(_STRIP, np.float32)
    label = np.empty(_STRIP, np.int32)
    power = np.empty(_STRIP, np.int32)
    value = power.view(np.float32)
    for at in range(start, stop, _STRIP):
        k = min(_STRIP, stop - at)
        if last:
            whole = k // 16 * 16
            for part in range(0, whole, 16):  # whole cache lines of x
                for c in range(classes):
                    for j in range(16):
                        x[c, part + j] = z[at + part + j, c]
            for j in range(whole, k):
                for c in range(classes):
                    x[c, j] = z[at + j, c]
        else:
            for c in range(classes):
                for j in range(k):
                    x[c, j] = z[c, at + j]
        for j in range(k):
            top[j], second[j], label[j], check[j] = x[0, j], -np.inf, 0, x[0, j] * np.float32(0)
        for c in range(1, classes):
            for j in range(k):
                v = x[c, j]
                higher = v > top[j]
                label[j] = c if higher else label[j]
                top[j] = v if higher else top[j]
                check[j] += v * np.float32(0)
        for j in range(k):
            total[j], moment[j] = 0, 0
        if kind == 1:
            for c in range(classes):
                for j in range(k):
                    v = x[c, j] if c != label[j] else np.float32(-np.inf)
                    second[j] = v if v > second[j] else second[j]
            for j in range(k):
                second[j] -= top[j]
        for c in range(classes):
            for j in range(k):
                d = x[c, j] - top[j]
                d = d if d > np.float32(-87) else np.float32(-87)
                n = np.int32(d * np.float32(1.4426950408889634) - np.float32(0.5))
                r = (
                    d
                    - np.float32(n) * np.float32(0.693359375)
                    + np.float32(n) * np.float32(2.12194440e-4)
                )
                p = np.float32(8.3124777803e-3) * r + np.float32(4.1890550240e-2)
                p = p * r + np.float32(1.6667116313e-1)
                p = p * r + np.float32(4.9999228823e-1)
                value[j] = p * r * r + r + np.float32(1)
                power[j] += n << 23
                x[c, j] = d
            for j in range(k):
                total[j] += value[j]
                moment[j] += value[j] * x[c, j]
        for j in range(k):
            best[at + j] = label[j]
            if check[j] != 0:
                out[at + j] = np.nan
            elif kind == 0:
                out[at + j] = max(
                    np.float32(math.log(total[j])) - moment[j] / total[j], np.float32(0)
                )
            elif kind == 1:
                out[at + j] = (
                    np.float32(1) - (np.float32(1) - np.float32(math.exp(second[j]))) / total[j]
                )
            else:
                out[at + j] = np.float32(1) - np.float32(1) / total[j]


@compiled
def _grouped(
    scores: NDArray[Any],
    valid: NDArray[np.bool_],
    group: NDArray[Any],
    sums: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> None:
    for i in range(scores.shape[0]):
        for j in range(scores.shape[1]):
            g = group[i, j]
            if valid[i, j] and g >= 0:
                sums[i, g] += np.int64(round(np.float64(scores[i, j]) * 4294967296.0))
                counts[i, g] += 1


def grouped(scores: Tensor, valid: Tensor, group: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Return the sums (n, G) in multiples of 2^-32 and the number of pixels (n, G) in each group,
    both int64: what `pixels.grouped` sums.
    """
    sums, counts = (
        np.zeros((len(scores), groups), np.int64),
        np.zeros((len(scores), groups), np.int64),
    )
    _grouped(scores.numpy(), valid.numpy(), group.numpy(), sums, counts)
    return torch.from_numpy(sums), torch.from_numpy(counts)


def quantile(scores: Tensor, valid: Tensor, q: float) -> Tensor:
    """Return the q-quantile of each row's valid scores (n,), as `pixels.quantile`,
    in linear time.
    """
    out = np.full(len(scores), np.nan)
    for i, (row, use) in enumerate(zip(scores.numpy(), valid.numpy(), strict=True)):
        known = row if use.all() else row[use]
        if len(known):
            at = q * (len(known) - 1)
            low, high = math.floor(at), math.ceil(at)
            parted = np.partition(known, [low, high])
            out[i] = float(parted[low]) + (float(parted[high]) - float(parted[low])) * (at - low)
    return torch.from_numpy(out)


@compiled
def _edges(
    label: NDArray[np.int32], valid: NDArray[np.bool_], width: int, out: NDArray[np.bool_]
) -> None:
    """Least and greatest class of the neighbors, along each row and then across the rows: plain
    loops over whole rows, which the compiler vectorizes.
    """
    rows, columns = label.shape
    none, most = np.int32(-1), np.int32(2**31 - 1)
    low, high = np.empty((rows, columns), np.int32), np.empty((rows, columns), np.int32)
    least, greatest = (
        np.empty(columns + 2 * width, np.int32),
        np.empty(columns + 2 * width, np.int32),
    )
    least[:], greatest[:] = most, none
    for y in range(rows):
        for x in range(columns):
            least[width + x] = label[y, x] if valid[y, x] else most
            greatest[width + x] = label[y, x] if valid[y, x] else none
        a, b = low[y], high[y]
        a[:], b[:] = most, none
        for k in range(2 * width + 1):
            for x in range(columns):
                a[x] = min(a[x], least[x + k])
                b[x] = max(b[x], greatest[x + k])
    a, b = least[:columns], greatest[:columns]
    for y in range(rows):
        a[:], b[:] = low[y], high[y]
        for k in range(max(0, y - width), min(rows, y + width + 1)):
            for x in range(columns):
                a[x] = min(a[x], low[k, x])
                b[x] = max(b[x], high[k, x])
        for x in range(columns):
            out[y, x] = valid[y, x] and a[x] != b[x]


def boundary(predicted: Tensor, valid: Tensor, width: int) -> Tensor:
    """Return the same as `pixels.boundary`."""
    out = np.empty(valid.shape, np.bool_)
    for label, use, edge in zip(predicted.numpy(), valid.numpy(), out, strict=True):
        _edges(label.astype(np.int32, copy=False), use, width, edge)
    return torch.from_numpy(out)
