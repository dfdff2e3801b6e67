"""GraNd: the length of the loss gradient of an example, of the last layer or of the whole network.

Paul, Ganguli & Dziugaite, "Deep Learning on a Data Diet: Finding Important Examples Early in
Training", NeurIPS 2021 (arXiv:2107.07075).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Signals
from coreset.numerics.full_gradients import GRADIENT_NORM
from coreset.numerics.gradients import last_layer_gradients
from coreset.score_based import ScoreBased
from coreset.strategies.baseline.top_k import TopK

GRADIENTS = ("last_layer", "full")


@dataclass(frozen=True)
class Grand(ScoreBased):
    """Take the candidates with the longest loss gradient. Needs their labels.

    gradient: `last_layer`, ||p - onehot(y)|| sqrt(||h||^2 + 1) of one model, or `full`, the
    paper's: over all weights, averaged over several models early in training. `full` reads the
    column `gradient_norm`, which a pruning run measures from `members` proxies (one training each,
    from another initialization), and `coreset.numerics.full_gradients.gradient_norms` from a model
    of yours. bias: count the bias of the last layer; `full` has it in any case.

    >>> from coreset import select
    >>> select(
    ...     "grand",
    ...     1,
    ...     features=np.array([[1.0], [3.0]]),
    ...     probs=np.full((2, 2), 0.5),
    ...     labels=np.zeros(2, int),
    ... ).scores.round(6)
    array([2.236068])
    """

    bias: bool = True
    gradient: str = "last_layer"

    row_wise = True

    def __post_init__(self) -> None:
        if self.gradient not in GRADIENTS:
            raise ValueError(f"gradient: expected {' or '.join(GRADIENTS)}, got {self.gradient!r}")

    @property
    def needs(self) -> frozenset[str]:
        """Return the columns that are read."""
        full = self.gradient == "full"
        return frozenset({GRADIENT_NORM} if full else {"features", "labels", "probs"})

    def score(self, pool: Pool, signals: Signals) -> NDArray[np.float64]:
        """Return the gradient's length per candidate."""
        if self.gradient == "full":
            return TopK(GRADIENT_NORM).score(pool, signals)
        norms = last_layer_gradients(signals, pool.candidates, bias=self.bias).squared_norms
        return np.asarray(norms.sqrt().cpu().numpy())
