"""AUM, the area under the margin: by how much the given label won over the best other class,
averaged over training.

Pleiss et al., "Identifying Mislabeled Data using the Area Under the Margin Ranking", NeurIPS 2020
(arXiv:2001.10528).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Signals
from coreset.score_based import ScoreBased
from coreset.strategies.baseline.top_k import TopK


@dataclass(frozen=True)
class Aum(ScoreBased):
    """Take the candidates with the lowest margin, the hardest, first.

    signal: `aum` (on logits, Pleiss) or `aum_probs` (on probabilities, as CCS uses it). The very
    lowest are often mislabeled: `ccs` cuts them off.

    >>> from coreset import select
    >>> select("aum", 2, aum=[3.0, -1.0, 0.5]).indices
    array([1, 2])
    """

    signal: str = "aum"

    row_wise = True

    @property
    def needs(self) -> frozenset[str]:
        """Return the one column that is read."""
        return frozenset({self.signal})

    def score(self, pool: Pool, signals: Signals) -> NDArray[np.float64]:
        """Return minus the margin."""
        return TopK(self.signal, highest=False).score(pool, signals)
