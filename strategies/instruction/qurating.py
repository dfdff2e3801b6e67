"""QuRating: draw rows by their ratings, so that good ones are likely and the rest is not lost.

Wettig, Gupta, Malik & Chen, "QuRating: Selecting High-Quality Data for Training Language Models",
ICML 2024 (arXiv:2402.09739). Ratings are logits of a Bradley-Terry model, of pairwise judgments
(`coreset.curation.operators.quality.PairwiseRatings`); rows are drawn without replacement in
proportion to exp(rating / temperature).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Selection, Signals, Strategy
from coreset.core.ranges import check_range
from coreset.numerics.gumbel import gumbel_order
from coreset.strategies.combine.parts import numbers_at


def rating_logits(
    ratings: NDArray[np.float64], temperature: float = 2.0, normalize: bool = True
) -> NDArray[np.float64]:
    """Return the log-weights (n,): ratings over the temperature.

    normalize: ratings less their mean and over their standard deviation. Ratings that are all the
    same weigh alike. temperature infinity: all alike; 0 is none (take the highest).

    >>> rating_logits(np.array([1.0, 3.0])).tolist()
    [-0.5, 0.5]
    """
    if normalize:
        ratings = np.ldexp(ratings, -int(np.frexp(np.abs(ratings).max(initial=0.0))[1]))
        spread = ratings.std()
        ratings = (ratings - ratings.mean()) / (spread if spread > 0 else 1.0)
    return ratings / temperature


@dataclass(frozen=True)
class QuRating(Strategy):
    """Draw candidates without replacement in proportion to exp(rating / temperature).

    Gumbel top-k, keyed by id.
    `rating` (N,): any rating. normalize: bring the candidates' ratings to mean 0 and standard
    deviation 1 before. temperature: 0 takes the highest ratings and draws nothing. The authors'
    program ends with the row that meets a budget of tokens; `Select` with a cost ends before
    the one that overruns it. Scores: the perturbed log-weights.

    >>> from coreset import select
    >>> select("qurating", 2, rating=[0.0, 9.0, 5.0], options={"temperature": 0.0}).indices
    array([1, 2])
    """

    temperature: float = 2.0
    normalize: bool = True

    needs = frozenset({"rating"})
    random = True

    def __post_init__(self) -> None:
        check_range("a number in [0, inf)", temperature=self.temperature)

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Return the draws in order."""
        ratings = numbers_at(signals, "rating", pool.candidates)
        ids = pool.ids[pool.candidates]
        if self.temperature == 0:
            order = np.lexsort((np.argsort(np.argsort(ids, kind="stable")), -ratings))[:k]
            return Selection(pool.candidates[order], scores=ratings[order])
        logits = rating_logits(ratings, self.temperature, self.normalize)
        order, keys = gumbel_order(rng, ids, logits)
        return Selection(pool.candidates[order[:k]], scores=keys[:k])
