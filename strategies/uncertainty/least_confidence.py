"""Least confidence: 1 - max_c p(c), the classifier's doubt in its own answer.

Lewis & Gale, "A Sequential Algorithm for Training Text Classifiers", SIGIR 1994.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Signals
from coreset.numerics.tensors import largest_in_row, per_row
from coreset.score_based import ScoreBased


def least_confidence(probs: Any) -> Any:
    """Return 1 - the largest probability, (N,) float64, from `probs` (N, C), an array or a tensor.

    >>> import numpy as np
    >>> least_confidence(np.array([[0.75, 0.25]])).tolist()
    [0.25]
    """
    return 1 - largest_in_row(probs, 1)[:, 0]


@dataclass(frozen=True)
class LeastConfidence(ScoreBased):
    """Take the candidates whose most likely class is least likely.

    >>> from coreset import select
    >>> import numpy as np
    >>> select("least_confidence", 1, probs=np.array([[0.9, 0.1], [0.6, 0.4]])).indices
    array([1])
    """

    needs = frozenset({"probs"})
    row_wise = True

    def score(self, pool: Pool, signals: Signals) -> NDArray[np.float64]:
        """Return 1 - max p per candidate."""
        return per_row(least_confidence, signals.column("probs"), pool.candidates)
