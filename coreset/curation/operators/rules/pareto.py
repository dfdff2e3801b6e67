"""GPT-3's noisy threshold: good rows are kept surely, poor ones sometimes.

Brown et al., "Language Models are Few-Shot Learners", NeurIPS 2020, appendix A (arXiv:2005.14165):
keep a document when np.random.pareto(9) > 1 - score. That draw is a Lomax one (it starts at 0):
P(keep) = (2 - score)^-9, 1 at score 1, 0.026 at 0.5, 0.002 at 0. A Pareto draw that starts at 1
(scipy.stats.pareto, random.paretovariate) would keep everything.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coreset.core.batch import Batch
from coreset.curation.operators.base import Decision, Filter
from coreset.curation.operators.threshold import undefined_reasons
from coreset.numerics.random import keyed_uniform


def keep_probability(scores: ArrayLike, alpha: float = 9.0) -> NDArray[np.float64]:
    """Return P(keep) for scores in [0, 1]: (2 - score)^-alpha. Its sum is the expected number of
    rows kept.

    >>> keep_probability([1.0, 0.5, 0.0]).round(5).tolist()
    [1.0, 0.02601, 0.00195]
    """
    probability: NDArray[np.float64] = (
        2.0 - np.clip(np.asarray(scores, np.float64), 0.0, 1.0)
    ) ** -alpha
    return probability


@dataclass(frozen=True)
class ParetoFilter(Filter):
    """Keep a row with probability (2 - score)^-alpha, by a number keyed by its id: the same rows in
    any order, sharding or restart.

    column: a score in [0, 1], 1 = good. Gives `keep_probability`, whose sum is the expected count
    beside the realised one. Raises ValueError for alpha not above 0 and for scores outside.
    """

    gives = frozenset({"keep_probability"})

    column: str = "quality"
    alpha: float = 9.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.alpha > 0:
            raise ValueError(f"alpha: expected a number above 0, got {self.alpha}")

    @property
    def needs(self) -> frozenset[str]:
        """Return the id and the score."""
        return frozenset({"id", self.column})

    def decide(self, batch: Batch) -> Decision:
        """Return the decision."""
        scores = batch[self.column].astype(np.float64)
        undefined = np.isnan(scores)
        outside = ~undefined & ~((scores >= 0) & (scores <= 1))
        if outside.any():
            raise ValueError(
                f"{self.column}: expected scores in [0, 1], got {scores[outside][0]:g}"
            )
        chance = np.where(
            undefined, np.nan, keep_probability(np.where(undefined, 0.0, scores), self.alpha)
        )
        reason = np.full(batch.rows, "", object)
        reason[~(keyed_uniform(self.seed, batch["id"]) < chance)] = "not drawn for its score"
        reason[undefined] = undefined_reasons(batch, self.column)[undefined]
        return Decision(reason == "", reason, columns={"keep_probability": chance})
