"""Disparity: examples far from one another; the sum, or the minimum, of the distances among the
taken.

Neither is submodular (the sum is supermodular), so there is no lazy greedy and no 1 - 1/e. For
metric distances greedy still reaches half of the best value: for `min` Ravi, Rosenkrantz & Tayi,
"Heuristic and Special Case Algorithms for Dispersion Problems", Operations Research 1994; for `sum`
Borodin, Lee & Ye, "Max-Sum Diversification, Monotone Submodular Functions and Dynamic Updates",
PODS 2012 (arXiv:1203.6397).
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
from coreset.numerics.tensors import as_float, rows, unit_rows
from coreset.strategies.submodular.common import square_column

VARIANTS = ("min", "sum")
SOURCES = ("features", "distances")


def disperse(x: Tensor, k: int, taken: Tensor, variant: str = "min") -> tuple[Tensor, Tensor]:
    """Return `k` rows of `x` (n, D) in order, and each one's least (`min`) or summed (`sum`)
    Euclidean distance to all before it.

    taken (M, D): rows already there. With none, the first pick is the row farthest from the mean of
    x, at distance infinity (`min`) or 0 (`sum`). Ties go to the lowest row. Distances are computed
    as differences; O(n) memory beside x.

    >>> disperse(torch.tensor([[0.0], [1.0], [6.0], [4.0]]), 3, torch.empty(0, 1))[0].tolist()
    [2, 0, 3]
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant: expected {' or '.join(VARIANTS)}, got {variant!r}")
    x = as_float(x)
    far = torch.full(
        (len(x),), torch.inf if variant == "min" else 0.0, dtype=torch.float64, device=x.device
    )
    for row in as_float(taken):
        _fold(x, row, far, variant)
    blocked = torch.zeros_like(far)
    picks, scores = torch.empty(k, dtype=torch.int64), torch.empty(k, dtype=torch.float64)
    for i in range(k):
        if i == 0 and not len(taken):
            start = torch.zeros_like(far)
            _fold(x, x.double().mean(dim=0).to(x.dtype), start, "sum")
            best = int(start.argmax())
        else:
            best = int((far + blocked).argmax())
        picks[i], scores[i] = best, far[best]
        blocked[best] = -torch.inf
        _fold(x, x[best], far, variant)
        far[best] = 0
    return picks, scores


def disperse_given(
    distances: NDArray[np.floating[Any]],
    k: int,
    candidates: NDArray[np.int64],
    taken: NDArray[np.int64],
    variant: str = "min",
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return what `disperse` does, from a matrix of distances (N, N): `k` of `candidates` and the
    distance of each to all before it.

    With nothing taken the first pick has the largest sum of distances to the candidates.

    >>> d = np.abs(np.subtract.outer([0.0, 1.0, 6.0, 4.0], [0.0, 1.0, 6.0, 4.0]))
    >>> disperse_given(d, 3, np.arange(4), np.array([], int))[0].tolist()
    [2, 0, 3]
    """
    fold = np.minimum if variant == "min" else np.add
    far = np.full(len(candidates), np.inf if variant == "min" else 0.0)
    for row in taken:
        far = fold(far, distances[row, candidates].astype(np.float64))
    open_ = np.ones(len(far), bool)
    picks, scores = np.empty(k, np.int64), np.empty(k)
    for i in range(k):
        value = far
        if i == 0 and not len(taken):
            value = np.array(
                [distances[row, candidates].sum(dtype=np.float64) for row in candidates]
            )
        best = int(np.where(open_, value, -1.0).argmax())
        picks[i], scores[i], open_[best] = candidates[best], far[best], False
        far = fold(far, distances[picks[i], candidates].astype(np.float64))
    return picks, scores


def _fold(x: Tensor, row: Tensor, far: Tensor, variant: str, block: int = 8192) -> None:
    """Take the distance to `row` (D,) into `far` (n,), in blocks."""
    for start in range(0, len(x), block):
        part = slice(start, start + block)
        distance = (x[part] - row).square_().sum(dim=1, dtype=torch.float64).sqrt_()
        far[part] = torch.minimum(far[part], distance) if variant == "min" else far[part] + distance


@dataclass(frozen=True)
class Disparity(Strategy):
    """Take the candidate farthest from what is taken, by the nearest of it (`min`) or by the sum
    over it (`sum`).

    normalize: scale features to unit length first (then the Euclidean order is the cosine order).
    source: `features`, or `distances`: a symmetric column `distances` (N, N) is used as it is, and
    with nothing taken the first pick is the candidate with the largest sum of distances to all.
    Unlike k-center, which this resembles, it starts at the candidate farthest from the mean and
    never draws. Scores: the distances; `info["value"]` is f: the least, or the sum, of the pairwise
    distances.

    >>> from coreset import select
    >>> select("disparity", 3, features=np.array([[0.0], [1.0], [6.0], [4.0]])).indices
    array([2, 0, 3])
    """

    variant: str = "min"
    normalize: bool = False
    source: str = "features"

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant: expected {' or '.join(VARIANTS)}, got {self.variant!r}")
        if self.source not in SOURCES:
            raise ValueError(f"source: expected {' or '.join(SOURCES)}, got {self.source!r}")

    @property
    def needs(self) -> frozenset[str]:
        """Return the column that is read."""
        return frozenset({self.source})

    @property
    def needs_selected(self) -> frozenset[str]:  # type: ignore[override]
        """Return the same for what is already taken."""
        return self.needs

    @property
    def scales(self) -> Mapping[str, Mapping[str, float] | None]:
        """Columns whose multiples change no choice, with the power that scores and info carry."""
        lengths = {"scores": 1, "value": 1}
        return {"features": None if self.normalize else lengths, "distances": lengths}

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Run the greedy from `pool.selected`."""
        if self.source == "distances":
            square = square_column(signals, "distances")
            at, gaps = disperse_given(square, k, pool.candidates, pool.selected, self.variant)
            value = float(gaps.min() if self.variant == "min" else gaps.sum())
            return Selection(at, scores=gaps, info={"variant": self.variant, "value": value})
        x, taken = (rows(signals.column("features"), at) for at in (pool.candidates, pool.selected))
        if self.normalize:
            x, taken = (unit_rows(part) for part in (x, taken))
        picks, scores = disperse(x, k, taken, self.variant)
        info = {
            "variant": self.variant,
            "value": float(scores.min() if self.variant == "min" else scores.sum()),
        }
        return Selection(pool.candidates[picks.numpy()], scores=scores.numpy(), info=info)
