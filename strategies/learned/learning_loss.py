"""Learning loss: a high loss as the model itself predicts it.

Yoo & Kweon, "Learning Loss for Active Learning", CVPR 2019 (arXiv:1905.03677). The column
`predicted_loss` comes from a module that is trained beside the model: margin ranking loss over
pairs, no gradient into the model after 60 % of the training.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coreset import Pool, Selection, Signals, Strategy
from coreset.numerics.random import keyed_order
from coreset.numerics.tensors import rows


@dataclass(frozen=True)
class LearningLoss(Strategy):
    """Take the highest predicted losses among a random part of the pool.

    subset: how many candidates, drawn by id, are looked at (as published: against many alike at the
    top); a larger budget goes on with the highest of the others. None: all.

    >>> from coreset import select
    >>> select("learning_loss", 2, predicted_loss=[0.1, 3.0, 2.0]).indices
    array([1, 2])
    """

    subset: int | None = 10_000

    needs = frozenset({"predicted_loss"})
    random = True

    def __post_init__(self) -> None:
        if self.subset is not None and (isinstance(self.subset, bool) or self.subset < 1):
            raise ValueError(
                "subset: expected a number of candidates of at least 1, or null for all, got"
                f" {self.subset!r}"
            )

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Order by (drawn, predicted loss)."""
        column = signals.column("predicted_loss")
        if len(column.shape) != 1:
            raise ValueError(
                "predicted_loss: expected one number per example, shape (N,), got"
                f" {tuple(column.shape)}"
            )
        scores = rows(column, pool.candidates).double().cpu().numpy()
        left_out = np.zeros(len(scores), bool)
        if self.subset is not None:
            left_out[keyed_order(rng, pool.ids[pool.candidates])[self.subset :]] = True
        order = np.lexsort((-scores, left_out))[:k]
        return Selection(
            pool.candidates[order], scores=scores[order], info={"looked_at": int((~left_out).sum())}
        )
