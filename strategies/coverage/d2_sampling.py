"""D^2 sampling: examples drawn in proportion to squared distance, with weights that keep sums over
the pool unbiased.

`lightweight`: Bachem, Lucic & Krause, "Scalable k-Means Clustering via Lightweight Coresets", KDD
2018 (arXiv:1702.08248). `adaptive`: the seeding of k-means++, Arthur & Vassilvitskii, SODA 2007.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset import Pool, Selection, Signals, Strategy
from coreset.numerics.neighbors.kmeans import assign, d2_sample
from coreset.numerics.random import keyed_order
from coreset.numerics.tensors import as_float, rows, unit_rows

VARIANTS = ("lightweight", "adaptive")


def lightweight_share(x: Tensor) -> NDArray[np.float64]:
    """Return q (n,): half uniform, half in proportion to the squared distance of each row of `x`
    (n, D) from the mean; sums to 1. Uniform when all rows coincide.

    >>> lightweight_share(torch.tensor([[0.0], [0.0], [3.0]])).round(4).tolist()
    [0.25, 0.25, 0.5]
    """
    mean = torch.stack([p.double().sum(dim=0) for p in torch.split(x, 8192)]).sum(dim=0) / len(x)
    square = (
        torch.cat([(p.double() - mean).square().sum(dim=1) for p in torch.split(x, 8192)])
        .cpu()
        .numpy()
    )
    uniform = np.full(len(x), 1 / len(x))
    return 0.5 * uniform + 0.5 * square / square.sum() if square.sum() > 0 else uniform


def inclusion(share: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Return probabilities (n,) that sum to `k`: in proportion to `share`, none above 1.

    >>> inclusion(np.array([0.8, 0.1, 0.1]), 2).tolist()
    [1.0, 0.5, 0.5]
    """
    out, sure = np.zeros(len(share)), np.zeros(len(share), bool)
    while True:
        left = k - int(sure.sum())
        out[~sure] = share[~sure] / share[~sure].sum() * left if left else 0.0
        out[sure] = 1.0
        over = ~sure & (out >= 1 - 1e-12)
        if not over.any():
            return out
        sure |= over


def systematic(chance: NDArray[np.float64], k: int, start: float) -> NDArray[np.int64]:
    """Return `k` distinct rows, each with its probability `chance` (sum k, none above 1): those
    where the running sum passes start, start + 1, ...

    >>> systematic(np.array([0.5, 0.5, 1.0]), 2, 0.7).tolist()
    [1, 2]
    """
    edges = np.cumsum(chance)
    edges *= k / edges[-1]
    return np.searchsorted(edges, start + np.arange(k), side="right").clip(max=len(chance) - 1)


@dataclass(frozen=True)
class D2Sampling(Strategy):
    """Draw candidates at random, those far away more often.

    variant: `lightweight` (default): far from the mean, with weights. Each candidate is drawn with
    probability p, at most once (systematic sampling over an order keyed by id, where the paper
    draws with replacement), and weighs 1 / p: weighted sums over the answer are unbiased for sums
    over the candidates. `adaptive`: one after the other, far from everything drawn or selected
    before; no weights. Scores: p, or the squared distance at the time.

    >>> from coreset import select
    >>> import numpy as np
    >>> chosen = select("d2_sampling", 2, features=np.array([[0.0], [0.0], [3.0]]))
    >>> sorted(chosen.weights.tolist())
    [1.0, 2.0]
    """

    variant: str = "lightweight"
    normalize: bool = False

    needs = frozenset({"features"})
    random = True

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant: expected {' or '.join(VARIANTS)}, got {self.variant!r}")
        adaptive = self.variant == "adaptive"
        object.__setattr__(self, "greedy", adaptive)
        object.__setattr__(self, "needs_selected", self.needs if adaptive else frozenset())

    @property
    def scales(self) -> Mapping[str, Mapping[str, float] | None]:
        """Columns whose multiples change no choice, with the power that scores and info carry."""
        power = 2 if self.variant == "adaptive" else 0
        return {"features": None if self.normalize else {"scores": power}}

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Draw `k` candidates."""
        order = keyed_order(rng, pool.ids[pool.candidates])
        at = pool.candidates[order]  # an arrangement that travels with the ids
        x, taken = (as_float(rows(signals.column("features"), i)) for i in (at, pool.selected))
        if self.normalize:
            x, taken = unit_rows(x), unit_rows(taken)
        info = {"variant": self.variant}
        if self.variant == "adaptive":
            near = np.square(assign(x, taken)[1]) if len(taken) else None
            picks, squares = d2_sample(x, k, rng, np.arange(len(x)), near)
            return Selection(at[picks], scores=squares, info=info)
        chance = inclusion(lightweight_share(x), k)
        picks = systematic(chance, k, rng.random())
        return Selection(at[picks], 1 / chance[picks], scores=chance[picks], info=info)
