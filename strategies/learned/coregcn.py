"""CoreGCN: k-center on what a graph network sees that learned to tell labeled from unlabeled
examples.

Caramalau, Bhattarai & Kim, "Sequential Graph Convolutional Network for Active Learning", CVPR 2021
(arXiv:2006.10219).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from coreset import Pool, Selection, Signals, Strategy
from coreset.core.columns import POWER
from coreset.core.ranges import check_range
from coreset.numerics.neighbors.farthest import farthest_first
from coreset.numerics.random import keyed_order, keyed_uniform, salt
from coreset.numerics.tensors import rows, unit_rows


def degrees(x: Tensor) -> Tensor:
    """Return d (N,): the sum of the cosines of each row of `x` (N, D), unit rows, to the other
    rows.
    """
    return x @ x.sum(dim=0) - x.square().sum(dim=1)


def propagate(x: Tensor, d: Tensor, h: Tensor) -> Tensor:
    """Return A h, (N, H), with A = (S - diag(S)) / d + I, S = x x^T and d (N,) dividing columns; a
    row without similarity (d <= 0) passes nothing on.

    A is never formed: O(N D H).

    >>> x = torch.eye(3)[[0, 0, 1]]
    >>> propagate(x, degrees(x), torch.tensor([[1.0], [2.0], [4.0]])).tolist()
    [[3.0], [3.0], [4.0]]
    """
    scaled = torch.where(d > 1e-9 * len(d), 1 / d, 0.0)[:, None] * h
    return x @ (x.T @ scaled) - x.square().sum(dim=1, keepdim=True) * scaled + h


def graph_embedding(
    x: Tensor,
    labeled: Tensor,
    rng: np.random.Generator,
    *,
    hidden: int,
    dropout: float,
    epochs: int,
    lr: float,
    weight_decay: float,
    unlabeled_weight: float,
) -> Tensor:
    """Return the hidden layer beside the output, (N, hidden + 1), of a two-layer graph network
    trained to tell `labeled` (N,) bool from the others.

    x (N, D) unit rows. Loss: -mean log s over the labeled - unlabeled_weight x mean log(1 - s) over
    the others, s the sigmoid of the output; Adam, all rows every epoch. Computed in float64,
    weights drawn from `rng`. Raises ValueError when the training diverges.
    """
    x = x.double()
    draw = torch.Generator().manual_seed(int(rng.integers(2**63)))

    def uniform(*shape: int) -> Tensor:
        bound = shape[-1] ** -0.5
        weight = (torch.rand(*shape, generator=draw, dtype=torch.float64) * 2 - 1) * bound
        return weight.to(x.device).requires_grad_()  # type: ignore[no-any-return]

    w1, b1, w2, b2 = uniform(x.shape[1], hidden), uniform(hidden), uniform(hidden, 1), uniform(1)
    d = degrees(x)
    seen = propagate(x, d, x)  # A x w1 = (A x) w1, and A x does not change

    def hidden_layer() -> Tensor:
        return (seen @ w1 + b1).relu()

    optimizer = torch.optim.Adam([w1, b1, w2, b2], lr=lr, weight_decay=weight_decay)
    with torch.enable_grad():
        for _ in range(epochs):
            h = hidden_layer()
            kept = torch.rand(h.shape, generator=draw, dtype=torch.float64).to(x.device) >= dropout
            z = (propagate(x, d, (h * kept / (1 - dropout)) @ w2) + b2)[:, 0]
            loss = (
                -functional.logsigmoid(z[labeled]).mean()
                - unlabeled_weight * functional.logsigmoid(-z[~labeled]).mean()
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.no_grad():
        h = hidden_layer()
        embedding = torch.cat([h, propagate(x, d, h @ w2) + b2], dim=1)
    if not bool((embedding.abs() <= 2.0**POWER).all()):  # NaN included
        raise ValueError(f"lr: the graph network diverged with {lr:g}; use a smaller learning rate")
    return embedding


@dataclass(frozen=True)
class CoreGcn(Strategy):
    """Take the candidate farthest from everything taken so far, in the embedding of a graph network
    over labeled examples and a random part of the pool.

    subset: how many candidates, drawn by id, are in the graph (at least the budget; None: all). The
    rest as published: hidden 128, dropout 0.3, 200 epochs, Adam with lr 0.001 and weight decay
    0.0005, unlabeled_weight 1.2 (lambda). Edges are cosines of the features, which should not be
    negative (after a ReLU). Scores: the distance at which each was chosen. A budget above `subset`
    makes a larger graph: prefixes agree up to it only.

    >>> from coreset import select
    >>> import numpy as np
    >>> len(
    ...     select(
    ...         "coregcn",
    ...         2,
    ...         features=np.eye(5)[[0, 0, 1, 2, 3]],
    ...         selected=[0],
    ...         options={"epochs": 5},
    ...     )
    ... )
    2
    """

    subset: int | None = 10_000
    hidden: int = 128
    dropout: float = 0.3
    epochs: int = 200
    lr: float = 0.001
    weight_decay: float = 0.0005
    unlabeled_weight: float = 1.2

    needs = frozenset({"features"})
    needs_selected = frozenset({"features"})
    greedy = False
    random = True

    def __post_init__(self) -> None:
        for name, least in (("subset", 1), ("hidden", 1), ("epochs", 0)):
            value = getattr(self, name)
            if value is None and name == "subset":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(
                    f"{name}: expected a whole number of at least {least}, got {value!r}"
                )
        if not self.lr > 0:
            raise ValueError(f"lr: expected a positive number, got {self.lr}")
        if not (self.weight_decay >= 0 and self.unlabeled_weight >= 0):
            raise ValueError(
                "weight_decay, unlabeled_weight: expected numbers of at least 0, "
                f"got {self.weight_decay} and {self.unlabeled_weight}"
            )
        check_range("a share in [0, 1)", dropout=self.dropout)

    @property
    def scales(self) -> Mapping[str, Mapping[str, float] | None]:
        """Columns whose multiples change no choice, with the power that scores and info carry."""
        return {"features": None}

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Train the graph network, then run k-center from `pool.selected` in its embedding."""
        if not len(pool.selected):
            raise ValueError(
                "selected: CoreGCN tells labeled from unlabeled examples; label some first, at"
                " random"
            )
        candidates = pool.candidates
        if self.subset is not None:
            candidates = candidates[keyed_order(rng, pool.ids[candidates])[: max(k, self.subset)]]
        nodes = np.concatenate([pool.selected, candidates])
        labeled = np.arange(len(nodes)) < len(pool.selected)
        # in an order of their own: sums round the same however the pool is arranged
        order = np.argsort(keyed_uniform(salt(rng), pool.ids[nodes]), kind="stable")
        nodes, labeled = nodes[order], labeled[order]
        x = unit_rows(rows(signals.column("features"), nodes).double())
        embedding = graph_embedding(
            x, torch.from_numpy(labeled).to(x.device), rng, hidden=self.hidden,
            dropout=self.dropout, epochs=self.epochs,
            lr=self.lr, weight_decay=self.weight_decay, unlabeled_weight=self.unlabeled_weight,
        )  # fmt: skip
        back = np.argsort(nodes)  # by position, so that ties go to the lowest
        nodes, labeled, embedding = (
            nodes[back],
            labeled[back],
            embedding[torch.from_numpy(back).to(x.device)],
        )
        centers, free = (
            torch.from_numpy(np.flatnonzero(part)).to(x.device) for part in (labeled, ~labeled)
        )
        picks, distances, _ = farthest_first(embedding, k, centers, free)
        return Selection(nodes[picks], scores=distances, info={"looked_at": len(candidates)})
