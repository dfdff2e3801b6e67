"""Euclidean distances at the speed of matrix products, with answers that are exactly those of
float64.

A float32 product gives every squared distance up to a proven error; where the error leaves a
comparison open, the distance is computed again from differences in float64. So the answer depends
neither on the number of threads nor on the matrix library.

The bound. Rows are centerd and scaled by a power of two, a = s (x - mean), and rounded to float32
(unit u = 2^-24). With S = |a_i| + |a_j|: rounding moves the squared distance by at most 2.01 u S^2;
the inner product, in any order of summation, by at most D u |a_i||a_j| (Higham, "Accuracy and
Stability of Numerical Algorithms", section 3.1), the norms by u S^2 and the three additions by 3 u
S^2 together; `error_unit` covers the sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coreset.numerics.compiled import compiled
from coreset.numerics.tensors import as_float, products

if TYPE_CHECKING:
    from torch import Tensor

Float = NDArray[np.floating[Any]]


@compiled
def square_distance(a: Float, b: Float) -> float:
    """Return |a - b|^2 in float64, from differences of two rows (D,)."""
    total = 0.0
    for d in range(len(a)):
        difference = np.float64(a[d]) - np.float64(b[d])
        total += difference * difference
    return total


@compiled
def _center(x: Float, mean: Float) -> float:
    """Add the mean row of `x` to `mean` and return the largest squared distance from it."""
    for i in range(len(x)):
        for d in range(x.shape[1]):
            mean[d] += np.float64(x[i, d])
    for d in range(x.shape[1]):
        mean[d] /= max(1, len(x))
    largest = 0.0
    for i in range(len(x)):
        largest = max(largest, square_distance(x[i], mean))
    return largest


def error_unit(dim: int) -> float:
    """Return e such that a product's squared distance is off by at most e (|a_i| + |a_j|)^2, in the
    scaled units of `Frame`.
    """
    return float((dim + 8) * 1.01 * 2.0**-24)


def exact_rows(x: Tensor) -> Float:
    """Return a CPU tensor as a C-contiguous float32 or float64 array: without a copy unless it is
    half precision or strided.
    """
    return as_float(x.detach()).contiguous().numpy()


@dataclass(frozen=True, eq=False)
class Frame:
    """A shift and a scale that make float32 safe: mean (D,) float64, and scale, a power of two that
    puts every row of `x` inside the unit ball.
    """

    mean: Tensor
    scale: float

    @classmethod
    def of(cls, x: Tensor, block: int = 8192) -> Frame:
        """Return the frame of the rows of `x` (N, D); O(block) memory beside x."""
        import torch

        mean = torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
        if x.device.type == "cpu":
            largest = float(np.sqrt(_center(exact_rows(x), mean.numpy())))
        else:
            mean = torch.stack([part.double().sum(dim=0) for part in torch.split(x, block)]).sum(
                dim=0
            ) / max(1, len(x))
            largest = max(
                float((part.double() - mean).norm(dim=1).max()) for part in torch.split(x, block)
            )
        return cls(mean, float(2.0 ** -np.ceil(np.log2(largest))) if largest > 0 else 1.0)

    def reaching(self, queries: Tensor, block: int = 8192) -> Frame:
        """Return a frame in which queries (Q, D) far outside the unit ball have finite lengths: the
        frame itself unless one of them lies more than 2^20 away.
        """
        import torch

        longest = max(
            (
                float((part.double() - self.mean).norm(dim=1).max())
                for part in torch.split(queries, block)
                if len(part)
            ),
            default=0.0,
        )
        far = longest * self.scale
        return (
            self if far <= 2.0**20 else Frame(self.mean, float(2.0 ** -np.ceil(np.log2(longest))))
        )

    def rows(self, x: Tensor, block: int = 8192) -> tuple[Tensor, Tensor]:
        """Return the centerd, scaled rows (N, D) float32 and their lengths (N,) float64."""
        import torch

        out = torch.empty(x.shape, dtype=torch.float32, device=x.device)
        length = torch.empty(len(x), dtype=torch.float64, device=x.device)
        for start in range(0, len(x), block):
            part = slice(start, start + block)
            out[part] = ((x[part].double() - self.mean) * self.scale).float()
            length[part] = out[part].double().norm(dim=1)
        return out, length


def float32_products(a: Tensor, b: Tensor) -> Tensor:
    """Return a @ b.T in true float32: torch's own product may be set to less
    (`set_float32_matmul_precision`), numpy's never is.

    Raises ValueError on a GPU where TensorFloat-32 is switched on, because the error bounds would
    not hold.
    """
    if a.device.type == "cpu":
        return products(a, b)
    import torch

    probe = torch.full((16, 16), 1 + 2.0**-12, device=a.device) * torch.eye(16, device=a.device)
    if float((probe @ torch.eye(16, device=a.device))[0, 0]) == 1:
        raise ValueError(
            "features: exact distances on a GPU need full float32 products; call"
            " torch.set_float32_matmul_precision('highest')"
        )
    return a @ b.T
