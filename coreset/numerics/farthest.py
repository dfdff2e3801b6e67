"""Farthest-first traversal, exact and blocked: the picks of a float64 loop at the speed of matrix products.

Gonzalez, "Clustering to Minimize the Maximum Intercluster Distance", Theoretical Computer Science 38, 1985.

Distances to the nearest center only ever shrink. So the greedy, run inside the T rows that are now farthest, makes the right choices for as long as its maximum is not
below the T-th distance; only then are its picks (a few hundred) folded into all rows, by one product. The product may be bfloat16: it only has to show that a pick
cannot be nearer than what a row already has. What it leaves open is computed from differences in float64, so every decision is that of a float64 loop.

The bound. y is the rounded copy of the centred, scaled row a, r = |a - y|. The triangle inequality gives |a_i - a_j| >= |y_i - y_j| - r_i - r_j, and the product g of
y_i and y_j is off by at most D 2^-24 |y_i||y_j| from summation and 2^-8 |g| from being stored in bfloat16.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset.numerics.compiled import compiled
from coreset.numerics.distances import Float, Frame, exact_rows, float32_products, square_distance
from coreset.numerics.narrow import STORED, bfloat16_pays
from coreset.numerics.tensors import top_k

Whole = NDArray[np.int64]
_SHORT_LIST = 512
_ROWS = 4096
_MANY = 4  # open comparisons of a row from which on one that lowers the bar pays
_WORTH = 1e10  # multiplications from which on it pays to ask which product is faster


@compiled
def _fold(
    product: Float, narrow: NDArray[np.uint16], length: Float, rest: Float, center_length: Float, center_rest: float, unit: float, summing: float,
    x: Float, rows: Whole, centers: Whole, nearest: Float,
) -> None:  # fmt: skip
    """Lower `nearest`, squared distances of one block of rows, to those from `centers`; `product` float32, or `narrow` the bits of bfloat16."""
    count = len(centers)
    bits = np.empty(count, np.uint32)
    value = bits.view(np.float32)
    short = product.shape[0] == 0
    stored = np.float32(STORED if short else 0.0)
    half = np.empty(count, np.float32)
    longest = 0.0
    for j in range(count):
        half[j] = center_length[j] * center_length[j] / 2
        longest = max(longest, center_length[j])
    for i in range(len(rows)):
        if nearest[i] < 0:  # taken
            continue
        span = length[i] + longest
        own = length[i] * length[i] - 2 * summing * length[i] * longest - 1e-6 * span * span
        reach = np.sqrt(nearest[i] * unit) + rest[i] + center_rest
        cut = np.float32((own - reach * reach) / 2)
        if short:
            for j in range(count):
                bits[j] = np.uint32(narrow[i, j]) << np.uint32(16)
        else:
            for j in range(count):
                value[j] = product[i, j]
        near = np.int32(0)  # counted, because that goes in vector registers and a maximum does not
        for j in range(count):
            g = value[j]
            value[j] = g + stored * abs(g) - half[j]
            near += np.int32(value[j] > cut)
        if near == 0:
            continue
        row = x[rows[i]]
        if near > _MANY:  # the most promising first: it lowers the bar for the others
            j = int(value.argmax())
            nearest[i] = min(nearest[i], square_distance(row, x[centers[j]]))
            value[j] = -np.inf
            reach = np.sqrt(nearest[i] * unit) + rest[i] + center_rest
            cut = np.float32((own - reach * reach) / 2)
        for j in range(count):
            if value[j] > cut:
                d = square_distance(row, x[centers[j]])
                if d < nearest[i]:
                    nearest[i] = d
                    reach = np.sqrt(d * unit) + rest[i] + center_rest
                    cut = np.float32((own - reach * reach) / 2)


@compiled
def _round(
    x: Float, rows: Whole, mean: Float, scale: float, wide: Float, bits: NDArray[np.uint16], length: Float, rest: Float
) -> None:
    """Write the rounded copy of some rows, as float32 or (bits not empty) as bfloat16, with their lengths and what rounding took away."""
    value = np.empty(x.shape[1], np.float32)
    raw = value.view(np.uint32)
    for i in range(len(rows)):
        row = x[rows[i]]
        for d in range(len(row)):
            value[d] = np.float32((np.float64(row[d]) - mean[d]) * scale)
        if bits.shape[0]:
            for d in range(len(row)):  # round to nearest, ties to even
                kept = (raw[d] + np.uint32(0x7FFF) + ((raw[d] >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
                bits[i, d] = np.uint16(kept)
                raw[d] = kept << np.uint32(16)
        else:
            for d in range(len(row)):
                wide[i, d] = value[d]
        square, lost = 0.0, 0.0
        for d in range(len(row)):
            y = np.float64(value[d])
            gap = (np.float64(row[d]) - mean[d]) * scale - y
            square += y * y
            lost += gap * gap
        length[i], rest[i] = np.sqrt(square), np.sqrt(lost) * (1 + 1e-6) + 1e-15


@compiled
def _greedy(x: Float, near: Float, floor: float, last: int, most: int, picks: Whole, squares: Float) -> int:
    """Pick inside a short list of rows and return how many picks are sure. near: their distances, lowered as we go.

    Nothing outside the list lies beyond `floor`, and what lies at it comes after row `last` of the list.
    """
    active = np.arange(len(x))
    left, made = len(x), 0
    while made < most and left > 0:
        best = 0
        for m in range(1, left):
            if near[active[m]] > near[active[best]]:
                best = m
        pick = active[best]
        if near[pick] < floor or (near[pick] == floor and pick > last):
            break
        picks[made], squares[made] = pick, near[pick]
        made += 1
        kept = 0
        for m in range(left):  # rows that fell below the floor cannot be picked any more in this round
            i = active[m]
            if i == pick:
                continue
            near[i] = min(near[i], square_distance(x[i], x[pick]))
            if near[i] >= floor:
                active[kept] = i
                kept += 1
        left = kept
    return made


@compiled
def _greedy_table(table: Float, near: Float, floor: float, last: int, most: int, picks: Whole, squares: Float) -> int:
    """As `_greedy`, from a table of squared distances (T, T)."""
    made = 0
    while made < most:
        pick = 0
        for m in range(1, len(near)):
            if near[m] > near[pick]:
                pick = m
        if near[pick] < floor or (near[pick] == floor and pick > last):
            break
        picks[made], squares[made] = pick, near[pick]
        made += 1
        for m in range(len(near)):
            near[m] = min(near[m], table[pick, m])
        near[pick] = -1.0
    return made


def _loops(x: Tensor) -> bool:
    """Return whether the compiled loops can read `x`; elsewhere it is tensor operations."""
    return x.device.type == "cpu"


@dataclass(eq=False)
class _State:
    """Rows that may be picked and the squared distance of each to its nearest center (-1: taken); bfloat16 copies are kept, float32 ones made anew for each fold."""

    x: Tensor
    rows: Tensor
    frame: Frame
    narrow: bool
    fast: Tensor | None = field(init=False)
    length: Tensor = field(init=False)
    rest: Tensor = field(init=False)
    nearest: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        count = len(self.rows)
        self.fast = torch.empty(count, self.x.shape[1], dtype=torch.bfloat16) if self.narrow else None
        self.length, self.rest = (
            torch.empty(count, dtype=torch.float64, device=self.x.device),
            torch.empty(count, dtype=torch.float64, device=self.x.device),
        )
        for start in range(0, count, _ROWS):
            part = slice(start, start + _ROWS)
            y, self.length[part], self.rest[part] = self.rounded(self.rows[part])
            if self.fast is not None:
                self.fast[part] = y
        self.nearest = np.full(count, np.inf)

    def rounded(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return y, |y| and |a - y| for some rows."""
        kind = torch.bfloat16 if self.narrow else torch.float32
        if _loops(self.x):
            y = torch.empty(len(rows), self.x.shape[1], dtype=kind)
            length, rest = np.empty(len(rows)), np.empty(len(rows))
            none = torch.empty(0, 0)
            wide, bits = (none, y.view(torch.uint16)) if self.narrow else (y, none.to(torch.uint16))
            exact = exact_rows(self.x)
            _round(
                exact, rows.numpy(), self.frame.mean.numpy(), self.frame.scale, wide.numpy(), bits.numpy(), length, rest
            )
            return y, torch.from_numpy(length), torch.from_numpy(rest)
        a = (self.x[rows].double() - self.frame.mean) * self.frame.scale
        y = a.to(kind)
        return y, y.double().norm(dim=1), (a - y.double()).norm(dim=1) * (1 + 1e-6) + 1e-15

    def block(self, part: slice) -> Tensor:
        """Return the rounded copies of a block of rows."""
        return self.rounded(self.rows[part])[0] if self.fast is None else self.fast[part]

    def fold(self, centers: Tensor) -> None:
        """Lower the distances to those from `centers`, positions in x."""
        y, length, rest = self.rounded(centers)
        summing = 1.01 * (self.x.shape[1] + 4) * 2.0**-24
        unit = self.frame.scale**2
        if not _loops(self.x):
            self._fold_torch(y, length, rest, centers, summing, unit)
            return
        exact, rows, none = exact_rows(self.x), self.rows.numpy(), np.empty((0, 0), np.float32)
        for start in range(0, len(rows), _ROWS):
            part = slice(start, start + _ROWS)
            if self.narrow:
                product, bits = none, (self.block(part) @ y.T).view(torch.uint16).numpy()
            else:
                product, bits = float32_products(self.block(part), y).numpy(), np.empty((0, 0), np.uint16)
            _fold(
                product, bits, self.length[part].numpy(), self.rest[part].numpy(), length.numpy(), float(rest.max()), unit, summing,
                exact, rows[part], centers.numpy(), self.nearest[part],
            )  # fmt: skip

    def _fold_torch(
        self, y: Tensor, length: Tensor, rest: Tensor, centers: Tensor, summing: float, unit: float
    ) -> None:
        for start in range(0, len(self.rows), _ROWS):
            part = slice(start, start + _ROWS)
            near = torch.from_numpy(self.nearest[part]).to(self.x.device)
            taken = near < 0
            score = float32_products(self.block(part), y).double() - length.square() / 2
            span = self.length[part] + length.max()
            own = self.length[part].square() - 2 * summing * self.length[part] * length.max() - 1e-6 * span.square()
            first = score.argmax(dim=1)
            i = torch.arange(len(near), device=near.device)
            near = torch.minimum(near, self._exact(self.rows[part][i], centers[first]))
            reach = (near.clamp_min(0) * unit).sqrt() + self.rest[part] + rest.max()
            i, j = torch.nonzero(score > ((own - reach.square()) / 2)[:, None], as_tuple=True)
            near.scatter_reduce_(0, i, self._exact(self.rows[part][i], centers[j]), "amin")
            near[taken] = -1.0
            self.nearest[part] = near.cpu().numpy()

    def _exact(self, i: Tensor, j: Tensor) -> Tensor:
        pairs = zip(torch.split(i, 8192), torch.split(j, 8192), strict=True)
        return torch.cat([(self.x[a].double() - self.x[b].double()).square().sum(dim=1) for a, b in pairs])

    def greedy(self, short: Whole, most: int) -> tuple[Whole, NDArray[np.float64]]:
        """Return picks (positions among the rows) and squared distances, from a short list: the farthest rows, in order of position."""
        near = self.nearest[short]
        floor = float(near.min())
        last = int(np.flatnonzero(near == floor)[-1])
        picks, squares = np.empty(min(most, len(short)), np.int64), np.empty(min(most, len(short)))
        where = self.rows[torch.from_numpy(short).to(self.rows.device)]
        if _loops(self.x):
            made = _greedy(exact_rows(self.x[where]), near, floor, last, len(picks), picks, squares)
        else:
            table = torch.stack([self._exact(where, w.expand(len(where))) for w in where]).cpu().numpy()
            made = _greedy_table(table, near, floor, last, len(picks), picks, squares)
        return short[picks[:made]], squares[:made]


