"""Nearest neighbors and neighbors within a radius: exact, blocked, no N x N.

Brute force on matrix products with the comparisons that rounding leaves open decided in float64
(see `distances`), so the answer is that of a float64 loop on any machine and any number of threads.
It needs no index library: at equal work it takes about as long as a flat faiss index, whose float32
order is not reproducible near ties.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset.numerics.compiled import compiled
from coreset.numerics.neighbors.distances import (
    Float,
    Frame,
    error_unit,
    exact_rows,
    float32_products,
    square_distance,
)

_CHUNK = 64  # products looked at together
_BLOCK = 2**22  # products held at a time: 16 MB


@compiled
def _nearest(
    product: Float,
    lq: Float,
    lx: Float,
    error: float,
    q: Float,
    x: Float,
    group_q: NDArray[np.int64],
    group_x: NDArray[np.int64],
    distance: Float,
    index: NDArray[np.int64],
) -> None:
    """Fill the k nearest of each row of a block, other groups only. product: <q, x>; lq, lx:
    lengths; distance: infinite at first.
    """
    k, n = distance.shape[1], len(lx)
    score = np.full((n + _CHUNK - 1) // _CHUNK * _CHUNK, np.float32(-np.inf))  # <q, x> - |x|^2 / 2
    half = np.empty(n, np.float32)
    longest = 0.0
    for j in range(n):
        half[j] = lx[j] * lx[j] / 2
        longest = max(longest, lx[j])
    best = np.empty(k, np.float32)
    for i in range(product.shape[0]):
        for j in range(n):
            score[j] = product[i, j] - half[j]
        bound = lq[i] + longest
        slack = error * bound * bound + 4e-6 * bound * bound
        best[:] = -np.inf
        # first the k-th largest score, then the distances of all that may be as near as its row
        for second in range(2):
            cut = np.float32(best[k - 1] - slack) if second else np.float32(-np.inf)
            for start in range(0, n, _CHUNK):
                part = score[start : start + _CHUNK]
                near = np.int32(0)  # counted in vector registers, which a maximum would not be
                for j in range(_CHUNK):
                    near += np.int32(part[j] >= cut)
                if near == 0:
                    continue
                for j in range(start, min(start + _CHUNK, n)):
                    if score[j] < cut or group_q[i] == group_x[j]:
                        continue
                    at = k - 1
                    if not second:
                        while at > 0 and best[at - 1] < score[j]:
                            best[at] = best[at - 1]
                            at -= 1
                        best[at] = score[j]
                        cut = best[k - 1]
                        continue
                    d = square_distance(q[i], x[j])
                    if d >= distance[i, k - 1]:  # a tie goes to the earlier row
                        continue
                    while at > 0 and distance[i, at - 1] > d:
                        distance[i, at] = distance[i, at - 1]
                        index[i, at] = index[i, at - 1]
                        at -= 1
                    distance[i, at] = d
                    index[i, at] = j


def _nearest_torch(
    a: Tensor, b: Tensor, lq: Tensor, lx: Tensor, q: Tensor, x: Tensor,
    group_q: Tensor, group_x: Tensor, k: int, unit: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return squared distances and positions for one block on any device: a generous short list by
    product, its order in float64, a proof or all of it.
    """
    rows = torch.arange(len(a), device=a.device)
    score = float32_products(a, b).mul_(2).sub_(lx.square().float())
    score[group_q[:, None] == group_x] = -torch.inf
    short = min(len(b), k + 16)
    top = score.topk(short, dim=1)
    index = top.indices.sort(dim=1).values  # ties go to the earlier row
    exact = torch.stack(
        [(q[rows] - x[index[:, m]].double()).square().sum(dim=1) for m in range(short)], dim=1
    )
    exact[group_x[index] == group_q[:, None]] = torch.inf
    exact, order = exact.sort(dim=1, stable=True)
    index = index.gather(1, order)[:, :k]
    slack = error_unit(a.shape[1]) * (lq + lx.max()).square() * 1.1
    # nothing outside the short list is nearer than this
    beyond = lq.square() - top.values[:, -1].double() - slack
    exact = exact[:, :k]
    open_ = exact[:, -1] * unit >= beyond
    for i in (open_.nonzero()[:, 0] if short < len(b) else rows[:0]).tolist():
        every = torch.cat(
            [(q[i] - part.double()).square().sum(dim=1) for part in torch.split(x, 8192)]
        )
        every[group_x == group_q[i]] = torch.inf
        order = every.argsort(stable=True)[:k]
        index[i], exact[i] = order, every[order]
    return exact, index


