"""CAL: contrastive examples, whose prediction differs from those of their nearest labeled
neighbors.

Margatina, Vernikos, Barrault & Aletras, "Active Learning by Acquiring Contrastive Examples", EMNLP
2021, Algorithm 1 (arXiv:2109.03764).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset import Pool, Signals
from coreset.numerics.neighbors.nearest import knn
from coreset.numerics.tensors import rows
from coreset.score_based import ScoreBased


def contrast(probs: Tensor, labeled_probs: Tensor, neighbors: Tensor) -> Tensor:
    """Return the mean of KL(p_neighbor || p) in nats, (n,) float64.

    probs (n, C): the candidates'. labeled_probs (m, C). neighbors (n, k): rows of `labeled_probs`.
    Probabilities below 1e-12 count as 1e-12 in the logarithm, so that a saturated prediction gives
    a large number instead of an infinite one.

    >>> contrast(
    ...     torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 0.0]]), torch.tensor([[0]])
    ... ).tolist()
    [0.6931471805599453]
    """
    out = torch.empty(len(probs), dtype=torch.float64, device=probs.device)
    entropies = torch.special.entr(labeled_probs.double()).sum(dim=1)
    step = max(1, 2**21 // (neighbors.shape[1] * probs.shape[1]))
    for start in range(0, len(probs), step):
        part = slice(start, start + step)
        near = neighbors[part]
        log = probs[part].double().clamp_min(1e-12).log()
        cross = -(labeled_probs[near].double() * log[:, None]).sum(dim=2)
        out[part] = (cross - entropies[near]).mean(dim=1)
    return out


@dataclass(frozen=True)
class Cal(ScoreBased):
    """Take the candidates with the highest mean divergence from their labeled neighbors.

    neighbors: how many of the examples already taken are looked at (all when there are fewer),
    nearest in `features` (Euclidean). Raises ValueError when nothing is taken yet.

    >>> from coreset import select
    >>> x, p = np.array([[0.0], [0.1], [0.2]]), np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]])
    >>> select("cal", 1, features=x, probs=p, selected=[0]).indices
    array([2])
    """

    neighbors: int = 10

    needs = frozenset({"features", "probs"})
    needs_selected = frozenset({"features", "probs"})

    def __post_init__(self) -> None:
        if self.neighbors < 1:
            raise ValueError(f"neighbors: expected at least 1, got {self.neighbors}")

    @property
    def scales(self) -> Mapping[str, Mapping[str, float] | None]:
        """Columns whose multiples change no choice, with the power that scores and info carry."""
        return {"features": {}}

    def score(self, pool: Pool, signals: Signals) -> NDArray[np.float64]:
        """Return the mean divergence per candidate, in nats."""
        if not len(pool.selected):
            raise ValueError(
                "selected: CAL compares candidates with labeled examples, but none is taken yet"
            )
        x, p = signals.column("features"), signals.column("probs")
        _, near = knn(
            rows(x, pool.selected),
            min(self.neighbors, len(pool.selected)),
            rows(x, pool.candidates),
        )
        labeled = rows(p, pool.selected)
        return contrast(rows(p, pool.candidates), labeled, near.to(labeled.device)).cpu().numpy()
