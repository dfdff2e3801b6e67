"""Last-layer gradients as two factors: residual ⊗ [feature, 1], never written out.

With cross-entropy and a linear last layer, the gradient of example i is r_i ⊗ [h_i, 1], r = p -
onehot(y), so that <g_i, g_j> = (r_i · r_j)(h_i · h_j + 1): C + D numbers per example stand for C (D
+ 1). Every example is scored by itself, so no batch size enters (a loss averaged over a scoring
batch would scale it).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset.core.pool import Indices
from coreset.core.signals import Signals
from coreset.numerics.tensors import as_float, as_tensor, products, rows

# below this share of the two squared norms a float32 distance is mostly rounding: taken again in
# float64
_CLOSE = 1e-3
_SAME = 1e-12  # below this share a float64 distance is rounding: the gradients are equal


def _squares(x: Tensor) -> Tensor:
    """Return the squared length of each row in float64, in blocks that stay in the cache."""
    out = [
        (
            part.double().square_().sum(dim=1)
            if part.dtype != torch.float64
            else part.square().sum(dim=1)
        )
        for part in torch.split(x, 256)
    ]
    return torch.cat(out)


@dataclass(frozen=True, eq=False)
class LastLayerGradients:
    """Gradients of n examples: residual (n, C), features (n, D), bias: the layer has one (a
    constant feature 1), squared_norms (n,) = ||r||² (||h||² + bias).

    >>> g = LastLayerGradients(
    ...     torch.tensor([[1.0, -1.0], [0.5, -0.5]]), torch.tensor([[2.0], [0.0]])
    ... )
    >>> g.inner(g).tolist()
    [[10.0, 1.0], [1.0, 0.5]]
    """

    residual: Tensor
    features: Tensor
    bias: bool = True
    squared_norms: Tensor = field(default_factory=lambda: torch.empty(0))

    def __post_init__(self) -> None:
        if len(self.residual) != len(self.features):
            raise ValueError(
                f"features: expected {len(self.residual)} rows, one per residual, got shape"
                f" {tuple(self.features.shape)}"
            )
        if len(self.squared_norms) != len(self):
            norms = _squares(self.residual) * (_squares(self.features) + self.bias)
            object.__setattr__(self, "squared_norms", norms)

    def __len__(self) -> int:
        return len(self.residual)

    @property
    def shape(self) -> tuple[int, int]:
        """Classes and features."""
        return self.residual.shape[1], self.features.shape[1]

    def at(self, index: Indices | slice) -> LastLayerGradients:
        """Return the gradients of some of the examples (a slice shares memory, positions copy)."""
        i = index if isinstance(index, slice) else torch.from_numpy(index).to(self.residual.device)
        return LastLayerGradients(
            self.residual[i], self.features[i], self.bias, self.squared_norms[i]
        )

    def blocks(self, size: int) -> Iterator[tuple[slice, LastLayerGradients]]:
        """Yield the examples in order, `size` at a time."""
        for start in range(0, len(self), max(1, size)):
            part = slice(start, start + max(1, size))
            yield part, self.at(part)

    def double(self) -> LastLayerGradients:
        """Return a float64 copy."""
        return LastLayerGradients(
            self.residual.double(), self.features.double(), self.bias, self.squared_norms
        )

    def inner(self, other: LastLayerGradients) -> Tensor:
        """Return <g_i, g_j>, (n, m), in the precision of the factors."""
        feature = products(self.features, other.features)
        a, b = self.residual, other.residual
        # probabilities in less would leave equal gradients apart
        if feature.dtype == torch.float64:
            a, b = a.double(), b.double()
        return (feature.add_(1) if self.bias else feature).mul_(products(a, b))

    def squared_distances(self, other: LastLayerGradients) -> Tensor:
        """Return ||g_i - g_j||², (n, m): zero for equal gradients, and from float64 where float32
        would be mostly rounding.
        """
        distance = self.inner(other).mul_(-2)
        a, b = self.squared_norms, other.squared_norms
        near = a.to(distance.dtype)[:, None] + b.to(distance.dtype)
        distance += near
        if distance.dtype == torch.float64:
            return distance.masked_fill_(distance < _SAME * near, 0)
        close = distance < near.mul_(_CLOSE)
        i, j = torch.nonzero(close, as_tuple=True)
        # many: one product in float64 costs less than picking them out
        if 16 * len(i) > distance.numel():
            exact = (a[:, None] + b).sub_(self.double().inner(other.double()), alpha=2)
            exact.masked_fill_(exact < _SAME * (a[:, None] + b), 0)
            return torch.where(close, exact.to(distance.dtype), distance)
        step = max(1, 2**21 // max(1, self.features.shape[1]))
        for i_, j_ in zip(torch.split(i, step), torch.split(j, step), strict=True):
            feature = (self.features[i_].double() * other.features[j_]).sum(dim=1) + self.bias
            inner = feature * (self.residual[i_].double() * other.residual[j_]).sum(dim=1)
            exact = a[i_] + b[j_] - 2 * inner
            distance[i_, j_] = exact.masked_fill_(exact < _SAME * (a[i_] + b[j_]), 0).to(
                distance.dtype
            )
        return distance

    def total(self, weights: Tensor | None = None) -> Tensor:
        """Return Σ w_i g_i as one (C, D + bias) float64 matrix; weights (n,), default 1."""
        classes, dim = self.shape
        out = torch.zeros(
            (classes, dim + self.bias), dtype=torch.float64, device=self.squared_norms.device
        )
        for part, g in self.blocks(8192):
            r = (
                g.residual.double()
                if weights is None
                else g.residual.double() * weights[part, None]
            )
            out[:, :dim] += r.T @ g.features.double()
            if self.bias:
                out[:, -1] += r.sum(dim=0)
        return out

    def along(self, direction: Tensor) -> Tensor:
        """Return <g_i, direction>, (n,), in the precision of the factors; direction (C, D + bias)
        as from `total`.
        """
        w = direction.to(self.features.dtype)
        projected = self.features @ w[:, : self.features.shape[1]].T
        if self.bias:
            projected += w[:, -1]
        return (projected * self.residual).sum(dim=1)


class ColumnGradients(LastLayerGradients):
    """The same for rows of two columns: residuals are made when asked for, so that those of all
    examples are never held unless somebody wants them all.
    """

    def __init__(
        self, probs: Tensor, features: Tensor, positions: Indices, labels: Tensor, bias: bool
    ) -> None:
        own = {
            "probs": probs,
            "columns": features,
            "positions": positions,
            "labels": labels,
            "bias": bias,
        }
        for name, value in own.items():
            object.__setattr__(self, name, value)
        norms = [_squares(g.residual) * (_squares(g.features) + bias) for _, g in self.blocks(8192)]
        object.__setattr__(
            self,
            "squared_norms",
            torch.cat(norms) if norms else torch.empty(0, dtype=torch.float64),
        )

    probs: Tensor
    columns: Tensor
    positions: Indices
    labels: Tensor

    def __len__(self) -> int:
        return len(self.positions)

    def _residual_and_features(self, index: Indices | slice) -> tuple[Tensor, Tensor]:
        at = self.positions[index]
        labels = self.labels[
            index if isinstance(index, slice) else torch.from_numpy(index).to(self.labels.device)
        ]
        # features without a copy
        if isinstance(index, slice) and len(at) and (np.diff(at) == 1).all():
            run = slice(int(at[0]), int(at[-1]) + 1)
            residual, features = as_float(self.probs[run]).clone(), as_float(self.columns[run])
        else:
            residual, features = as_float(rows(self.probs, at)), as_float(rows(self.columns, at))
        residual[torch.arange(len(residual), device=residual.device), labels] -= 1
        return residual, features.to(residual.device)

    @cached_property
    def residual(self) -> Tensor:
        """Residuals of all examples, (n, C)."""
        return self._residual_and_features(slice(None))[0]

    @cached_property
    def features(self) -> Tensor:
        """Features of all examples, (n, D); no copy where they are the whole column."""
        whole = len(self) == len(self.columns) and bool((np.diff(self.positions) == 1).all())
        return as_float(self.columns if whole else rows(self.columns, self.positions)).to(
            self.probs.device
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Classes and features."""
        return self.probs.shape[1], self.columns.shape[1]

    def at(self, index: Indices | slice) -> LastLayerGradients:
        """Return the gradients of some of the examples."""
        residual, features = self._residual_and_features(index)
        known = self.__dict__.get("squared_norms")
        i = index if isinstance(index, slice) else torch.from_numpy(index).to(residual.device)
        return LastLayerGradients(
            residual, features, self.bias, torch.empty(0) if known is None else known[i]
        )