def _blocks(size: int, width: int) -> Iterator[tuple[int, int]]:
    step = max(1, _BLOCK // max(1, width))
    for start in range(0, size, step):
        yield start, min(size, start + step)


def knn_blocks(
    x: Tensor, k: int, queries: Tensor | None = None, groups: Tensor | None = None
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield what `knn` returns a block of queries at a time: the first of them, squared distances
    and positions.
    """
    group_x = (
        torch.arange(len(x), device=x.device) if groups is None else groups.to(x.device).long()
    )
    have = (
        len(x)
        if queries is not None
        else len(x) - int(torch.unique(group_x, return_counts=True)[1].max())
    )
    if not 1 <= k <= have:
        raise ValueError(f"k: expected 1 to {have} neighbors among {len(x)} rows, got {k}")
    q = x if queries is None else queries
    group_q = (
        group_x
        if queries is None
        else torch.full((len(q),), int(group_x.min()) - 1, device=x.device)
    )
    frame = Frame.of(x) if queries is None else Frame.of(x).reaching(queries)
    b, lx = frame.rows(x)
    a, lq = (b, lx) if queries is None else frame.rows(q)
    on_cpu = x.device.type == "cpu"
    ex = exact_rows(x) if on_cpu else np.empty((0, 0))
    eq = ex if queries is None or not on_cpu else exact_rows(q)
    for start, stop in _blocks(len(q), len(x)):
        part = slice(start, stop)
        if not on_cpu:
            yield (
                start,
                *_nearest_torch(
                    a[part],
                    b,
                    lq[part],
                    lx,
                    q[part].double(),
                    x,
                    group_q[part],
                    group_x,
                    k,
                    frame.scale**2,
                ),
            )
            continue
        square, index = np.full((stop - start, k), np.inf), np.empty((stop - start, k), np.int64)
        product = float32_products(a[part], b).numpy()
        _nearest(
            product, lq[part].numpy(), lx.numpy(), error_unit(x.shape[1]), eq[part], ex,
            group_q[part].numpy(), group_x.numpy(),
            square, index,
        )  # fmt: skip
        yield start, torch.from_numpy(square), torch.from_numpy(index)


def knn(
    x: Tensor, k: int, queries: Tensor | None = None, groups: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the Euclidean distances (Q, k) float64 and positions (Q, k) of the `k` nearest rows of
    `x` (N, D), nearest first, ties to the lowest position.

    queries (Q, D): default the rows of x themselves, each without itself (but with its duplicates).
    groups (N,) integers, without queries: rows of one's own group are no neighbors. Memory: O((N +
    Q) D) beside the answer. Raises ValueError when a row has fewer than k rows to choose from.

    >>> distance, index = knn(torch.tensor([[0.0], [1.0], [5.0]]), 1)
    >>> distance[:, 0].tolist(), index[:, 0].tolist()
    ([1.0, 1.0, 4.0], [1, 0, 1])
    >>> knn(torch.tensor([[0.0], [1.0], [5.0]]), 1, groups=torch.tensor([0, 0, 1]))[1][
    ...     :, 0
    ... ].tolist()
    [2, 2, 1]
    """
    blocks = list(knn_blocks(x, k, queries, groups))
    if not blocks:
        return torch.empty(0, k, dtype=torch.float64, device=x.device), torch.empty(
            0, k, dtype=torch.int64, device=x.device
        )
    return torch.cat([square for _, square, _ in blocks]).sqrt_(), torch.cat(
        [index for _, _, index in blocks]
    )


@compiled
def _decide(
    product: Float,
    lq: Float,
    lx: Float,
    error: float,
    unit: float,
    q: Float,
    x: Float,
    square: float,
    closed: bool,
    own: int,
    hit: NDArray[np.bool_],
) -> None:
    """Mark the pairs of a block within the radius; pairs too close to it are measured again."""
    for i in range(product.shape[0]):
        for j in range(product.shape[1]):
            approximate = lq[i] * lq[i] + lx[j] * lx[j] - 2 * np.float64(product[i, j])
            bound = lq[i] + lx[j]
            slack = error * bound * bound
            gap = approximate - square * unit
            if gap > slack:
                hit[i, j] = False
            elif gap < -slack:
                hit[i, j] = True
            else:
                d = square_distance(q[i], x[j])
                hit[i, j] = d < square or (closed and d == square)
        if own >= 0:
            hit[i, own + i] = False


def within(
    x: Tensor, radius: float, queries: Tensor | None = None, closed: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the rows of `x` (N, D) nearer than `radius` to each query, as a sparse matrix:
    `columns[start[i]:start[i + 1]]`, ascending, belong to query i.

    start (Q + 1,) int64, columns int32. queries (Q, D): default the rows of x themselves, each
    without itself. closed: distances equal to the radius count as well. Compared as squares in
    float64. Memory: O((N + Q) D) and 4 bytes per pair found.

    >>> start, columns = within(torch.tensor([[0.0], [1.0], [5.0]]), 2.0)
    >>> start.tolist(), columns.tolist()
    ([0, 1, 2, 2], [1, 0])
    """
    q = x if queries is None else queries
    frame = Frame.of(x) if queries is None else Frame.of(x).reaching(queries)
    b, lx = frame.rows(x)
    a, lq = (b, lx) if queries is None else frame.rows(q)
    unit, square = frame.scale**2, float(radius) ** 2
    on_cpu = x.device.type == "cpu"
    ex = exact_rows(x) if on_cpu else np.empty((0, 0))
    eq = ex if queries is None or not on_cpu else exact_rows(q)
    counts, columns = [np.zeros(1, np.int64)], [np.empty(0, np.int32)]
    for start, stop in _blocks(len(q), len(x)):
        part = slice(start, stop)
        own = start if queries is None else -1
        product = float32_products(a[part], b)
        if on_cpu:
            hit = np.empty(product.shape, np.bool_)
            _decide(
                product.numpy(),
                lq[part].numpy(),
                lx.numpy(),
                error_unit(x.shape[1]),
                unit,
                eq[part],
                ex,
                square,
                closed,
                own,
                hit,
            )
        else:
            hit = (
                _decide_torch(product, lq[part], lx, q[part], x, square, unit, closed, own)
                .cpu()
                .numpy()
            )
        counts.append(hit.sum(axis=1, dtype=np.int64))
        columns.append(np.nonzero(hit)[1].astype(np.int32))
    return np.cumsum(np.concatenate(counts)), np.concatenate(columns)


def _decide_torch(
    product: Tensor,
    lq: Tensor,
    lx: Tensor,
    q: Tensor,
    x: Tensor,
    square: float,
    unit: float,
    closed: bool,
    own: int,
) -> Tensor:
    """Return what `_decide` marks, on any device."""
    gap = lq.square()[:, None] + lx.square() - 2 * product.double() - square * unit
    slack = error_unit(x.shape[1]) * (lq[:, None] + lx).square()
    hit = gap < 0
    for i, j in zip(
        *(torch.split(t, 65536) for t in torch.nonzero(gap.abs() <= slack, as_tuple=True)),
        strict=True,
    ):
        d = (q[i].double() - x[j].double()).square().sum(dim=1)
        hit[i, j] = (d <= square) if closed else (d < square)
    if own >= 0:
        rows = torch.arange(len(q), device=x.device)
        hit[rows, own + rows] = False
    return hit
