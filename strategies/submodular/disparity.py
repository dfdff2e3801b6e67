"""Disparity: examples far from one another; the sum, or the minimum, of the distances among the taken.

Neither is submodular (the sum is supermodular), so there is no lazy greedy and no 1 - 1/e. For metric distances greedy still reaches half of the best
value: for `min` Ravi, Rosenkrantz & Tayi, "Heuristic and Special Case Algorithms for Dispersion Problems", Operations Research 1994; for `sum` Borodin,
Lee & Ye, "Max-Sum Diversification, Monotone Submodular Functions and Dynamic Updates", PODS 2012 (arXiv:1203.6397).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from coreset import Pool, Selection, Signals, Strategy
from coreset.numerics.tensors import as_float, rows, unit_rows

VARIANTS = ("min", "sum")


def disperse(x: Tensor, k: int, taken: Tensor, variant: str = "min") -> tuple[Tensor, Tensor]:
    """Return `k` rows of `x` (n, D) in order, and each one's least (`min`) or summed (`sum`) Euclidean distance to all before it.

    taken (M, D): rows already there. With none, the first pick is the row farthest from the mean of x, at distance infinity (`min`) or 0 (`sum`). Ties go
    to the lowest row. Distances are computed as differences; O(n) memory beside x.

    >>> disperse(torch.tensor([[0.0], [1.0], [6.0], [4.0]]), 3, torch.empty(0, 1))[0].tolist()
    [2, 0, 3]
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant: expected {' or '.join(VARIANTS)}, got {variant!r}")
    x = as_float(x)
    far = torch.full((len(x),), torch.inf if variant == "min" else 0.0, dtype=torch.float64, device=x.device)
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


def _fold(x: Tensor, row: Tensor, far: Tensor, variant: str, block: int = 8192) -> None:
    """Take the distance to `row` (D,) into `far` (n,), in blocks."""
    for start in range(0, len(x), block):
        part = slice(start, start + block)
        distance = (x[part] - row).square_().sum(dim=1, dtype=torch.float64).sqrt_()
        far[part] = torch.minimum(far[part], distance) if variant == "min" else far[part] + distance


@dataclass(frozen=True)
class Disparity(Strategy):
    """Take the candidate farthest from what is taken, by the nearest of it (`min`) or by the sum over it (`sum`).

    normalize: scale features to unit length first (then the Euclidean order is the cosine order). Unlike k-center, which this resembles, it starts at the
    candidate farthest from the mean and never draws. Scores: the distances; `info["value"]` is f: the least, or the sum, of the pairwise distances.

    >>> from coreset import select
    >>> select("disparity", 3, features=np.array([[0.0], [1.0], [6.0], [4.0]])).indices
    array([2, 0, 3])
    """

    variant: str = "min"
    normalize: bool = False

    needs = frozenset({"features"})
    needs_selected = frozenset({"features"})

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant: expected {' or '.join(VARIANTS)}, got {self.variant!r}")

    @property
    def scales(self) -> Mapping[str, Mapping[str, float] | None]:  # type: ignore[override]
        """Columns whose multiples change no choice, with the power that scores and info carry."""
        lengths = {"scores": 1, "value": 1}
        return {"features": None if self.normalize else lengths}

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Run the greedy from `pool.selected`."""
        x, taken = (rows(signals.column("features"), at) for at in (pool.candidates, pool.selected))
        if self.normalize:
            x, taken = (unit_rows(part) for part in (x, taken))
        picks, scores = disperse(x, k, taken, self.variant)
        info = {"variant": self.variant, "value": float(scores.min() if self.variant == "min" else scores.sum())}
        return Selection(pool.candidates[picks.numpy()], scores=scores.numpy(), info=info)
