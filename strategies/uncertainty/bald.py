"""BALD: what a label would tell about the parameters, I(y; w) = H[mean p] - mean H[p].

Houlsby et al., "Bayesian Active Learning for Classification and Preference Learning", 2011
(arXiv:1112.5745); with MC dropout, Gal, Islam & Ghahramani, ICML 2017 (arXiv:1703.02910).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from coreset import Pool, Signals
from coreset.numerics.tensors import as_tensor, per_row
from coreset.score_based import ScoreBased
from coreset.strategies.uncertainty.entropy import entropy


def bald(member_probs: Any) -> Tensor:
    """Return the mutual information in nats, (N,) float64, from `member_probs` (N, T, C): T
    members' class probabilities.

    >>> import torch
    >>> [
    ...     round(v, 6)
    ...     for v in bald(
    ...         torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5], [0.5, 0.5]]])
    ...     ).tolist()
    ... ]
    [0.693147, 0.0]
    """
    p = as_tensor(member_probs).double()
    return entropy(p.mean(dim=1)) - entropy(p).mean(dim=1)


@dataclass(frozen=True)
class Bald(ScoreBased):
    """Take the candidates on which the members (MC dropout passes or an ensemble) disagree while
    each is sure.

    >>> from coreset import select
    >>> import numpy as np
    >>> select(
    ...     "bald", 1, member_probs=np.array([[[0.5, 0.5], [0.5, 0.5]], [[0.9, 0.1], [0.1, 0.9]]])
    ... ).indices
    array([1])
    """

    needs = frozenset({"member_probs"})
    row_wise = True

    def score(self, pool: Pool, signals: Signals) -> NDArray[np.float64]:
        """Return the mutual information per candidate, in nats."""
        return per_row(bald, signals.column("member_probs"), pool.candidates)
