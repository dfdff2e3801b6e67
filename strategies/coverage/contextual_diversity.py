"""Contextual diversity: farthest-first on how differently the model sees two examples, the
symmetric divergence of their class probabilities.

Agarwal, Arora, Anand & Arora, "Contextual Diversity for Active Learning", ECCV 2020
(arXiv:2008.05723), its core-set form CDAL-CS.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from coreset import Pool, Selection, Signals, Strategy
from coreset.numerics.compiled import compiled
from coreset.numerics.neighbors.distances import Float
from coreset.numerics.random import keyed_order
from coreset.numerics.tensors import rows

_SMALLEST = 1e-12  # a saturated softmax has zeros; below this a probability counts as this


@compiled
def _lower(p: Float, log_p: Float, center: int, near: Float) -> int:
    """Lower the divergences of rows not taken (-1) by those from `center`; return the row with the
    largest, ties to the lowest.
    """
    best = -1
    for i in range(len(p)):
        if near[i] < 0:
            continue
        total = 0.0
        for c in range(p.shape[1]):
            total += (p[i, c] - p[center, c]) * (log_p[i, c] - log_p[center, c])
        near[i] = min(near[i], max(0.0, total / 2))
        if best < 0 or near[i] > near[best]:
            best = i
    return best


def farthest_by_divergence(
    probs: Tensor, k: int, centers: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
    """Return `k` rows of `probs` (n, C), the divergence each had from all centers before it, and
    the largest left.

    centers: rows already there, at least one; they are not picked. Divergence: (KL(P|Q) + KL(Q|P))
    / 2 in nats, with probabilities below 1e-12 raised to that and each row made to sum to one.
    Float64; ties go to the lowest row. Memory: two float64 copies of probs.

    >>> import torch
    >>> farthest_by_divergence(
    ...     torch.tensor([[0.5, 0.5], [0.6, 0.4], [0.1, 0.9]]), 1, np.array([0])
    ... )[0].tolist()
    [2]
    """
    p = probs.double().clamp_min(_SMALLEST)
    p = (p / p.sum(dim=1, keepdim=True)).cpu()
    values, logs = p.contiguous().numpy(), p.log().numpy()
    near = np.full(len(values), np.inf)
    near[centers] = -1.0
    far = -1
    for c in centers.tolist():
        far = _lower(values, logs, c, near)
    picks, scores = np.empty(k, np.int64), np.empty(k)
    for i in range(k):
        picks[i], scores[i] = far, near[far]
        near[far] = -1.0
        far = _lower(values, logs, far, near)
    return picks, scores, float(near.max(initial=0.0))


@dataclass(frozen=True)
class ContextualDiversity(Strategy):
    """Take the candidate whose class probabilities differ most from those of everything taken so
    far.

    With nothing selected yet the first pick is random (keyed by id); its score is infinite. Scores:
    divergence (nats) from the nearest earlier choice. info: `cover_radius`, the largest divergence
    left.

    >>> from coreset import select
    >>> import numpy as np
    >>> select(
    ...     "contextual_diversity",
    ...     1,
    ...     probs=np.array([[0.5, 0.5], [0.6, 0.4], [0.1, 0.9]]),
    ...     selected=[0],
    ... ).indices
    array([2])
    """

    needs = frozenset({"probs"})
    needs_selected = frozenset({"probs"})
    random = True

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Run the greedy from `pool.selected`."""
        at = np.sort(np.concatenate([pool.selected, pool.candidates]))
        centers = np.searchsorted(at, pool.selected)
        first = np.empty(0, np.int64)
        if not len(centers):
            first = centers = keyed_order(rng, pool.ids[at])[:1]
        picks, scores, radius = farthest_by_divergence(
            rows(signals.column("probs"), at), k - len(first), centers
        )
        scores = np.concatenate([np.full(len(first), np.inf), scores])
        return Selection(
            at[np.concatenate([first, picks])], scores=scores, info={"cover_radius": radius}
        )