def last_layer_gradients(
    signals: Signals, positions: Indices, hypothesised: bool = False, bias: bool = True
) -> LastLayerGradients:
    """Return the gradients at `positions` from the columns `features`, `probs` and, unless
    `hypothesised`, `labels`.

    hypothesised: the likeliest class stands for the label (BADGE). Raises ValueError when a label
    is unknown (-1) or no class of `probs`.
    """
    probs = as_tensor(signals.column("probs"))
    if hypothesised:
        parts = [
            rows(probs, positions[i : i + 8192]).argmax(dim=1)
            for i in range(0, len(positions), 8192)
        ]
        labels = torch.cat(parts) if parts else torch.empty(0, dtype=torch.int64)
    else:
        labels = known_labels(signals, positions, probs.shape[1]).to(probs.device)
    return ColumnGradients(probs, as_tensor(signals.column("features")), positions, labels, bias)


def column_gradients(signals: Signals, positions: Indices) -> LastLayerGradients:
    """Return the gradients at `positions` from the column `gradients` (N, P), a flat gradient per
    example.

    Raises ValueError for a column of another shape or kind.

    >>> g = column_gradients(
    ...     Signals(2, gradients=np.array([[3.0, 4.0], [1.0, 0.0]])), np.array([0, 1])
    ... )
    >>> g.squared_norms.tolist()
    [25.0, 1.0]
    """
    column = as_tensor(signals.column("gradients"))
    if column.ndim != 2 or not column.is_floating_point():
        raise ValueError(
            "gradients: expected floating-point values of shape (N, P), one gradient per example, "
            f"got {column.dtype} with shape {tuple(column.shape)}"
        )
    x = as_float(rows(column, positions))
    return LastLayerGradients(x.new_ones(len(x), 1), x, bias=False)


