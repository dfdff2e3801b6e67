"""Two stages: one strategy makes a shortlist, another chooses from it.

As filtering by uncertainty before diversity in Yang et al. (PPAL), "Plug and Play Active Learning
for Object Detection", CVPR 2024 (arXiv:2211.11612), which shortlists four times the budget.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from coreset import Pool, Selection, Signals, Strategy
from coreset.core.ranges import check_range
from coreset.strategies.combine.parts import Combined, narrow
from coreset.strategies.coverage.kcenter import KCenterGreedy
from coreset.strategies.uncertainty.margin import Margin


@dataclass(frozen=True)
class TwoStage(Combined):
    """Shortlist with `first`, then choose with `second`; weights and scores are those of the
    second.

    expand: the shortlist holds ceil(expand k) candidates, at least k, at most all.

    >>> from coreset import select
    >>> x = np.array([[0.0], [5.0], [5.1], [99.0]])
    >>> p = np.array([[0.5, 0.5], [0.5, 0.5], [0.6, 0.4], [1.0, 0.0]])
    >>> select("two_stage", 1, features=x, probs=p, selected=[0], options={"expand": 2.0}).indices
    array([2])
    """

    first: Strategy = field(default_factory=Margin)
    second: Strategy = field(default_factory=KCenterGreedy)
    expand: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("a factor in [1, inf)", expand=self.expand)

    @property
    def parts(self) -> tuple[Strategy, ...]:
        """Return both stages."""
        return (self.first, self.second)

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Return the second's choice from the first's shortlist."""
        size = min(len(pool.candidates), int(np.ceil(self.expand * k - 1e-9)))
        shortlist = np.sort(self.first(pool, signals, size, rng).indices)
        answer = self.second(narrow(pool, shortlist), signals, k, rng)
        return Selection(
            answer.indices, answer.weights, answer.scores, answer.reasons, info={"shortlist": size}
        )
