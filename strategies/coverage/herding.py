"""Herding: keep the mean of what is taken as close as possible to the mean of everything.

Welling, "Herding Dynamical Weights to Learn", ICML 2009; as exemplar selection, Rebuffi et al.,
"iCaRL", CVPR 2017, Algorithm 4 (arXiv:1611.07725).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset import Pool, Selection, Signals, Strategy
from coreset.core.pool import Indices
from coreset.numerics.classes import class_shares, interleave
from coreset.numerics.compiled import compiled
from coreset.numerics.neighbors.distances import Float, exact_rows
from coreset.numerics.tensors import as_tensor

VARIANTS = ("icarl", "inner_product")
_FEW = 16  # picks, up to which a 16-bit copy does not pay
_COPY = 2**29  # values it may have: 1 GB


@compiled
def _whole(
    x: Float,
    mean: Float,
    bits: NDArray[np.int16],
    scale: Float,
    length: Float,
    lost: Float,
    top: float,
) -> None:
    """Fill bits with z = x - mean in whole numbers up to `top`, and |z| and |z - scale bits| of
    each row.
    """
    for i in range(len(x)):
        largest = 0.0
        for d in range(len(mean)):
            largest = max(largest, abs(np.float64(x[i, d]) - mean[d]))
        scale[i] = largest / top if largest > 0 else 1.0
        square, gap = 0.0, 0.0
        for d in range(len(mean)):
            z = np.float64(x[i, d]) - mean[d]
            q = np.rint(z / scale[i])
            bits[i, d] = np.int16(q)
            square += z * z
            gap += (z - q * scale[i]) * (z - q * scale[i])
        length[i], lost[i] = np.sqrt(square), np.sqrt(gap)


@compiled
def _inner(a: NDArray[np.int16], b: NDArray[np.int16]) -> float:
    """Return a . b, which fits in 32 bits."""
    total = np.int32(0)
    for d in range(len(a)):
        total = np.int32(total + np.int32(a[d]) * np.int32(b[d]))
    return np.float64(total)


@compiled
def _value(row: Float, residual: Float, distance: bool) -> float:
    """Return what herding maximizes for a row, in float64."""
    value = 0.0
    if distance:
        for d in range(len(residual)):
            gap = residual[d] - np.float64(row[d])
            value -= gap * gap
    else:
        for d in range(len(residual)):
            value += residual[d] * np.float64(row[d])
    return value


@compiled
def _herd(
    x: Float, mean: Float, total: Float, size: int, distance: bool,
    bits: NDArray[np.int16], scale: Float, length: Float, lost: Float, top: float,
    picks: NDArray[np.int64], errors: Float,
) -> None:  # fmt: skip
    """Fill picks and errors. With z = x - mean and r' = residual - mean the value is -|r' - z|^2,
    or <residual, z> up to a constant; <., z> comes from 16 bits up to an error of |r'| |z - z'| +
    |r' - r''| |z'|, and the rows that this leaves open are measured in float64.
    """
    n, dim = x.shape
    free = np.ones(n, np.bool_)
    upper, short = np.full(n, np.inf), np.empty(dim, np.int16)
    residual, r = np.empty(dim), np.empty(dim)
    for t in range(len(picks)):
        size += 1
        largest, square = 0.0, 0.0
        for d in range(dim):
            residual[d] = size * mean[d] - total[d]
            r[d] = residual[d] - mean[d] if distance else residual[d]
            largest = max(largest, abs(r[d]))
            square += r[d] * r[d]
        unit = largest / top if largest > 0 else 1.0
        gap = 0.0
        for d in range(dim):
            q = np.rint(r[d] / unit)
            short[d] = np.int16(q)
            gap += (r[d] - q * unit) * (r[d] - q * unit)
        whole, gap = np.sqrt(square), np.sqrt(gap)
        low = -np.inf
        for i in range(n if len(bits) else 0):
            value = scale[i] * unit * _inner(bits[i], short)
            slack = whole * lost[i] + gap * (length[i] + lost[i]) + 1e-12 * whole * length[i]
            if distance:
                value = 2 * value - length[i] * length[i]
                slack = 2 * slack + 1e-12 * length[i] * length[i]
            if free[i]:
                low = max(low, value - slack)
                upper[i] = value + slack
            else:
                upper[i] = -np.inf
        best, at = -np.inf, -1
        for i in range(n):
            if upper[i] >= low and free[i]:
                value = _value(x[i], residual, distance)
                if value > best or at < 0:
                    best, at = value, i
        free[at] = False
        picks[t] = at
        square = 0.0
        for d in range(dim):
            total[d] += np.float64(x[at, d])
            gap = mean[d] - total[d] / size
            square += gap * gap
        errors[t] = np.sqrt(square)


def _on_cpu(x: Tensor) -> bool:
    return x.device.type == "cpu"


def herd(
    x: Tensor, k: int, mean: Tensor, taken: Tensor, variant: str = "icarl"
) -> tuple[Tensor, Tensor]:
    """Return `k` rows of `x` (n, D) in order, and ||mean - mean of all taken|| after each.

    mean (D,): the target. taken (M, D): rows already there, counted in the running mean. `icarl`
    picks argmin ||mean - (S + x) / t||, with S the sum of what is taken and t its size with x;
    `inner_product` picks argmax <t mean - S, x> (Welling). Ties go to the lowest row; decisions are
    float64. On a CPU each choice reads a 16-bit copy of x (half the memory of float32; up to 1 GB,
    beyond it x itself), and of x only the rows that the copy leaves open.

    >>> x = torch.tensor([[0.0], [1.0], [4.0]])
    >>> herd(x, 2, x.mean(0), x[:0])[0].tolist()
    [1, 2]
    """
    target, total = mean.double(), taken.double().sum(dim=0)
    distance = variant == "icarl"
    picks, errors = torch.empty(k, dtype=torch.int64), torch.empty(k, dtype=torch.float64)
    if _on_cpu(x):
        exact, middle = exact_rows(x), target.numpy()
        top = min(32767.0, np.floor(np.sqrt((2**31 - 1) / max(1, x.shape[1]))))
        n = len(x) if k > _FEW and x.numel() <= _COPY else 0
        bits, (scale, length, lost) = np.empty((n, x.shape[1]), np.int16), np.empty((3, n))
        _whole(exact[:n], middle, bits, scale, length, lost, top)
        _herd(
            exact, middle, total.numpy().copy(), len(taken), distance, bits, scale, length, lost,
            top, picks.numpy(), errors.numpy()
        )  # fmt: skip
        return picks, errors
    barred = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for i in range(k):
        size = len(taken) + i + 1
        residual = size * target - total
        parts = [p.double() for p in torch.split(x, 65536)]
        value = torch.cat(
            [-(p - residual).square().sum(dim=1) if distance else p @ residual for p in parts]
        )
        best = int((value + barred).argmax())
        barred[best] = -torch.inf
        total += x[best].double()
        picks[i], errors[i] = best, (target - total / size).norm()
    return picks, errors


@dataclass(frozen=True)
class Herding(Strategy):
    """Match the mean of the features.

    variant: `icarl` (default) or `inner_product`. per_class: match the mean of each class with its
    share of the budget; needs `labels`. The target is the mean over candidates and selected; the
    greedy goes on from what is selected. Scores: minus the distance of the two means after each
    choice. info: `mean_gap`, the last of these distances (the largest over classes).

    >>> from coreset import select
    >>> import numpy as np
    >>> select("herding", 2, features=np.array([[0.0], [1.0], [4.0]])).indices
    array([1, 2])
    """

    variant: str = "icarl"
    per_class: bool = False

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant: expected {' or '.join(VARIANTS)}, got {self.variant!r}")
        object.__setattr__(self, "greedy", not self.per_class)
        object.__setattr__(self, "needs_selected", self.needs)

    @property
    def needs(self) -> frozenset[str]:
        """Return `features`, and `labels` when classes are matched one by one."""
        return frozenset({"features", "labels"} if self.per_class else {"features"})

    @property
    def scales(self) -> Mapping[str, Mapping[str, float] | None]:
        """Columns whose multiples change no choice, with the power that scores and info carry."""
        return {"features": {"scores": 1, "mean_gap": 1}}

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Run the greedy over the candidates."""
        features = as_tensor(signals.column("features"))
        if not self.per_class:
            picks, errors = self._match(features, pool.candidates, pool.selected, k)
            return Selection(
                picks, scores=-errors, info={"variant": self.variant, "mean_gap": float(errors[-1])}
            )
        labels = np.asarray(as_tensor(signals.column("labels")).cpu())
        parts = [
            self._match(
                features, pool.candidates[rows], pool.selected[labels[pool.selected] == name], share
            )
            for name, rows, share in class_shares(labels[pool.candidates], k)
        ]
        order = interleave([len(p) for p, _ in parts])
        picks, errors = np.concatenate([p for p, _ in parts]), np.concatenate([e for _, e in parts])
        gap = max(float(e[-1]) for _, e in parts)
        return Selection(
            picks[order], scores=-errors[order], info={"variant": self.variant, "mean_gap": gap}
        )

    def _match(
        self, features: Tensor, candidates: Indices, selected: Indices, k: int
    ) -> tuple[Indices, NDArray[Any]]:
        whole = len(candidates) == len(features)
        x = features if whole else features[torch.from_numpy(candidates).to(features.device)]
        taken = features[torch.from_numpy(selected).to(features.device)]
        total = torch.stack([p.double().sum(dim=0) for p in torch.split(x, 8192)]).sum(
            dim=0
        ) + taken.double().sum(dim=0)
        picks, errors = herd(x, k, total / (len(x) + len(taken)), taken, self.variant)
        return candidates[picks.numpy()], errors.cpu().numpy()
