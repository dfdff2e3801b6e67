"""Farthest-first traversal of many rows, exact and blocked: the picks of a float64 loop at the
speed of matrix products.

Distances to the nearest center only ever shrink, so one that misses the latest centers is an upper
bound. A round takes the T rows whose bounds are largest and makes them exact, each only for as long
as it is not below the T-th bound, its floor. The greedy, run inside the rows that stay above, makes
the right choices for as long as its maximum is not below the floor: nothing else can be farther. A
row that a center has come near to is thus not measured again before the radius has come down to it,
and at 10 % of clustered data three quarters of all distances are never computed. Those that are
come from products of a few hundred centers with a block of rows. The product may be bfloat16: it
only has to show that a center cannot be nearer than what a row already has. What it leaves open is
computed from differences in float64, so every decision is that of a float64 loop.

The bound. y is the rounded copy of the centerd, scaled row a, r = |a - y|. The triangle inequality
gives |a_i - a_j| >= |y_i - y_j| - r_i - r_j, and the product g of y_i and y_j is off by at most D
2^-24 |y_i||y_j| from summation and 2^-8 |g| from being stored in bfloat16.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset.numerics.compiled import compiled
from coreset.numerics.neighbors.bfloat16 import STORED, bfloat16_pays
from coreset.numerics.neighbors.distances import (
    Float,
    Frame,
    exact_rows,
    float32_products,
    square_distance,
)
from coreset.numerics.tensors import top_k

Whole = NDArray[np.int64]
_SHORT_LIST = 256
_ROWS = 4096
_CENTERS = 256  # folded in one product
_MANY = 4  # open comparisons of a row from which on one that lowers the bar pays
_KEEP = 2**22  # numbers in float32 copies that are kept: 16 MB
_WORTH = 1e10  # multiplications from which on it pays to ask which product is faster


@compiled
def _fold(
    product: Float, narrow: NDArray[np.uint16], length: Float, rest: Float,
    center_length: Float, center_rest: float, unit: float, summing: float,
    x: Float, rows: Whole, centers: Whole, nearest: Float,
) -> None:  # fmt: skip
    """Lower `nearest`, squared distances of one block of rows, to those from `centers`; `product`
    float32, or `narrow` the bits of bfloat16.
    """
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
    x: Float,
    rows: Whole,
    mean: Float,
    scale: float,
    wide: Float,
    bits: NDArray[np.uint16],
    length: Float,
    rest: Float,
) -> None:
    """Write the rounded copy of some rows, as float32 or (bits not empty) as bfloat16, with their
    lengths and what rounding took away.
    """
    value = np.empty(x.shape[1], np.float32)
    raw = value.view(np.uint32)
    for i in range(len(rows)):
        row = x[rows[i]]
        for d in range(len(row)):
            value[d] = np.float32((np.float64(row[d]) - mean[d]) * scale)
        if bits.shape[0]:
            for d in range(len(row)):  # round to nearest, ties to even
                kept = (
                    raw[d] + np.uint32(0x7FFF) + ((raw[d] >> np.uint32(16)) & np.uint32(1))
                ) >> np.uint32(16)
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
def _greedy(
    x: Float, near: Float, floor: float, last: int, most: int, picks: Whole, squares: Float
) -> int:
    """Pick inside a short list of rows and return how many picks are sure. near: their distances,
    lowered as we go.

    Nothing outside the list lies beyond `floor`, and what lies at it comes after row `last` of the
    list.
    """
    active = np.arange(len(x))
    left, taken = len(x), 0
    while taken < most and left > 0:
        best = 0
        for m in range(1, left):
            if near[active[m]] > near[active[best]]:
                best = m
        pick = active[best]
        if near[pick] < floor or (near[pick] == floor and pick > last):
            break
        picks[taken], squares[taken] = pick, near[pick]
        taken += 1
        kept = 0
        # rows that fell below the floor cannot be picked any more in this round
        for m in range(left):
            i = active[m]
            if i == pick:
                continue
            near[i] = min(near[i], square_distance(x[i], x[pick]))
            if near[i] >= floor:
                active[kept] = i
                kept += 1
        left = kept
    return taken


@compiled
def _greedy_table(
    table: Float, near: Float, floor: float, last: int, most: int, picks: Whole, squares: Float
) -> int:
    """As `_greedy`, from a table of squared distances (T, T)."""
    taken = 0
    while taken < most:
        pick = 0
        for m in range(1, len(near)):
            if near[m] > near[pick]:
                pick = m
        if near[pick] < floor or (near[pick] == floor and pick > last):
            break
        picks[taken], squares[taken] = pick, near[pick]
        taken += 1
        for m in range(len(near)):
            near[m] = min(near[m], table[pick, m])
        near[pick] = -1.0
    return taken


def _loops(x: Tensor) -> bool:
    """Return whether the compiled loops can read `x`; elsewhere it is tensor operations."""
    return x.device.type == "cpu"


def _filled(at: Tensor, step: int) -> Tensor:
    """Return a multiple of `step` positions, the first again and again after the last: torch keeps
    code and buffers for every shape of a bfloat16 product, so few are used.
    """
    return torch.cat([at, at[:1].expand(-len(at) % step)])


@dataclass(eq=False)
class _State:
    """Rows that may be picked, with a number (n,) that the squared distance of each to its nearest
    center is not above (-1: taken), and the centers so far.

    rows: positions in x, first those that may be picked, then the centers given. centers: positions
    in `rows`. seen (n,): up to which of them the number is exact. bfloat16 copies are kept, float32
    ones only of small inputs and else made anew for each fold.
    """

    x: Tensor
    rows: Tensor
    count: int
    frame: Frame
    narrow: bool
    fast: Tensor | None = field(init=False)
    length: Tensor = field(init=False)
    rest: Tensor = field(init=False)
    nearest: NDArray[np.float64] = field(init=False)
    seen: Whole = field(init=False)
    centers: Whole = field(init=False)
    squares: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        size = len(self.rows)
        kind, shape = self.kind, (size, self.x.shape[1])
        keep = self.narrow or size * self.x.shape[1] <= _KEEP
        self.fast = torch.empty(shape, dtype=kind, device=self.x.device) if keep else None
        self.length, self.rest = (
            torch.empty(size, dtype=torch.float64, device=self.x.device),
            torch.empty(size, dtype=torch.float64, device=self.x.device),
        )
        for start in range(0, size, _ROWS):
            part = slice(start, start + _ROWS)
            y, self.length[part], self.rest[part] = self.rounded(self.rows[part])
            if self.fast is not None:
                self.fast[part] = y
        self.nearest, self.seen = np.full(self.count, np.inf), np.zeros(self.count, np.int64)
        self.centers = np.arange(self.count, size)

    @property
    def kind(self) -> torch.dtype:
        """Type of the copies."""
        return torch.bfloat16 if self.narrow else torch.float32

    @property
    def taken(self) -> int:
        """How many were picked."""
        return len(self.squares)

    def rounded(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return y, |y| and |a - y| for some rows, positions in x."""
        kind = self.kind
        if _loops(self.x):
            y = torch.empty(len(rows), self.x.shape[1], dtype=kind)
            length, rest = np.empty(len(rows)), np.empty(len(rows))
            none = torch.empty(0, 0)
            wide, bits = (none, y.view(torch.uint16)) if self.narrow else (y, none.to(torch.uint16))
            exact = exact_rows(self.x)
            _round(
                exact,
                rows.numpy(),
                self.frame.mean.numpy(),
                self.frame.scale,
                wide.numpy(),
                bits.numpy(),
                length,
                rest,
            )
            return y, torch.from_numpy(length), torch.from_numpy(rest)
        a = (self.x[rows].double() - self.frame.mean) * self.frame.scale
        y = a.to(kind)
        return y, y.double().norm(dim=1), (a - y.double()).norm(dim=1) * (1 + 1e-6) + 1e-15

    def copies(self, at: Tensor) -> Tensor:
        """Return the rounded copies of some of `rows`."""
        return (
            self.rounded(self.rows[at])[0] if self.fast is None else self.fast.index_select(0, at)
        )

    def renew(self, at: Whole, least: float) -> None:
        """Make the numbers of the rows `at` exact, as far as they are not below `least`: centers in
        order, each row for as long as it matters.
        """
        at = at[self.seen[at] < len(self.centers)]
        while len(at):
            first = int(self.seen[at].min())
            end = min(first + _CENTERS, len(self.centers))
            now = at[self.seen[at] < end]
            for start in range(0, len(now), _ROWS):
                self.fold(now[start : start + _ROWS], self.centers[first:end])
            self.seen[now] = end
            at = at[(self.nearest[at] >= least) & (self.seen[at] < len(self.centers))]

    def fold(self, at: Whole, centers: Whole) -> None:
        """Lower the numbers of the rows `at` to the squared distances from `centers`, both
        positions in `rows`.
        """
        i, j = (torch.from_numpy(p).to(self.rows.device) for p in (at, centers))
        summing = 1.01 * (self.x.shape[1] + 4) * 2.0**-24
        unit = self.frame.scale**2
        near = self.nearest[at]
        if not _loops(self.x):
            self.nearest[at] = self._fold_torch(i, j, near, summing, unit)
            return
        rest = self.rest[j]
        if self.narrow:
            own, y = self.copies(_filled(i, 256)), self.copies(_filled(j, 32))
            product, bits = np.empty((0, 0), np.float32), (own @ y.T).view(torch.uint16).numpy()
        else:
            product, bits = (
                float32_products(self.copies(i), self.copies(j)).numpy(),
                np.empty((0, 0), np.uint16),
            )
        _fold(
            product, bits, self.length[i].numpy(), self.rest[i].numpy(), self.length[j].numpy(),
            float(rest.max()), unit, summing,
            exact_rows(self.x), self.rows[i].numpy(), self.rows[j].numpy(), near,
        )  # fmt: skip
        self.nearest[at] = near

    def _fold_torch(
        self, at: Tensor, centers: Tensor, nearest: NDArray[np.float64], summing: float, unit: float
    ) -> NDArray[np.float64]:
        near = torch.from_numpy(nearest).to(self.x.device)
        length, longest = self.length[at], self.length[centers].max()
        score = (
            float32_products(self.copies(at), self.copies(centers)).double()
            - self.length[centers].square() / 2
        )
        span = length + longest
        own = length.square() - 2 * summing * length * longest - 1e-6 * span.square()
        rows, others = self.rows[at], self.rows[centers]
        near = torch.minimum(near, self._exact(rows, others[score.argmax(dim=1)]))
        reach = (near * unit).sqrt() + self.rest[at] + self.rest[centers].max()
        i, j = torch.nonzero(score > ((own - reach.square()) / 2)[:, None], as_tuple=True)
        near.scatter_reduce_(0, i, self._exact(rows[i], others[j]), "amin")
        folded: NDArray[np.float64] = near.cpu().numpy()
        return folded

    def _exact(self, i: Tensor, j: Tensor) -> Tensor:
        pairs = zip(torch.split(i, 8192), torch.split(j, 8192), strict=True)
        return torch.cat(
            [(self.x[a].double() - self.x[b].double()).square().sum(dim=1) for a, b in pairs]
        )

    def floor(self, short: Whole) -> tuple[float, int]:
        """Return the smallest number of some rows and the last row that has it."""
        least = float(self.nearest[short].min())
        return least, int(short[self.nearest[short] == least][-1])

    def greedy(self, short: Whole, floor: float, last: int, most: int) -> None:
        """Take from a short list, ascending rows whose numbers are exact and at least `floor`, what
        is sure: no other row lies beyond it, and those at it come after `last`.
        """
        near = self.nearest[short]
        picks, squares = np.empty(min(most, len(short)), np.int64), np.empty(min(most, len(short)))
        where = self.rows[torch.from_numpy(short).to(self.rows.device)]
        last = int(np.searchsorted(short, last, side="right")) - 1
        if _loops(self.x):
            taken = _greedy(
                exact_rows(self.x[where]), near, floor, last, len(picks), picks, squares
            )
        else:
            table = (
                torch.stack([self._exact(where, w.expand(len(where))) for w in where]).cpu().numpy()
            )
            taken = _greedy_table(table, near, floor, last, len(picks), picks, squares)
        self.nearest[short[picks[:taken]]] = -1.0
        self.centers = np.concatenate([self.centers, short[picks[:taken]]])
        self.squares = np.concatenate([self.squares, squares[:taken]])


