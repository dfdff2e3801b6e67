"""The best share of all rows by a score, counted as DataComp's released code counts it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from coreset.core.batch import Batch
from coreset.core.ranges import check_range
from coreset.curation.operators.base import Decision, Selector
from coreset.curation.operators.threshold import undefined_reasons


def share_threshold(scores: ArrayLike, share: float) -> float:
    """Return the score from which on rows are kept: of n scores the one at position int(share n),
    from 0, the largest first.

    It is kept too, and all that equal it: int(share n) + 1 rows where no two are equal.
    mlfoundations/datacomp, `baselines/apply_filter.py`, `get_threshold`; Gadre et al., NeurIPS 2023
    (arXiv:2304.14108). Raises ValueError for no scores, NaN, and a share outside [0, 1).

    >>> share_threshold([0.1, 0.4, 0.2, 0.3], 0.3)
    0.3
    """
    values = np.asarray(scores)
    if values.ndim != 1 or not values.size or np.isnan(values).any():
        raise ValueError(
            f"scores: expected one number or more, none of them undefined, got shape {values.shape}"
        )
    check_range("a share in [0, 1)", share=share)
    return float(-np.sort(-values)[int(len(values) * share)])


@dataclass(frozen=True)
class DataCompShare(Selector):
    """Keep the rows from DataComp's threshold on: int(share n) + 1 of the n rows that have a score,
    and those that equal the last of them (see `share_threshold`).

    column: the score. A row without one is dropped with its status and does not count. `Select`
    with a share keeps that share of all rows read, rounded.
    """

    column: str = "clip_cosine"
    share: float = 0.3

    def __post_init__(self) -> None:
        check_range("a share in [0, 1)", share=self.share)

    @property
    def needs(self) -> frozenset[str]:
        """Return the id and the score."""
        return frozenset({"id", self.column})

    def decide(self, rows: Batch, total: int) -> Decision:
        """Return the decision about all rows."""
        score = rows[self.column]
        there = ~np.isnan(score.astype(np.float64))
        keep = np.zeros(rows.rows, bool)
        if there.any():
            keep[there] = score[there] >= share_threshold(score[there], self.share)
        reason = np.where(keep, "", f"{self.column} below DataComp's threshold").astype(object)
        reason[~there] = undefined_reasons(rows, self.column)[~there]
        return Decision(keep, reason)
