"""LESS: training examples whose gradient points where the target tasks' gradients do.

Xia et al., "LESS: Selecting Influential Data for Targeted Instruction Tuning", ICML 2024, sections
3 and 4 (arXiv:2402.04333).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset import Pool, Signals
from coreset.core.pool import Indices
from coreset.core.signals import check_column
from coreset.numerics.tensors import as_tensor, per_row, rows
from coreset.score_based import ScoreBased

TARGETS = ("mean_gradient", "mean_cosine")


def _unit(x: Tensor) -> Tensor:
    length = x.norm(dim=-1, keepdim=True)
    return torch.where(length > 0, x / torch.where(length > 0, length, 1.0), 0.0)


def task_directions(gradients: Tensor, tasks: Tensor, target: str = "mean_gradient") -> Tensor:
    """Return one direction per task, in order of their numbers, (T, P) float64: a cosine with it is
    the influence on the task.

    gradients (m, P) and tasks (m,) of the validation examples. `mean_gradient`: the unit vector of
    their mean; `mean_cosine`: the mean of their unit vectors, so that the product with a unit
    vector is the mean of the cosines.

    >>> task_directions(
    ...     torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0]), "mean_cosine"
    ... ).tolist()
    [[0.5, 0.5]]
    """
    out = []
    for task in np.unique(tasks.cpu().numpy()).tolist():
        g = gradients[tasks == task].double()
        out.append(_unit(g.mean(dim=0)) if target == "mean_gradient" else _unit(g).mean(dim=0))
    return torch.stack(out)


@dataclass(frozen=True)
class Less(ScoreBased):
    """Take the candidates with the highest influence on the task they help most.

    `projected_gradients` (N, P) holds a gradient per example, of candidates and of validation
    examples (`coreset.strategies.gradient.projection` makes them); `validation_task` (N,) the
    number of the task a validation example belongs to, -1 for all others, which are never chosen.
    target: cosine with the mean validation gradient of the task (`mean_gradient`, the paper), or
    mean of the cosines (`mean_cosine`, the authors' code). Several checkpoints: scale each one's
    gradients to length sqrt(learning rate) and put them side by side. Scores: the cosine, the
    largest over tasks; a zero gradient scores 0.

    >>> from coreset import select
    >>> g = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    >>> select(
    ...     "less",
    ...     1,
    ...     projected_gradients=g,
    ...     validation_task=np.array([-1, -1, 0]),
    ...     candidates=[0, 1],
    ... ).scores
    array([0.8])
    """

    target: str = "mean_gradient"

    needs = frozenset({"projected_gradients", "validation_task"})

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise ValueError(f"target: expected {' or '.join(TARGETS)}, got {self.target!r}")

    @property
    def scales(self) -> Mapping[str, Mapping[str, float] | None]:
        """Columns whose multiples change no choice, with the power that scores and info carry."""
        return {"projected_gradients": {}}

    def score(self, pool: Pool, signals: Signals) -> NDArray[np.float64]:
        """Return the influence per candidate."""
        column, known, tasks = self.validation(pool, signals)
        directions = task_directions(
            rows(column, known), torch.from_numpy(tasks).to(column.device), self.target
        )
        return per_row(  # rounded: a product rounds equal rows in more than one way
            lambda g: (_unit(g.double()) @ directions.T).amax(dim=1).round(decimals=12),
            column,
            pool.candidates,
        )

    def validation(self, pool: Pool, signals: Signals) -> tuple[Tensor, Indices, NDArray[np.int64]]:
        """Return the gradients (N, P), the positions of the validation examples and their tasks,
        after checks.
        """
        column = as_tensor(signals.column("projected_gradients"))
        if column.ndim != 2:
            raise ValueError(
                "projected_gradients: expected shape (N, P), one gradient per example, got"
                f" {tuple(column.shape)}"
            )
        return column, *self._validation(pool, signals)

    def _validation(self, pool: Pool, signals: Signals) -> tuple[Indices, NDArray[np.int64]]:
        """Return the positions of the validation examples and their tasks."""
        tasks = as_tensor(signals.column("validation_task")).cpu().numpy()
        if tasks.shape != (pool.size,) or tasks.dtype.kind not in "iu":
            raise ValueError(
                f"validation_task: expected whole numbers, shape ({pool.size},), got {tasks.dtype}"
                f" with shape {tasks.shape}"
            )
        known = np.flatnonzero(tasks >= 0).astype(np.int64)
        if not len(known):
            raise ValueError("validation_task: no example belongs to a task (all are -1)")
        both = np.intersect1d(known, pool.candidates)
        if len(both):
            raise ValueError(
                f"validation_task: {len(both)} validation examples are candidates, first position"
                f" {int(both[0])}; leave them out of the candidates"
            )
        check_column("projected_gradients", signals.check("projected_gradients", known), known)
        return known, tasks[known].astype(np.int64)
