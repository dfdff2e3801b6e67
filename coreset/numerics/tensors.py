"""From columns to tensors, and the order of scores."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # torch costs four seconds: it is imported by the calls that need it
    from torch import Tensor


def is_tensor(column: Any) -> TypeGuard[Tensor]:
    """Return whether a column is a tensor; torch is not imported to know it.

    >>> is_tensor(np.ones(2))
    False
    """
    return "torch" in sys.modules and isinstance(column, sys.modules["torch"].Tensor)


def as_array(column: Any) -> NDArray[Any]:
    """Return a column as an array on the CPU, without a copy where that is possible.

    >>> as_array([1, 2])
    array([1, 2])
    """
    return column.detach().cpu().numpy() if is_tensor(column) else np.asarray(column)


def as_tensor(column: Any) -> Tensor:
    """Return a column as a tensor without a copy where that is possible: a tensor stays on its
    device, a (memory-mapped) array is shared.
    """
    import torch

    if isinstance(column, torch.Tensor):
        return column.detach()
    array = np.asarray(column)
    if min(array.strides, default=0) < 0 or not array.dtype.isnative:  # what torch cannot share
        array = array.astype(array.dtype.newbyteorder("="), order="C")
    # torch warns about sharing read-only memory; nothing here writes to it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)


def rows(column: Any, indices: NDArray[np.int64]) -> Tensor:
    """Return rows of a column as a tensor on the column's device."""
    import torch

    tensor = as_tensor(column)
    return tensor[torch.from_numpy(indices).to(tensor.device)]


def per_row(
    score: Callable[[Any], Any], column: Any, indices: NDArray[np.int64], block: int = 2**22
) -> NDArray[np.float64]:
    """Return `score` of the rows `indices` of a column, (n,) float64, in blocks of about `block`
    values: no copy of the whole column. `score` gets blocks of the column's own kind, arrays or
    tensors.

    >>> per_row(lambda x: x.sum(1), np.arange(6.0).reshape(3, 2), np.array([2, 0]))
    array([9., 1.])
    """
    values: Any = as_tensor(column) if is_tensor(column) else np.asarray(column)
    step = max(1, block // max(1, math.prod(values.shape[1:])))
    parts = [indices[i : i + step] for i in range(0, len(indices), step)] or [indices]
    return np.concatenate([as_array(score(values[p])).astype(np.float64) for p in parts])


def largest_in_row(x: Any, k: int) -> Any:
    """Return the `k` largest numbers of each row, (n, k) float64, largest first, of an array or a
    tensor (n, C), C >= k.

    >>> largest_in_row(np.array([[0.25, 0.5, 0.125]]), 2)
    array([[0.5 , 0.25]])
    """
    if is_tensor(x):
        return x.double().topk(k, dim=1).values
    return np.sort(np.partition(x.astype(np.float64), -k, axis=1)[:, -k:], axis=1)[:, ::-1]


def as_float(x: Tensor) -> Tensor:
    """Return half precision as float32, leave float32 and float64 as they are."""
    import torch

    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def unit_rows(x: Tensor) -> Tensor:
    """Return the rows of `x` (n, D) at unit length, at any scale; a zero row stays zero. Half
    precision becomes float32.

    As `torch.nn.functional.normalize`, and where the squares of a row overflow or vanish from the
    row scaled by a power of two.

    >>> import torch
    >>> x = torch.tensor([[3e30, 4e30], [0.0, 0.0], [3e-30, 4e-30]])
    >>> unit_rows(x).round(decimals=3).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0], [0.6000000238418579, 0.800000011920929]]
    """
    import torch

    x = as_float(x)
    length = x.norm(dim=1)
    odd = torch.nonzero(~(length >= 1e-12) | ~torch.isfinite(length))[:, 0]
    out = torch.nn.functional.normalize(x, dim=1)
    if len(odd):
        part = x[odd].double()
        most = part.abs().amax(dim=1, keepdim=True) if x.shape[1] else part
        power = torch.frexp(most)[1].double()
        part = part * torch.exp2(-(power / 2).floor()) * torch.exp2(-(power - (power / 2).floor()))
        out[odd] = torch.nn.functional.normalize(part, dim=1).to(x.dtype)
    return out


def products(a: Tensor, b: Tensor) -> Tensor:
    """Return a @ b.T, (n, m) for rows (n, D) and (m, D). On a CPU by numpy, whose float32 product
    is no slower than torch's and never set to less precision.

    >>> import torch
    >>> products(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0]])).tolist()
    [[11.0, 2.0]]
    """
    import torch

    return torch.from_numpy(a.numpy() @ b.numpy().T) if a.device.type == "cpu" else a @ b.T


def top_k(scores: NDArray[np.floating[Any]], k: int) -> NDArray[np.int64]:
    """Return the positions of the `k` largest scores, largest first, ties to the lowest position;
    O(n + k log k).

    >>> top_k(np.array([1.0, 3.0, 3.0, 2.0]), 3)
    array([1, 2, 3])
    """
    if k < len(scores):
        threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
        above = np.flatnonzero(scores > threshold)
        keep = np.sort(
            np.concatenate([above, np.flatnonzero(scores == threshold)[: k - len(above)]])
        )
    else:
        keep = np.arange(len(scores))
    return keep[np.argsort(-scores[keep], kind="stable")].astype(np.int64)
