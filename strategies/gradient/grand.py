"""GraNd: the length of the loss gradient, here of the last layer: ||p - onehot(y)|| sqrt(||h||² + 1).

Paul, Ganguli & Dziugaite, "Deep Learning on a Data Diet: Finding Important Examples Early in Training", NeurIPS 2021 (arXiv:2107.07075).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Signals
from coreset.numerics.gradients import last_layer_gradients
from coreset.scored import Scored


@dataclass(frozen=True)
class Grand(Scored):
    """Take the candidates with the longest last-layer gradient of one model. Needs their labels.

    bias: count the bias in the gradient. The paper averages over several models early in training; that mean is a column of yours, and `top_k`
    takes it.

    >>> from coreset import select
    >>> select("grand", 1, features=np.array([[1.0], [3.0]]), probs=np.full((2, 2), 0.5), labels=np.zeros(2, int)).scores.round(6)
    array([2.236068])
    """

    bias: bool = True

    needs = frozenset({"features", "labels", "probs"})
    row_wise = True

    def score(self, pool: Pool, signals: Signals) -> NDArray[np.float64]:
        """Return the gradient's length per candidate."""
        norms = last_layer_gradients(signals, pool.candidates, bias=self.bias).squared_norms
        return np.asarray(norms.sqrt().cpu().numpy())
