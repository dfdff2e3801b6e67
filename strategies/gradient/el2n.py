"""EL2N: the length of the error vector ||p - onehot(y)||; hard and mislabeled examples score high.

Paul, Ganguli & Dziugaite, "Deep Learning on a Data Diet: Finding Important Examples Early in
Training", NeurIPS 2021 (arXiv:2107.07075).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset import Pool, Signals
from coreset.numerics.gradients import known_labels
from coreset.numerics.tensors import rows
from coreset.score_based import ScoreBased


def el2n(probs: Tensor, labels: Tensor) -> Tensor:
    """Return ||p - onehot(y)||, (n,) float64, from `probs` (n, C) and `labels` (n,); 0 = sure and
    right, sqrt(2) = sure and wrong.

    >>> el2n(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])).numpy().round(6).tolist()
    [0.0, 1.414214]
    """
    error = probs.double()
    if error is probs:
        error = error.clone()
    error[torch.arange(len(error), device=error.device), labels.to(error.device)] -= 1
    return error.square_().sum(dim=1).sqrt()


@dataclass(frozen=True)
class El2n(ScoreBased):
    """Take the candidates with the longest error vector of one model. Needs their labels.

    The paper's mean over several early checkpoints is a column (`el2n`) that training records:
    `top_k` takes it.

    >>> from coreset import select
    >>> select("el2n", 1, probs=np.array([[0.9, 0.1], [0.2, 0.8]]), labels=np.array([0, 0])).indices
    array([1])
    """

    needs = frozenset({"labels", "probs"})
    row_wise = True

    def score(self, pool: Pool, signals: Signals) -> NDArray[np.float64]:
        """Return the error's length per candidate."""
        probs = rows(signals.column("probs"), pool.candidates)
        return el2n(probs, known_labels(signals, pool.candidates, probs.shape[1])).cpu().numpy()
