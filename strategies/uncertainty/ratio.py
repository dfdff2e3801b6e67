"""Ratio of confidence: the second highest probability over the highest.

Monarch, "Human-in-the-Loop Machine Learning", Manning 2021, section 3.2. It ranks as the margin of
log-probabilities does, and for two classes as every other uncertainty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Signals
from coreset.numerics.tensors import largest_in_row, per_row
from coreset.score_based import ScoreBased


def ratio(probs: Any) -> Any:
    """Return p2 / p1, (N,) float64 in [0, 1], from `probs` (N, C), an array or a tensor, C >= 2;
    1 = the two are tied.

    Raises ValueError for a single class.

    >>> import numpy as np
    >>> ratio(np.array([[0.5, 0.25, 0.25]])).tolist()
    [0.5]
    """
    if probs.shape[1] < 2:
        raise ValueError(
            f"probs: a ratio needs at least two classes, got shape {tuple(probs.shape)}"
        )
    two = largest_in_row(probs, 2)
    return two[:, 1] / two[:, 0]


@dataclass(frozen=True)
class Ratio(ScoreBased):
    """Take the candidates whose second likeliest class is nearest to the likeliest, as a ratio.

    >>> from coreset import select
    >>> import numpy as np
    >>> select("ratio", 1, probs=np.array([[0.6, 0.36, 0.04], [0.4, 0.23, 0.37]])).indices
    array([1])
    """

    needs = frozenset({"probs"})
    row_wise = True

    def score(self, pool: Pool, signals: Signals) -> NDArray[np.float64]:
        """Return p2 / p1 per candidate."""
        return per_row(ratio, signals.column("probs"), pool.candidates)
