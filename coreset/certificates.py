"""Certificates: numbers that say how well a choice stands for the pool, whatever strategy made it.

Cover radius: Gonzalez, 1985; Sener & Savarese, ICLR 2018 (arXiv:1708.00489). Facility value: the
objective of facility location. Kernel discrepancy: Gretton et al., "A Kernel Two-Sample Test", JMLR
2012 (squared MMD). Matching error: Killamsetty et al., GRAD-MATCH, ICML 2021 (arXiv:2103.00123).
All in float64, in blocks: memory beside the columns is O(N), and one copy of the chosen rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset.core.pool import Indices, Pool
from coreset.core.selection import Selection
from coreset.core.signals import Signals, check_column
from coreset.numerics.gradients import last_layer_gradients, matching_error
from coreset.numerics.neighbors.farthest import farthest_first
from coreset.numerics.tensors import as_tensor, rows

# multiplications, about a second on one core: what the loops and coreset-select spend on one
# certificate
CHEAP = 1e10
_BLOCK = 2**20  # numbers held at a time: 8 MB


def cover_radius(x: Tensor, chosen: Indices) -> float:
    """Return the largest Euclidean distance of a row of `x` (n, D) to the nearest of the rows
    `chosen` (m,).

    >>> cover_radius(torch.tensor([[0.0], [1.0], [5.0]]), np.array([1]))
    4.0
    """
    others = np.setdiff1d(np.arange(len(x)), chosen)
    if not len(others):
        return 0.0
    centers, left = (torch.from_numpy(at).to(x.device) for at in (chosen, others))
    return float(farthest_first(x, 0, centers, left)[2])


def facility_value(x: Tensor, chosen: Indices) -> float:
    """Return the mean over the rows of `x` (n, D) of the largest similarity 1/2 + 1/2 cosine to one
    of the rows `chosen` (m,), in [0, 1].

    A row of zeros is at 1/2 to everything, itself as well.

    >>> facility_value(torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), np.array([0]))
    0.6666666666666666
    """

    def unit(block: Tensor) -> Tensor:
        block = block.double()
        length = block.norm(dim=1, keepdim=True)
        return block / torch.where(length > 0, length, 1.0)

    best, stand = 0.0, unit(x[torch.from_numpy(chosen).to(x.device)]).T
    for block in torch.split(x, max(1, _BLOCK // len(chosen))):
        best += float((unit(block) @ stand).amax(dim=1).sum())
    return 0.5 + 0.5 * best / len(x)


def kernel_discrepancy(
    x: Tensor,
    chosen: Indices,
    weights: NDArray[np.float64] | None = None,
    gamma: float | None = None,
) -> float:
    """Return the squared maximum mean discrepancy between the rows of `x` (n, D) and the rows
    `chosen` (m,), under exp(-gamma |x - y|^2); 0 = no difference.

    weights (m,): of the chosen, scaled to sum to one (default: equal). gamma: 1 / (mean squared
    distance between the rows), unless given. Time O(n^2 D).

    >>> x = torch.tensor([[0.0], [1.0], [0.0], [1.0]])
    >>> (
    ...     round(kernel_discrepancy(x, np.array([0, 1])), 9),
    ...     kernel_discrepancy(x, np.array([0, 2]), gamma=1.0) > 0.3,
    ... )
    (0.0, True)
    """
    mean = torch.stack([p.double().sum(dim=0) for p in torch.split(x, 8192)]).sum(dim=0) / len(x)
    square = torch.cat([(p.double() - mean).square().sum(dim=1) for p in torch.split(x, 8192)])
    if gamma is None:
        spread = 2 * float(square.mean())
        gamma = 1 / spread if spread > 0 else 1.0
    share = np.full(len(chosen), 1.0) if weights is None else weights
    signed = torch.full((len(x),), 1 / len(x), dtype=torch.float64, device=x.device)
    signed[torch.from_numpy(chosen).to(x.device)] -= torch.from_numpy(share / share.sum()).to(
        x.device
    )
    total, step = 0.0, max(1, int(_BLOCK**0.5))
    for i in range(0, len(x), step):
        a = x[i : i + step].double() - mean
        for j in range(i, len(x), step):  # each pair of blocks once: the kernel is symmetric
            b = a if i == j else x[j : j + step].double() - mean
            distance = (
                square[i : i + step, None] + square[j : j + step] - 2 * (a @ b.T)
            ).clamp_min_(0)
            part = float(signed[i : i + step] @ distance.mul_(-gamma).exp_() @ signed[j : j + step])
            total += part if i == j else 2 * part
    return max(0.0, total)


def class_shares(labels: NDArray[np.int64]) -> dict[int, float]:
    """Return the share of each class among `labels` (m,).

    >>> class_shares(np.array([3, 0, 3, 3]))
    {0: 0.25, 3: 0.75}
    """
    names, counts = np.unique(labels, return_counts=True)
    return {
        int(name): float(count / counts.sum()) for name, count in zip(names, counts, strict=True)
    }


def class_gap(some: Mapping[int, float], other: Mapping[int, float]) -> float:
    """Return the total variation distance of two sets of class shares, in [0, 1]: what part would
    have to change class.

    >>> class_gap({0: 0.25, 3: 0.75}, {0: 0.5, 1: 0.5})
    0.75
    """
    return 0.5 * sum(abs(some.get(c, 0.0) - other.get(c, 0.0)) for c in {*some, *other})


def certificates(
    pool: Pool, signals: Signals, chosen: Selection, limit: float = float("inf")
) -> dict[str, Any]:
    """Return what can be said of `chosen` from the columns that are there; what takes more than
    `limit` multiplications is left out.

    - `cover_radius`, `facility_value`, `kernel_discrepancy` (from `features`): everything that is
      taken (selected and chosen) against everything there is (these and the candidates). Weights
      count for the discrepancy where nothing was selected before.
    - `matching_error` (from `features`, `probs`, `labels`): the weighted gradient of the chosen
      against that of the candidates, relative; equal weights when it has none.
    - `class_shares` (from `labels`, by class) of everything taken, and `class_gap` to everything
      there is, each where all these labels are known.

    A column that is unknown or not finite at a row that counts gives no certificate.
    """
    return (
        _of_features(pool, signals, chosen, limit)
        | _of_gradients(pool, signals, chosen, limit)
        | _of_labels(pool, signals, chosen)
    )


def _of_features(pool: Pool, signals: Signals, chosen: Selection, limit: float) -> dict[str, Any]:
    everything = np.sort(np.concatenate([pool.selected, pool.candidates]))
    if not _known(signals, "features", everything):
        return {}
    column = signals.column("features")
    x = as_tensor(column) if len(everything) == signals.size else rows(column, everything)
    at = np.searchsorted(everything, np.concatenate([pool.selected, chosen.indices]))
    out = {}
    if x.numel() * len(at) <= limit:
        out = {"cover_radius": cover_radius(x, at), "facility_value": facility_value(x, at)}
    if x.numel() * len(x) <= limit:
        out["kernel_discrepancy"] = kernel_discrepancy(
            x, at, None if len(pool.selected) else chosen.weights
        )
    return out


def _of_gradients(pool: Pool, signals: Signals, chosen: Selection, limit: float) -> dict[str, Any]:
    if not all(_known(signals, name, pool.candidates) for name in ("features", "probs", "labels")):
        return {}
    n, classes = len(pool.candidates), int(signals.column("probs").shape[1])
    labels = rows(signals.column("labels"), pool.candidates)
    if n * classes * signals.column("features").shape[1] > limit or bool(
        ((labels < 0) | (labels >= classes)).any()
    ):
        return {}
    weights = np.full(len(chosen), n / len(chosen)) if chosen.weights is None else chosen.weights
    at = np.searchsorted(pool.candidates, chosen.indices)
    return {
        "matching_error": matching_error(
            last_layer_gradients(signals, pool.candidates), at, weights
        )
    }


def _of_labels(pool: Pool, signals: Signals, chosen: Selection) -> dict[str, Any]:
    def shares(at: Indices) -> dict[int, float]:
        labels = (
            rows(signals.column("labels"), at).cpu().numpy()
            if _known(signals, "labels", at)
            else np.array([-1])
        )
        return class_shares(labels) if (labels >= 0).all() else {}

    mine = shares(np.concatenate([pool.selected, chosen.indices]))
    if not mine:
        return {}
    out: dict[str, Any] = {"class_shares": {str(name): share for name, share in mine.items()}}
    whole = shares(np.concatenate([pool.selected, pool.candidates]))
    return out | ({"class_gap": class_gap(mine, whole)} if whole else {})


def _known(signals: Signals, name: str, at: Indices) -> bool:
    """Return whether a column is there, and right, at these positions."""
    if name not in signals.names:
        return False
    try:
        check_column(name, signals.check(name, at), at)
    except ValueError:
        return False
    return True


def in_words(values: Mapping[str, Any]) -> str:
    """Return certificates in one line.

    >>> in_words({"cover_radius": 3.25, "facility_value": 0.9, "class_gap": 0.034})
    'cover radius 3.25, facility value 0.9, classes 3.4 % off the pool'
    """
    plain = ("cover_radius", "facility_value", "kernel_discrepancy", "matching_error")
    parts = [
        f"{name.replace('_', ' ')} {values[name]:.3g}"
        for name in plain
        if values.get(name) is not None
    ]
    if values.get("class_gap") is not None:
        parts.append(f"classes {100 * values['class_gap']:.1f} % off the pool")
    return ", ".join(parts)