def farthest_first(
    x: Tensor, k: int, centers: Tensor, candidates: Tensor
) -> tuple[Whole, NDArray[np.float64], NDArray[np.float64]]:
    """Return `k` picks in order, the distance (k,) of each to the centers before it, and at last the distance (n,) of every candidate to its center.

    x (N, D); centers (M,) at least one position; candidates (n,) ascending positions that may be picked, n >= k. Euclidean, float64; ties go to the lowest position,
    picks have distance 0 at last. Memory beside x: O(N), and where bfloat16 pays (large work on a CPU that has it) one copy of x in it.

    >>> x = torch.tensor([[0.0], [1.0], [5.0]])
    >>> picks, distances, left = farthest_first(x, 1, torch.tensor([0]), torch.tensor([1, 2]))
    >>> picks.tolist(), distances.tolist(), left.tolist()
    ([2], [5.0], [1.0, 0.0])
    """
    frame = Frame.of(x)
    work = len(candidates) * (k + len(centers)) * x.shape[1]
    narrow = _loops(x) and work > _WORTH and bfloat16_pays(x.shape[1], torch.get_num_threads())
    x = torch.from_numpy(exact_rows(x)) if _loops(x) else x
    state = _State(x, candidates, frame, narrow)
    for part in torch.split(centers, 256):
        state.fold(part)
    picks, squares, made = np.empty(k, np.int64), np.empty(k), 0
    while made < k:
        short = np.sort(top_k(state.nearest, min(_SHORT_LIST, len(candidates) - made)))
        new, square = state.greedy(short, k - made)
        picks[made : made + len(new)], squares[made : made + len(new)] = new, square
        made += len(new)
        at = torch.from_numpy(new).to(x.device)
        for part in torch.split(candidates[at], 512):
            state.fold(part)
        state.nearest[new] = -1.0
    return candidates.cpu().numpy()[picks], np.sqrt(squares), np.sqrt(state.nearest.clip(0))
