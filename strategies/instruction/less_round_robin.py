"""Gradients and round robin: validation examples take turns to the row with the nearest gradient.

Nayak, Rodriguez-Diaz, Hulkund, Beery & Alvarez-Melis, "A Critical Look at Targeted Instruction
Selection: Disentangling What Matters (and What Doesn't)", 2026 (arXiv:2602.14696): LESS'
gradients (Xia et al., 2024, arXiv:2402.04333) with the turns of RDS+ (Ivison et al., 2025,
arXiv:2503.01807).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from coreset import Pool, Selection, Signals
from coreset.core.pool import Indices
from coreset.numerics.tensors import rows
from coreset.strategies.gradient.less import Less, task_directions
from coreset.strategies.instruction.common import by_id
from coreset.strategies.instruction.rds import VARIANTS, round_robin

TURNS = ("example", "task")


@dataclass(frozen=True)
class LessRoundRobin(Less):
    """Take, round after round, the candidate with the gradient nearest each validation example's.

    `projected_gradients` (N, P) and `validation_task` (N,) are those of `less`. turns: every
    validation `example` has one, in the order of ids, or every `task`, by the direction that
    `target` makes of its examples' gradients (`less`). variant: see `rds`. Ties go to the lowest
    id. Scores: the largest cosine with any of them; a zero gradient has 0. Examples already
    selected play no part.

    >>> from coreset import select
    >>> g = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [1.0, 0.0], [0.3, 1.0]])
    >>> columns = {"projected_gradients": g, "validation_task": np.array([-1, -1, -1, 0, 0])}
    >>> select("less_round_robin", 2, candidates=[0, 1, 2], **columns).indices
    array([0, 2])
    """

    turns: str = "example"
    variant: str = "released"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (("turns", TURNS), ("variant", VARIANTS)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name}: expected {' or '.join(known)}, got {getattr(self, name)!r}"
                )

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Return the rows in the order taken."""
        at = by_id(pool)
        cosine = self.cosines(pool, signals, at)
        picks = round_robin(cosine, k, self.variant)
        return Selection(
            at[picks], scores=cosine[picks].max(axis=1), info={"variant": self.variant}
        )

    def cosines(self, pool: Pool, signals: Signals, at: Indices) -> NDArray[np.float64]:
        """Return the cosine of each example of `at` with what has a turn, (n, Q)."""
        column, known, tasks = self.validation(pool, signals)
        if self.turns == "example":
            known = known[np.argsort(pool.ids[known], kind="stable")]
            tasks = np.arange(len(known))
        to = torch.from_numpy(tasks).to(column.device)
        directions = task_directions(rows(column, known), to, self.target)
        unit = rows(column, at).double()
        length = unit.norm(dim=1, keepdim=True)
        unit = torch.where(length > 0, unit / torch.where(length > 0, length, 1.0), 0.0)
        cosine: NDArray[np.float64] = (unit @ directions.T).round(decimals=12).cpu().numpy()
        return cosine
