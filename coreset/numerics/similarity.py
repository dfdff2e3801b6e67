"""Similarities between examples: dense, between nearest neighbors only, or as the sums of a linear
kernel without any matrix.

    cosine     1/2 + 1/2 <x, y> / (|x||y|)      in [0, 1]; a zero vector is at 1/2 to everything
    dot        <x, y>                           may be negative
    rbf        exp(-gamma |x - y|^2)            gamma defaults to 1 / (mean squared distance)
    euclidean  1 / (1 + |x - y|)

All four are positive semi-definite. All but `dot` lie in [0, 1] and are rounded to multiples of
2^-20: sums of them are then exact in float64, so that ties are ties on every machine, in any order
of summation, and the rounding of a matrix product does not decide between duplicates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset.numerics.compiled import compiled
from coreset.numerics.neighbors.approximate import has_faiss, ivf_blocks
from coreset.numerics.neighbors.distances import float32_products
from coreset.numerics.neighbors.nearest import knn_blocks
from coreset.numerics.tensors import as_float

KINDS = ("cosine", "dot", "rbf", "euclidean")
Matrix = NDArray[np.floating[Any]]
EXACT_UP_TO = 50_000  # rows; beyond, the nearest neighbors are found approximately
_BLOCK = 2**20  # similarities finished at a time: 4 MB
_ROWS = 8192


@dataclass(frozen=True, eq=False)
class Sparse:
    """A square matrix by rows: row j holds `value[start[j]:start[j + 1]]` in the columns
    `column[...]`, and zeros.
    """

    start: NDArray[np.int64]
    column: NDArray[np.int32]
    value: NDArray[np.float32]
    variant: str = "nearest neighbors"

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def parts(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        """Return the three arrays."""
        return self.start, self.column, self.value

    def own(self) -> NDArray[np.float32]:
        """Return the diagonal."""
        diagonal: NDArray[np.float32] = self.value[
            self.column == np.repeat(np.arange(len(self)), np.diff(self.start))
        ]
        return diagonal

    def symmetric(self) -> Sparse:
        """Return the matrix with each pair in both rows."""
        from scipy.sparse import csr_matrix

        one = csr_matrix((self.value, self.column, self.start))
        both = one.maximum(one.T).tocsr()
        return Sparse(both.indptr.astype(np.int64), both.indices, both.data, self.variant)


@compiled
def _turn(
    index: NDArray[np.int32], value: NDArray[np.float32], own: NDArray[np.float32]
) -> tuple[Any, Any, Any]:
    """Turn lists by row (row i: its neighbors) into lists by column (row j: whose neighbor j is),
    with every row its own first entry.
    """
    n, k = index.shape
    start = np.zeros(n + 1, np.int64)
    for i in range(n):
        start[i + 1] += 1
        for t in range(k):
            start[index[i, t] + 1] += 1
    for i in range(n):
        start[i + 1] += start[i]
    at = start[:-1].copy()
    column = np.empty(start[n], np.int32)
    out = np.empty(start[n], np.float32)
    for i in range(n):
        column[at[i]], out[at[i]] = i, own[i]
        at[i] += 1
    for i in range(n):
        for t in range(k):
            j = index[i, t]
            column[at[j]], out[at[j]] = i, value[i, t]
            at[j] += 1
    return start, column, out


@dataclass(frozen=True, eq=False)
class Similarity:
    """A kind of similarity and the rows it is measured on: x (n, D), as given."""

    x: Tensor
    kind: str
    gamma: float
    shift: Tensor

    @classmethod
    def of(cls, x: Tensor, kind: str, gamma: float | None = None) -> Similarity:
        """Return the similarity of the rows of `x` (n, D). Raises ValueError for an unknown kind or
        a gamma that is not positive.

        >>> Similarity.of(
        ...     torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]), "cosine"
        ... ).dense().tolist()
        [[1.0, 0.5, 0.5], [0.5, 1.0, 0.5], [0.5, 0.5, 0.5]]
        """
        if kind not in KINDS:
            raise ValueError(f"similarity: expected one of {', '.join(KINDS)}, got {kind!r}")
        if gamma is not None and not gamma > 0:
            raise ValueError(f"gamma: expected a positive number, got {gamma}")
        shift = torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
        if kind in ("rbf", "euclidean"):
            shift = x.double().mean(dim=0)
        if gamma is None:
            spread = 1.0
            if kind == "rbf":
                parts = torch.split(x, _ROWS)
                spread = (
                    2
                    * sum(float((p.double() - shift).square().sum()) for p in parts)
                    / max(1, len(x))
                )
            gamma = 1 / spread if spread > 0 else 1.0
        return cls(x, kind, gamma, shift)

    @cached_property
    def ready(self) -> Tensor:
        """All rows as `_prepare` makes them, made when they are first needed."""
        return self._ready(self.x)

    def _ready(self, rows: Tensor) -> Tensor:
        """Return rows (m, D) as `_prepare` makes them."""
        return _prepare(rows, self.kind, self.shift)

    def dense(self, y: Tensor | None = None) -> NDArray[np.float32]:
        """Return the similarity of each row of x to each row of `y` (m, D): (n, m) float32; without
        y to each row of x itself.
        """
        a = self.ready
        b = a if y is None else self._ready(y)
        out = np.empty((len(a), len(b)), np.float32)
        step = max(1, _BLOCK // max(1, len(b)))
        for start in range(0, len(out), step):
            part = slice(start, start + step)
            out[part] = self._block(a[part], b).float().cpu().numpy()
        return out

    def _block(self, a: Tensor, b: Tensor) -> Tensor:
        if self.kind == "dot":
            return float32_products(a, b)
        if self.kind == "cosine":
            return _round(float32_products(a, b).mul_(0.5).add_(0.5).clamp_(0, 1))
        lengths = a.square().sum(dim=1)[:, None] + b.square().sum(dim=1)
        square = (lengths - 2 * (a @ b.T)).clamp_(min=0)
        if self.kind == "euclidean":  # the root makes much of what the product rounded away
            distance = square.sqrt()
            near = torch.nonzero(distance * (1 + distance).square() < 2.0**-30 * lengths)
            for i, j in (
                part.T for part in torch.split(near, max(1, _BLOCK // max(1, a.shape[1])))
            ):
                square[i, j] = (a[i] - b[j]).square().sum(dim=1)
        return _round(self._at(square))

    def _at(self, square: Tensor) -> Tensor:
        """Return the similarity at a squared distance (of unit vectors, for cosine)."""
        if self.kind == "rbf":
            return torch.exp(-self.gamma * square)
        return 1 / (1 + square.sqrt()) if self.kind == "euclidean" else 1 - square / 4

    def nearest(self, k: int, block: int = 4096) -> tuple[Sparse, NDArray[np.float32]]:
        """Return the similarities to the `k` nearest neighbors of each row, and a floor (n,) for
        all the others.

        Row j of the first lists itself and the rows that have j among their `k` nearest: what j can
        stand for. The floor of row i lies halfway between its similarity to its k-th neighbor and
        that at its root mean square distance from all rows. Beyond 50,000 rows the neighbors are
        approximate (`ivf_blocks`). Memory: 16 n k bytes, and up to 50,000 rows two copies of x for
        a time, beyond a quarter of one. Raises ValueError for `dot`, which has no nearest
        neighbors.
        """
        if self.kind == "dot":
            raise ValueError(
                "neighbors: the similarity 'dot' has no nearest-neighbor graph; use cosine, rbf,"
                " euclidean or neighbors=0"
            )
        n = len(self.x)
        k = min(k, n - 1)
        index, value = np.empty((n, k), np.int32), np.empty((n, k), np.float32)
        own, far = np.ones(n, np.float32), self._far(block)
        if self.kind == "cosine":  # zero vectors have no direction: 1/2 to everything
            zero = torch.cat([(part == 0).all(dim=1) for part in torch.split(self.x, block)])
            own[zero.cpu().numpy()] = 0.5
            far[own < 1] = 0.5
        approximate = n > EXACT_UP_TO and has_faiss()
        for start, square, rows in (
            self._approximate(k) if approximate else self._exact(k) if k else ()
        ):
            part = slice(start, start + len(rows))
            index[part] = rows
            value[part] = _round(self._at(square)).float().cpu().numpy()
        if own.min() < 1:
            value[(own < 1)[:, None] | (own < 1)[index]] = 0.5
        last = value[:, -1] if k else far
        floor = np.round((last + far) * 2.0**19).astype(np.float32) * np.float32(2.0**-20)
        variant = "approximate nearest neighbors (IVF)" if approximate else "nearest neighbors"
        return Sparse(*_turn(index, value, own), variant), floor

    def _far(self, block: int) -> NDArray[Any]:
        """Return the similarity of each row (n,) at its root mean square distance from all rows."""
        parts = torch.split(self.x, block)
        center = sum(self._ready(p).double().sum(dim=0) for p in parts) / len(self.x)
        spread = torch.cat([(self._ready(p).double() - center).square().sum(dim=1) for p in parts])
        return np.asarray(self._at(spread + spread.mean()).cpu().numpy())

    def _approximate(self, k: int) -> Iterator[tuple[int, Tensor, NDArray[np.int64]]]:
        for start, square, rows in ivf_blocks(self.x, k, unit=self.kind == "cosine"):
            yield start, torch.from_numpy(square), rows

    def _exact(self, k: int) -> Iterator[tuple[int, Tensor, NDArray[np.int64]]]:
        for start, square, rows in knn_blocks(self.ready, k):
            yield start, square, rows.cpu().numpy()


def _round(s: Tensor) -> Tensor:
    """Round in place to multiples of 2^-20."""
    return s.mul_(2.0**20).round_().mul_(2.0**-20)


def _prepare(x: Tensor, kind: str, shift: Tensor) -> Tensor:
    """Return unit rows float32 (cosine), centerd rows float64 (rbf, euclidean: no cancellation) or
    rows float32 (dot).
    """
    if kind == "cosine":
        out = torch.empty(x.shape, dtype=torch.float32, device=x.device)
        for start in range(0, len(x), 8192):
            part = x[start : start + 8192].double()
            length = part.norm(dim=1, keepdim=True)
            out[start : start + 8192] = part / torch.where(length > 0, length, 1.0)
        return out
    return x.float().contiguous() if kind == "dot" else x.double() - shift


@compiled
def _inner(
    x: Matrix,
    rows: NDArray[np.int64],
    scale: NDArray[np.float64],
    z: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    for t in range(len(rows)):
        row = x[rows[t]]
        total = 0.0
        for d in range(len(z)):
            total += row[d] * z[d]
        out[t] = scale[t] * total


@compiled
def _squares(x: Matrix, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the squared length of some rows, in float64."""
    out = np.empty(len(rows))
    for t in range(len(rows)):
        row, total = x[rows[t]], 0.0
        for d in range(len(row)):
            total += np.float64(row[d]) * np.float64(row[d])
        out[t] = total
    return out


