"""Margin: a small gap between the two most likely classes; also known as breaking ties.

Scheffer, Decomain & Wrobel, "Active Hidden Markov Models for Information Extraction", IDA 2001.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Signals
from coreset.numerics.tensors import largest_in_row, per_row
from coreset.score_based import ScoreBased


def margin(probs: Any) -> Any:
    """Return 1 - (p1 - p2), (N,) float64, from `probs` (N, C), an array or a tensor, with C >= 2;
    1 = the two likeliest classes are tied.

    >>> import numpy as np
    >>> margin(np.array([[0.5, 0.25, 0.25]])).tolist()
    [0.75]
    """
    if probs.shape[1] < 2:
        raise ValueError(
            f"probs: a margin needs at least two classes, got shape {tuple(probs.shape)}"
        )
    two = largest_in_row(probs, 2)
    return 1 - (two[:, 0] - two[:, 1])


@dataclass(frozen=True)
class Margin(ScoreBased):
    """Take the candidates whose two most likely classes are closest.

    >>> from coreset import select
    >>> import numpy as np
    >>> select("margin", 1, probs=np.array([[0.6, 0.4, 0.0], [0.5, 0.25, 0.25]])).indices
    array([0])
    """

    needs = frozenset({"probs"})
    row_wise = True

    def score(self, pool: Pool, signals: Signals) -> NDArray[np.float64]:
        """Return 1 - (p1 - p2) per candidate."""
        return per_row(margin, signals.column("probs"), pool.candidates)
