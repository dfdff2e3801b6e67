"""UHerding: MaxHerding in which uncertain examples count more; coverage at small budgets, uncertainty at large ones.

Bae, Sutherland & Oliveira, "Uncertainty Herding: One Active Learning Method for All Label Budgets", ICLR 2025 (arXiv:2412.20644).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from coreset import Pool, Selection, Signals, Strategy
from coreset.numerics.neighbours import knn
from coreset.numerics.tensors import as_float, rows
from strategies.coverage.maxherding import check_neighbors, herd
from strategies.uncertainty.margin import margin


def tempered(probs: Tensor, temperature: float) -> Tensor:
    """Return softmax(log(probs) / temperature), (N, C) float64: what a temperature on the logits would have given; zeros stay zeros.

    >>> tempered(torch.tensor([[0.2, 0.8]]), 0.5).tolist()[0][1].__round__(6)
    0.941176
    """
    return (probs.double().log() / temperature).softmax(dim=1)


def smallest_gap(x: Tensor) -> float:
    """Return the smallest positive distance between two rows of `x`; 1 when there is none.

    >>> smallest_gap(torch.tensor([[0.0], [3.0], [5.0], [5.0]]))
    2.0
    """
    distinct = torch.unique(x, dim=0)
    return float(knn(distinct, 1)[0].min()) if len(distinct) > 1 else 1.0


@dataclass(frozen=True)
class UHerding(Strategy):
    """Take the candidate that adds most to the coverage of what the model is unsure about.

    Every candidate and every selected example is weighted by 1 - (p1 - p2). temperature: divides the logits first; the paper tunes it on the labelled set by
    calibration error, which takes a model, so the loop or you supply it. width: the kernel's h; None takes the smallest positive distance between two selected
    examples (1, MaxHerding's, with fewer than two), as the paper does, so that the kernel sharpens as labels grow. normalize: unit length first.
    neighbors: see `MaxHerding`. Scores: weighted coverage added. info: `width`, `coverage`, `variant`.

    >>> from coreset import select
    >>> import numpy as np
    >>> x, p = np.array([[0.0], [1.0], [5.0]]), np.array([[1.0, 0.0], [1.0, 0.0], [0.5, 0.5]])
    >>> select("uherding", 1, features=x, probs=p, options={"normalize": False}).indices
    array([2])
    """

    temperature: float = 1.0
    width: float | None = None
    normalize: bool = True
    neighbors: int | str = "auto"

    needs = frozenset({"features", "probs"})
    needs_selected = frozenset({"features", "probs"})

    def __post_init__(self) -> None:
        check_neighbors(self.neighbors)
        for name, value in (("temperature", self.temperature), ("width", self.width)):
            if value is not None and not value > 0:
                raise ValueError(f"{name}: expected a positive number, got {value}")

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Run the weighted greedy from `pool.selected`."""
        at = np.concatenate([pool.selected, pool.candidates])
        at = at[np.argsort(pool.ids[at])]  # ties go to the lowest id: by default the lowest position
        x = as_float(rows(signals.column("features"), at))
        if self.normalize:
            x = torch.nn.functional.normalize(x, dim=1)
        weights = margin(tempered(rows(signals.column("probs"), at), self.temperature))
        taken = np.isin(at, pool.selected)
        labelled = np.flatnonzero(taken)
        width = self.width or smallest_gap(x[torch.from_numpy(labelled).to(x.device)])
        picks, added, coverage, variant = herd(x, k, labelled, np.flatnonzero(~taken), width, self.neighbors, weights)
        return Selection(at[picks], scores=added, info={"width": width, "coverage": coverage, "variant": variant})
