"""BatchBALD: the batch whose labels together tell most about the parameters, I(y_1 ... y_b; w),
chosen greedily.

Kirsch, van Amersfoort & Gal, "BatchBALD: Efficient and Diverse Batch Acquisition for Deep Bayesian
Active Learning", NeurIPS 2019 (arXiv:1906.08158).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from coreset import Pool, Selection, Signals, Strategy
from coreset.numerics.tensors import rows
from coreset.strategies.uncertainty.information import JointLabels


def batchbald(
    member_probs: Tensor, k: int, configurations: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor, int]:
    """Return `k` rows of `member_probs` (n, T, C) in order, the information each adds in nats, and
    how many of them were chosen by the exact joint.

    The first is the best by BALD; the sum of the first b is I(y_1 ... y_b; w), within 1 - 1/e of
    the best while exact. configurations: see `JointLabels`.

    >>> p = torch.tensor(
    ...     [[[0.9, 0.1], [0.1, 0.9]], [[0.9, 0.1], [0.1, 0.9]], [[0.4, 0.6], [0.5, 0.5]]]
    ... )
    >>> batchbald(p, 2, 100, np.random.default_rng(0))[0].tolist()
    [0, 1]
    """
    joint = JointLabels(member_probs.shape[1], configurations, member_probs.device)
    picks, gains = torch.empty(k, dtype=torch.int64), torch.empty(k, dtype=torch.float64)
    free = torch.zeros(len(member_probs), dtype=torch.float64, device=member_probs.device)
    exact = 0
    for i in range(k):
        gain = joint.gains(member_probs) + free
        # a product rounds equal rows in more than one way
        best = int(gain.round(decimals=12).argmax())
        picks[i], gains[i], free[best] = best, gain[best], -torch.inf
        exact += joint.exact
        if i + 1 < k:
            joint.add(member_probs[best], rng)
    return picks, gains, exact


@dataclass(frozen=True)
class BatchBald(Strategy):
    """Take the candidates whose labels tell most about the parameters beyond what the labels of
    those before them tell.

    configurations: of the batch's labels, kept; C^(b-1) of them make the b-th choice exact (fewer
    where probabilities are zero), beyond they are sampled. `info["exact"]` counts the exact
    choices. Cost: n T C configurations a choice; for a large pool let `two_stage` shortlist by
    `bald`. Scores: the information each adds, in nats.

    >>> from coreset import select
    >>> p = np.array([[[0.5, 0.5], [0.5, 0.5]], [[0.9, 0.1], [0.1, 0.9]]])
    >>> select("batchbald", 2, member_probs=p).indices
    array([1, 0])
    """

    configurations: int = 1024

    needs = frozenset({"member_probs"})
    random = True

    def __post_init__(self) -> None:
        if self.configurations < 1:
            raise ValueError(f"configurations: expected at least 1, got {self.configurations}")

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Run the greedy over the candidates."""
        p = rows(signals.column("member_probs"), pool.candidates)
        picks, gains, exact = batchbald(p, k, self.configurations, rng)
        return Selection(
            pool.candidates[picks.numpy()], scores=gains.numpy(), info={"exact": exact}
        )
