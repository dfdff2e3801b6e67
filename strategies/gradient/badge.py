"""BADGE: k-means++ over the gradients the model would get if its own predictions were the labels.

Ash et al., "Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds", ICLR 2020,
Algorithm 1 (arXiv:1906.03671); the sampling is k-means++, Arthur & Vassilvitskii, SODA 2007.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from coreset import Pool, Selection, Signals, Strategy
from coreset.numerics.gradients import LastLayerGradients, last_layer_gradients
from coreset.numerics.random import keyed_order

FIRST = ("largest", "random")
# picks at which the distances of all are brought up to date whatever the proposals cost
_EARLY = (8, 64)
_LEAST, _MOST = 64, 4096  # proposals drawn at a time
_REACH = 4096  # picks that proposals are measured against at a time


def _fold(g: LastLayerGradients, centers: LastLayerGradients, nearest: NDArray[np.float64]) -> None:
    """Lower `nearest` (n,) to the squared distance to `centers`, block by block."""
    for part, block in g.blocks(2**22 // max(len(centers), 64)):
        new = block.squared_distances(centers).amin(dim=1).double().cpu().numpy()
        np.minimum(nearest[part], new, out=nearest[part])


def sample_d2(
    g: LastLayerGradients, k: int, first: int, order: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return `k` rows, each drawn with probability proportional to D², and the D² each was drawn
    with (the first: infinite).

    D² is the squared distance to the nearest row drawn before. order (n,): a fixed order of the
    rows in which the draws are looked up, so that the answer follows `order` and not the
    arrangement. Exact by rejection: rows are proposed by distances that miss the latest picks,
    hence too large, and kept with probability D² / (that distance), for which only they are
    measured. The distances of all are brought up to date after the first few picks and once as many
    proposals as a quarter of the rows were thrown away. When D² is zero everywhere the rest follows
    `order`. Memory O(n) beside the two factors.

    >>> g = LastLayerGradients(torch.tensor([[1.0], [1.0], [3.0]]), torch.ones(3, 1))
    >>> sample_d2(g, 3, 2, np.arange(3), np.random.default_rng(0))[1].tolist()
    [inf, 8.0, 0.0]
    """
    n = len(g)
    picks, scores = [first], [np.inf]
    bound = np.full(n, np.inf)
    folded, rejected = 0, 0
    cumulated = np.empty(0)
    while len(picks) < k:
        early = any(folded < at <= len(picks) for at in _EARLY)
        if not folded or early or 4 * rejected > n:
            for start in range(folded, len(picks), _REACH):
                _fold(g, g.at(np.array(picks[start : start + _REACH])), bound)
            folded, rejected = len(picks), 0
            cumulated = np.cumsum(bound[order])
            if cumulated[-1] <= 0:
                break
        chance = rng.random((min(max(len(picks), _LEAST), _MOST), 2))
        at = np.searchsorted(cumulated, chance[:, 0] * cumulated[-1], side="right")
        drawn = order[np.minimum(at, n - 1)]
        near, threshold = bound[drawn], chance[:, 1] * bound[drawn]
        alive = np.flatnonzero(threshold < near)
        for start in range(folded, len(picks), _REACH):
            new = g.at(drawn[alive]).squared_distances(
                g.at(np.array(picks[start : start + _REACH]))
            )
            near[alive] = np.minimum(near[alive], new.amin(dim=1).double().cpu().numpy())
            alive = alive[threshold[alive] < near[alive]]
        proposed = g.at(drawn[alive])
        among = proposed.squared_distances(proposed).double().cpu().numpy()
        near, threshold = near[alive], threshold[alive]
        rejected += len(drawn) - len(alive)
        for j in range(len(alive)):
            if threshold[j] < near[j]:
                picks.append(int(drawn[alive[j]]))
                scores.append(float(near[j]))
                near = np.minimum(near, among[j])
                if len(picks) == k:
                    break
            else:
                rejected += 1
    left = order[~np.isin(order, picks)][: k - len(picks)]
    return np.array(picks + left.tolist(), np.int64), np.array(scores + [0.0] * len(left))


@dataclass(frozen=True)
class Badge(Strategy):
    """Draw examples whose hypothesised last-layer gradients are large and lie apart.

    first: `largest` starts with the largest gradient (the authors' code), `random` with any. bias:
    count the bias in the gradient (the authors leave it out). Labels are not read and examples
    already selected play no part, as in the paper. Scores: squared distance to the nearest earlier
    choice.

    >>> from coreset import select
    >>> p = np.array([[0.5, 0.5], [0.9, 0.1], [0.6, 0.4]])
    >>> select("badge", 1, features=np.ones((3, 2)), probs=p).indices
    array([0])
    """

    first: str = "largest"
    bias: bool = False

    needs = frozenset({"features", "probs"})
    random = True

    def __post_init__(self) -> None:
        if self.first not in FIRST:
            raise ValueError(f"first: expected {' or '.join(FIRST)}, got {self.first!r}")

    @property
    def scales(self) -> Mapping[str, Mapping[str, float] | None]:
        """Columns whose multiples change no choice, with the power that scores and info carry."""
        return {} if self.bias else {"features": {"scores": 2}}

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Run k-means++ over the candidates."""
        g = last_layer_gradients(signals, pool.candidates, hypothesised=True, bias=self.bias)
        order = keyed_order(rng, pool.ids[pool.candidates])
        start = int(torch.argmax(g.squared_norms)) if self.first == "largest" else int(order[0])
        picks, scores = sample_d2(g, k, start, order, rng)
        return Selection(pool.candidates[picks], scores=scores, info={"first": self.first})