def known_labels(signals: Signals, positions: Indices, classes: int) -> Tensor:
    """Return `labels` at `positions`, (n,) int64. Raises ValueError when one is unknown or outside
    0 ... classes - 1.
    """
    labels = rows(signals.column("labels"), positions).long()
    wrong = torch.nonzero((labels < 0) | (labels >= classes)).ravel()
    if len(wrong):
        first = int(positions[int(wrong[0])])
        raise ValueError(
            f"labels: this strategy reads the true labels, but {len(wrong)} of {len(labels)} are"
            f" unknown (-1) or outside 0 to {classes - 1}, first position {first}"
        )
    return labels


def most_along(g: LastLayerGradients, near: Indices, direction: Tensor) -> int:
    """Return which of the rows `near`, ascending, has the largest <g_i, direction> in float64; what
    rounding cannot tell apart goes to the lowest.

    >>> g = LastLayerGradients(torch.tensor([[1.0], [2.0], [2.0]]), torch.ones(3, 1), bias=False)
    >>> most_along(g, np.array([0, 1, 2]), torch.ones(1, 1))
    1
    """
    if len(near) > 1:
        part = g.at(near).double()
        value = part.along(direction)
        rounding = 2.0**-52 * sum(g.shape) * direction.double().norm() * part.squared_norms.sqrt()
        near = near[(value + rounding >= (value - rounding).max()).cpu().numpy()]
    return int(near[0])


def cancels(total: Tensor, norms: NDArray[np.float64]) -> bool:
    """Return whether a sum of gradients is zero but for rounding; norms (n,): their squared
    lengths.

    >>> (
    ...     cancels(torch.tensor([[1e-17]]), np.array([1.0, 1.0])),
    ...     cancels(torch.tensor([[0.1]]), np.array([1.0, 1.0])),
    ... )
    (True, False)
    """
    return float(total.norm()) <= 1e-12 * float(np.sqrt(norms).sum())


def matching_error(
    gradients: LastLayerGradients,
    picks: NDArray[np.int64],
    weights: NDArray[np.float64],
    target: Tensor | None = None,
) -> float:
    """Return ||Σ w_j g_j - T|| / ||T||, with T the `target`, by default Σ g_i: how far the weighted
    choice is from it; infinite when T is zero and the sum is not.

    What is below rounding, 1e-12 of the summed lengths, counts as zero.

    >>> g = LastLayerGradients(torch.ones(4, 1), torch.ones(4, 1))
    >>> matching_error(g, np.array([2]), np.array([3.0]))
    0.25
    """
    full = gradients.total() if target is None else target
    chosen = gradients.at(picks)
    gap = float((chosen.total(torch.from_numpy(weights).to(full.device)) - full).norm())
    norms = gradients.squared_norms.cpu().numpy()
    if not cancels(full, norms):
        return gap / float(full.norm())
    return 0.0 if gap <= 1e-12 * float(np.sqrt(norms).sum()) else float("inf")
