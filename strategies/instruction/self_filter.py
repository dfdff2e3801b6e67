"""Self-Filter's choice: the hardest examples, whose neighbors count as easier once they are taken.

Chen et al., "Your Vision-Language Model Itself Is a Strong Filter: Towards High-Quality Instruction
Tuning with Data Selection", Findings of ACL 2024 (arXiv:2402.12501). The difficulty is any number
of yours; the paper learns it beside the model. The released code stops when fewer than ten examples
are left; here those that are left are the neighbors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from coreset import Pool, Selection, Signals, Strategy
from coreset.numerics.tensors import as_float, rows, top_k, unit_rows


def hardest_apart(
    difficulty: NDArray[np.float64], x: Tensor, k: int, neighbors: int = 10, gamma: float = 1.0
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the `k` rows chosen, in order, and their difficulty when they were, (k,) each.

    difficulty (n,), x (n, D). Each time the hardest row that is left is taken, ties to the lowest;
    the `neighbors` rows left with the largest cosine to it lose gamma x its difficulty x cosine^2.
    A row of length zero has cosine 0. Time: O(k n D).

    >>> import torch
    >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> picks, now = hardest_apart(np.array([3.0, 2.9, 1.0]), x, 2, neighbors=1)
    >>> picks.tolist(), now.tolist()
    ([0, 2], [3.0, 1.0])
    """
    unit = unit_rows(x.double())
    left = np.array(difficulty, np.float64)
    picks, now = np.empty(k, np.int64), np.empty(k)
    open_ = np.ones(len(left), bool)
    for step in range(k):
        pick = int(np.where(open_, left, -np.inf).argmax())
        picks[step], now[step], open_[pick] = pick, left[pick], False
        cosine = (unit @ unit[pick]).cpu().numpy()
        if most := min(neighbors, int(open_.sum())):
            near = top_k(np.where(open_, cosine, -np.inf), most)
            left[near] -= gamma * now[step] * cosine[near] ** 2
    return picks, now


@dataclass(frozen=True)
class SelfFilter(Strategy):
    """Take the hardest candidate again and again; what lies near it becomes easier.

    Needs `difficulty` (N,), higher = harder, and `features`. neighbors, gamma: how many lose how
    much. Scores: the difficulty when taken.

    >>> from coreset import select
    >>> select(
    ...     "self_filter",
    ...     2,
    ...     features=[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]],
    ...     difficulty=[3.0, 2.9, 1.0],
    ...     options={"neighbors": 1},
    ... ).indices
    array([0, 2])
    """

    neighbors: int = 10
    gamma: float = 1.0

    needs = frozenset({"features", "difficulty"})
    greedy = True

    def __post_init__(self) -> None:
        if self.neighbors < 0 or self.gamma < 0:
            raise ValueError(
                f"neighbors, gamma: expected numbers of at least 0, got {self.neighbors} and"
                f" {self.gamma}"
            )

    @property
    def scales(self) -> Mapping[str, Mapping[str, float] | None]:
        """Columns whose multiples change no choice, with the power that scores and info carry."""
        return {"features": None}

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Return the `k` rows in the order taken."""
        at = pool.candidates[np.argsort(pool.ids[pool.candidates])]  # ties go to the lowest id
        difficulty = rows(signals.column("difficulty"), at).double().cpu().numpy()
        if difficulty.ndim != 1:
            raise ValueError(
                "difficulty: expected one number per example, shape (N,), got (N,"
                f" {difficulty.shape[1]})"
            )
        picks, now = hardest_apart(
            difficulty,
            as_float(rows(signals.column("features"), at)),
            k,
            self.neighbors,
            self.gamma,
        )
        return Selection(at[picks], scores=now)
