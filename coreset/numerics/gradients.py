"""Last-layer gradients as two factors: residual ⊗ [feature, 1], never written out.

With cross-entropy and a linear last layer, the gradient of example i is r_i ⊗ [h_i, 1], r = p - onehot(y), so that <g_i, g_j> = (r_i · r_j)(h_i ·
h_j + 1): C + D numbers per example stand for C (D + 1). Every example is scored by itself, so no batch size enters (a loss averaged over a scoring
batch would scale it).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset.numerics.tensors import as_float, as_tensor, products, rows
from coreset.types import Indices, Signals

_CLOSE = 1e-3  # below this share of the two squared norms a float32 distance is mostly rounding: taken again in float64
_SAME = 1e-12  # below this share a float64 distance is rounding: the gradients are equal


def _squares(x: Tensor) -> Tensor:
    """Return the squared length of each row in float64, in blocks that stay in the cache."""
    out = [
        part.double().square_().sum(dim=1) if part.dtype != torch.float64 else part.square().sum(dim=1)
        for part in torch.split(x, 256)
    ]
    return torch.cat(out)


@dataclass(frozen=True, eq=False)
class LastLayerGradients:
    """Gradients of n examples: residual (n, C), features (n, D), bias: the layer has one (a constant feature 1), squared_norms (n,) = ||r||² (||h||² + bias).

    >>> g = LastLayerGradients(torch.tensor([[1.0, -1.0], [0.5, -0.5]]), torch.tensor([[2.0], [0.0]]))
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
                f"features: expected {len(self.residual)} rows, one per residual, got shape {tuple(self.features.shape)}"
            )
        if len(self.squared_norms) != len(self):
            norms = _squares(self.residual) * (_squares(self.features) + self.bias)
            object.__setattr__(self, "squared_norms", norms)

    def __len__(self) -> int:
        return len(self.residual)

    def at(self, index: Indices | slice) -> LastLayerGradients:
        """Return the gradients of some of the examples (a slice shares memory, positions copy)."""
        i = index if isinstance(index, slice) else torch.from_numpy(index).to(self.residual.device)
        return LastLayerGradients(self.residual[i], self.features[i], self.bias, self.squared_norms[i])

    def blocks(self, size: int) -> Iterator[tuple[slice, LastLayerGradients]]:
        """Yield the examples in order, `size` at a time."""
        for start in range(0, len(self), max(1, size)):
            part = slice(start, start + max(1, size))
            yield part, self.at(part)

    def double(self) -> LastLayerGradients:
        """Return a float64 copy."""
        return LastLayerGradients(self.residual.double(), self.features.double(), self.bias, self.squared_norms)

    def inner(self, other: LastLayerGradients) -> Tensor:
        """Return <g_i, g_j>, (n, m), in the precision of the factors."""
        feature = products(self.features, other.features)
        return (feature.add_(1) if self.bias else feature).mul_(products(self.residual, other.residual))

    def squared_distances(self, other: LastLayerGradients) -> Tensor:
        """Return ||g_i - g_j||², (n, m): zero for equal gradients, and from float64 where float32 would be mostly rounding."""
        distance = self.inner(other).mul_(-2)
        a, b = self.squared_norms, other.squared_norms
        near = a.to(distance.dtype)[:, None] + b.to(distance.dtype)
        distance += near
        if distance.dtype == torch.float64:
            return distance.masked_fill_(distance < _SAME * near, 0)
        close = distance < near.mul_(_CLOSE)
        i, j = torch.nonzero(close, as_tuple=True)
        if 16 * len(i) > distance.numel():  # many: one product in float64 costs less than picking them out
            exact = (a[:, None] + b).sub_(self.double().inner(other.double()), alpha=2)
            exact.masked_fill_(exact < _SAME * (a[:, None] + b), 0)
            return torch.where(close, exact.to(distance.dtype), distance)
        step = max(1, 2**21 // max(1, self.features.shape[1]))
        for i_, j_ in zip(torch.split(i, step), torch.split(j, step), strict=True):
            feature = (self.features[i_].double() * other.features[j_]).sum(dim=1) + self.bias
            inner = feature * (self.residual[i_].double() * other.residual[j_]).sum(dim=1)
            exact = a[i_] + b[j_] - 2 * inner
            distance[i_, j_] = exact.masked_fill_(exact < _SAME * (a[i_] + b[j_]), 0).to(distance.dtype)
        return distance

    def total(self, weights: Tensor | None = None) -> Tensor:
        """Return Σ w_i g_i as one (C, D + bias) float64 matrix; weights (n,), default 1."""
        size = (self.residual.shape[1], self.features.shape[1] + self.bias)
        out = torch.zeros(size, dtype=torch.float64, device=self.residual.device)
        for part, g in self.blocks(8192):
            r = g.residual.double() if weights is None else g.residual.double() * weights[part, None]
            out[:, : self.features.shape[1]] += r.T @ g.features.double()
            if self.bias:
                out[:, -1] += r.sum(dim=0)
        return out

    def along(self, direction: Tensor) -> Tensor:
        """Return <g_i, direction>, (n,), in the precision of the factors; direction (C, D + bias) as from `total`."""
        w = direction.to(self.features.dtype)
        projected = self.features @ w[:, : self.features.shape[1]].T
        if self.bias:
            projected += w[:, -1]
        return (projected * self.residual).sum(dim=1)


def last_layer_gradients(
    signals: Signals, positions: Indices, hypothesised: bool = False, bias: bool = True
) -> LastLayerGradients:
    """Return the gradients at `positions` from the columns `features`, `probs` and, unless `hypothesised`, `labels`.

    hypothesised: the likeliest class stands for the label (BADGE). Raises ValueError when a label is unknown (-1) or no class of `probs`.
    """
    probs = as_float(rows(signals.column("probs"), positions))
    labels = probs.argmax(dim=1) if hypothesised else known_labels(signals, positions, probs.shape[1]).to(probs.device)
    residual = probs.clone()
    residual[torch.arange(len(residual), device=residual.device), labels] -= 1
    features = signals.column("features")
    whole = len(positions) == signals.size and bool((np.diff(positions) == 1).all())
    h = as_float(as_tensor(features) if whole else rows(features, positions))
    return LastLayerGradients(residual, h.to(residual.device), bias)


def known_labels(signals: Signals, positions: Indices, classes: int) -> Tensor:
    """Return `labels` at `positions`, (n,) int64. Raises ValueError when one is unknown or outside 0 ... classes - 1."""
    labels = rows(signals.column("labels"), positions).long()
    wrong = torch.nonzero((labels < 0) | (labels >= classes)).ravel()
    if len(wrong):
        first = int(positions[int(wrong[0])])
        raise ValueError(
            f"labels: this strategy reads the true labels, but {len(wrong)} of {len(labels)} are unknown (-1) or outside 0 to {classes - 1}, "
            f"first position {first}"
        )
    return labels


def matching_error(gradients: LastLayerGradients, picks: NDArray[np.int64], weights: NDArray[np.float64]) -> float:
    """Return ||Σ w_j g_j - Σ g_i|| / ||Σ g_i||: how far the weighted choice is from the full gradient; infinite when that is zero and the other is not.

    >>> g = LastLayerGradients(torch.ones(4, 1), torch.ones(4, 1))
    >>> matching_error(g, np.array([2]), np.array([3.0]))
    0.25
    """
    full = gradients.total()
    chosen = gradients.at(picks)
    gap = float((chosen.total(torch.from_numpy(weights).to(full.device)) - full).norm())
    size = float(full.norm())
    return gap / size if size > 0 else (0.0 if gap == 0 else float("inf"))