@compiled
def _weighted(
    x: Matrix, rows: NDArray[np.int64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the weighted sum of some rows, in float64."""
    out = np.zeros(x.shape[1])
    for t in range(len(rows)):
        row, weight = x[rows[t]], scale[t]
        for d in range(len(row)):
            out[d] += weight * row[d]
    return out


class Linear(NamedTuple):
    """A linear kernel s_ij = phi_i . phi_j with phi_i = (scale_i x_i, offset): cosine and dot
    without any matrix and without a copy of the features.

    x (N, D) the whole column, rows (n,) the ground set's positions in it, scale (n,).
    """

    x: Matrix
    rows: NDArray[np.int64]
    scale: NDArray[np.float64]
    offset: float

    @classmethod
    def of(cls, x: Tensor, rows: NDArray[np.int64], kind: str) -> Linear:
        """Return the kernel `cosine` or `dot` of the rows `rows` of `x` (N, D)."""
        array = as_float(x.detach()).cpu().contiguous().numpy()
        if kind == "dot":
            return cls(array, rows, np.ones(len(rows)), 0.0)
        length = np.sqrt(_squares(array, rows))
        scale = np.divide(np.sqrt(0.5), length, out=np.zeros(len(rows)), where=length > 0)
        return cls(array, rows, scale, float(np.sqrt(0.5)))

    def phi(self, item: int) -> NDArray[np.float64]:
        """Return phi of one item, (D + 1,)."""
        return np.append(self.scale[item] * self.x[self.rows[item]].astype(np.float64), self.offset)

    def total(self) -> NDArray[np.float64]:
        """Return the sum of phi over the ground set, (D + 1,)."""
        return np.append(_weighted(self.x, self.rows, self.scale), len(self.rows) * self.offset)

    def inner(self, items: NDArray[np.int64], z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return phi_j . z for each j of `items`, in float64."""
        out = np.empty(len(items))
        _inner(self.x, self.rows[items], self.scale[items], z[:-1], out)
        return np.asarray(out + self.offset * z[-1])

    def squares(self) -> NDArray[np.float64]:
        """Return s_jj of the ground set, (n,)."""
        if self.offset:  # cosine
            return np.where(self.scale > 0, 1.0, 0.5)
        return _squares(self.x, self.rows)
