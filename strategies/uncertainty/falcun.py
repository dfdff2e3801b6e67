"""Falcun: uncertain examples whose predictions differ from those of the batch so far.

Gilhuber, Beer, Ma & Seidl, "FALCUN: A Simple and Efficient Deep Active Learning Strategy", ECML
PKDD 2024.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from coreset import Pool, Selection, Signals, Strategy
from coreset.numerics.random import keyed_order
from coreset.numerics.tensors import rows
from coreset.strategies.uncertainty.margin import margin


def falcun(
    probs: NDArray[np.float64], k: int, gamma: float, draws: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return `k` rows of `probs` (n, C) in the order drawn, and the relevance of each when drawn.

    Relevance: u_i + d_i. u_i = 1 - (p1 - p2); d_i: the least L1 distance of p_i to a row drawn
    before, at first u_i and never above it, scaled over the rows that are left so that its lowest
    is 0 and its highest 1 (all 0 where they are equal). A row is drawn in proportion to its
    relevance^gamma, looked up with draws (k,) in [0, 1); gamma = inf takes the highest, ties to the
    lowest row. Time O(k n C).

    >>> p = np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.45, 0.55]])
    >>> falcun(p, 2, np.inf, np.zeros(2))[0].tolist()
    [0, 2]
    """
    sure = margin(torch.from_numpy(probs)).numpy()
    near, open_ = sure.copy(), np.ones(len(probs), bool)
    picks, values = np.empty(k, np.int64), np.empty(k)
    for step in range(k):
        left = near[open_]
        low, spread = left.min(), left.max() - left.min()
        scaled = (near - low) / spread if spread > 0 else np.zeros(len(near))
        relevance = np.where(open_, sure + scaled, -1.0)
        pick = int(relevance.argmax())
        if np.isfinite(gamma):
            share = np.where(
                open_, relevance / relevance[pick] if relevance[pick] > 0 else 1.0, 0.0
            )
            heap = np.cumsum(np.where(open_, share**gamma, 0.0))
            pick = int(np.searchsorted(heap, draws[step] * heap[-1], side="right"))
        picks[step], values[step], open_[pick] = pick, relevance[pick], False
        np.minimum(near, np.abs(probs - probs[pick]).sum(axis=1), out=near)
    return picks, values


@dataclass(frozen=True)
class Falcun(Strategy):
    """Draw candidates by margin plus distance, in probabilities, to the batch so far.

    gamma: the power of the relevance that draws are in proportion to; 0 draws at random, `.inf`
    takes the highest. Draws are keyed by id. Scores: the relevance of each when drawn.

    >>> from coreset import select
    >>> p = np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.45, 0.55]])
    >>> sorted(select("falcun", 2, probs=p, options={"gamma": 1000.0}).indices.tolist())[1]
    2
    """

    gamma: float = 10.0

    needs = frozenset({"probs"})
    random = True
    unbounded = frozenset({"gamma"})

    def __post_init__(self) -> None:
        if not self.gamma >= 0:
            raise ValueError(f"gamma: expected a number of at least 0, got {self.gamma}")

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Draw `k` candidates, one after the other."""
        order = keyed_order(rng, pool.ids[pool.candidates])
        at = pool.candidates[order]
        probs = rows(signals.column("probs"), at).double().cpu().numpy()
        picks, values = falcun(probs, k, self.gamma, rng.random(k))
        return Selection(at[picks], scores=values)