def by_blocks(
    x: Tensor, k: int, centers: Tensor, candidates: Tensor
) -> tuple[Whole, NDArray[np.float64], float]:
    """Return what `coreset.numerics.neighbors.farthest.farthest_first` does, on any device.

    Memory beside x: O(N), and where bfloat16 pays (large work on a CPU that has it) one copy of x
    in it; float32 copies up to 16 MB.
    """
    frame = Frame.of(x)
    work = len(candidates) * (k + len(centers)) * x.shape[1]
    narrow = _loops(x) and work > _WORTH and bfloat16_pays(x.shape[1], torch.get_num_threads())
    x = torch.from_numpy(exact_rows(x)) if _loops(x) else x
    count = len(candidates)
    state = _State(x, torch.cat([candidates, centers]), count, frame, narrow)
    state.renew(np.arange(count), np.inf)
    width = _SHORT_LIST
    while state.taken < count:
        short = np.sort(top_k(state.nearest, min(width, count - state.taken)))
        floor, last = state.floor(short)
        state.renew(short, floor)
        sure = short[state.nearest[short] >= floor]
        if len(sure) and state.taken == k:
            break
        if len(sure) > _SHORT_LIST:  # more than needed: a higher floor
            sure = sure[np.sort(top_k(state.nearest[sure], _SHORT_LIST))]
            higher, at = state.floor(sure)
            floor, last = higher, at if higher > floor else min(at, last)
        if len(sure):
            state.greedy(sure, floor, last, k - state.taken)
        if len(sure) < _SHORT_LIST // 2:
            width *= 2
        elif len(sure) == _SHORT_LIST:
            width = max(width // 2, _SHORT_LIST)
    picks = candidates.cpu().numpy()[state.centers[len(centers) :]]
    return picks, np.sqrt(state.squares), float(np.sqrt(state.nearest.max(initial=0.0)))
