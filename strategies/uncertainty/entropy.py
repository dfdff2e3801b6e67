"""Entropy of the predicted class, in nats.

Shannon, "A Mathematical Theory of Communication", 1948; as a query rule, Settles & Craven, EMNLP
2008.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset import Pool, Signals
from coreset.numerics.tensors import as_tensor, per_row
from coreset.score_based import ScoreBased


def entropy(probs: Any) -> Tensor:
    """Return -sum p ln p over the last axis in float64, with 0 ln 0 = 0; probs: a tensor
    or an array.

    >>> import torch
    >>> [round(v, 6) for v in entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]])).tolist()]
    [0.693147, 0.0]
    """
    p: Tensor = torch.special.entr(as_tensor(probs).double())
    return p.sum(dim=-1)


@dataclass(frozen=True)
class Entropy(ScoreBased):
    """Take the candidates whose predicted class distribution has the highest entropy.

    >>> from coreset import select
    >>> import numpy as np
    >>> select("entropy", 1, probs=np.array([[0.6, 0.4, 0.0], [0.5, 0.25, 0.25]])).indices
    array([1])
    """

    needs = frozenset({"probs"})
    row_wise = True

    def score(self, pool: Pool, signals: Signals) -> NDArray[np.float64]:
        """Return the entropy per candidate, in nats."""
        return per_row(entropy, signals.column("probs"), pool.candidates)
