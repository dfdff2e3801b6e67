"""What follows a convolution in a ConvNet, norm of each map, ReLU and 2 x 2 average pooling, as one
pass over the map on a CPU.

The same function as torch's three layers, once differentiable. A map is read while it is in the
cache, and neither the normalized map nor what ReLU lets through is stored.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from coreset.numerics.compiled import compiled

Floats = NDArray[np.float32]


@compiled
def _forward(
    x: Floats, weight: Floats, bias: Floats, eps: float, out: Floats, moments: Floats
) -> None:
    """Fill out (B, C, H // 2, W // 2) and moments (B, C, 2), the mean and one over the deviation of
    each map of x (B, C, H, W).
    """
    b, c, h, w = x.shape
    row = np.empty(w, np.float32)
    for n in range(b):
        for k in range(c):
            total = np.float32(0)
            for i in range(h):
                for j in range(w):
                    total += x[n, k, i, j]
            mean = np.float32(total / (h * w))
            total = np.float32(0)
            for i in range(h):
                for j in range(w):
                    gap = x[n, k, i, j] - mean
                    total += gap * gap
            rate = np.float32(1 / np.sqrt(total / (h * w) + eps))
            moments[n, k, 0], moments[n, k, 1] = mean, rate
            slope = weight[k] * rate
            shift = bias[k] - mean * slope
            for i in range(h // 2):
                for j in range(w):
                    upper, lower = (
                        x[n, k, 2 * i, j] * slope + shift,
                        x[n, k, 2 * i + 1, j] * slope + shift,
                    )
                    upper = np.float32(0) if upper <= 0 else upper  # NaN passes, as in torch
                    lower = np.float32(0) if lower <= 0 else lower
                    row[j] = upper + lower
                for j in range(w // 2):
                    out[n, k, i, j] = np.float32(0.25) * (row[2 * j] + row[2 * j + 1])


@compiled
def _backward(
    x: Floats, weight: Floats, bias: Floats, moments: Floats, given: Floats,
    by_x: Floats, by_weight: Floats, by_bias: Floats,
) -> None:  # fmt: skip
    """Fill the slopes by x, weight and bias from those by the output; by_weight and by_bias begin
    at zero.
    """
    b, c, h, w = x.shape
    count = np.float32(h * w)
    row = np.zeros(w, np.float32)
    for n in range(b):
        for k in range(c):
            mean, rate = moments[n, k, 0], moments[n, k, 1]
            slope = weight[k] * rate
            shift = bias[k] - mean * slope
            first, second = np.float32(0), np.float32(0)
            for i in range(h):
                inside = i < h // 2 * 2  # an odd last row or column is not pooled
                for j in range(w // 2):
                    value = np.float32(0.25) * given[n, k, i // 2, j] if inside else np.float32(0)
                    row[2 * j] = value
                    row[2 * j + 1] = value
                for j in range(w):
                    passed = np.float32(0) if x[n, k, i, j] * slope + shift <= 0 else row[j]
                    by_x[n, k, i, j] = passed
                    first += passed
                    second += passed * (x[n, k, i, j] - mean)
            second *= rate
            by_weight[k] += second
            by_bias[k] += first
            middle, tilt = first / count, second / count * rate
            for i in range(h):
                for j in range(w):
                    by_x[n, k, i, j] = slope * (
                        by_x[n, k, i, j] - middle - (x[n, k, i, j] - mean) * tilt
                    )


class _NormPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        x = x.contiguous()
        b, c, h, w = x.shape
        out, moments = x.new_empty(b, c, h // 2, w // 2), x.new_empty(b, c, 2)
        _forward(
            x.detach().numpy(),
            weight.detach().numpy(),
            bias.detach().numpy(),
            eps,
            out.numpy(),
            moments.numpy(),
        )
        ctx.save_for_backward(x, weight, bias, moments)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, bias, moments = ctx.saved_tensors
        slopes = torch.empty_like(x), torch.zeros_like(weight), torch.zeros_like(bias)
        known = (t.detach().numpy() for t in (x, weight, bias, moments, given.contiguous()))
        _backward(*known, *(t.numpy() for t in slopes))
        return *slopes, None


def norm_pool(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """Return maps x (B, C, H, W), float32 on a CPU, each normalized, scaled by weight and bias
    (C,), cut off at 0 and pooled 2 x 2: (B, C, H // 2, W // 2).

    >>> x = torch.tensor([[[[0.0, 2.0], [0.0, 2.0]]]])
    >>> norm_pool(x, torch.ones(1), torch.zeros(1)).round(decimals=3).item()
    0.5
    """
    return cast(Tensor, _NormPool.apply(x, weight, bias, eps))
