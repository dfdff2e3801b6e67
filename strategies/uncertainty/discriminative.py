"""Discriminative active learning: take what a classifier tells apart most surely from the labeled
examples.

Gissin & Shalev-Shwartz, "Discriminative Active Learning", 2019 (arXiv:1907.06347), on features; the
classifier's shape and training are those of the authors' code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from coreset import Pool, Selection, Signals, Strategy
from coreset.numerics.quota import largest_remainder
from coreset.numerics.random import keyed_order
from coreset.numerics.tensors import rows, top_k

CLASSIFIERS = ("mlp", "logistic")
LAYERS, WIDTH, NARROW = 3, 256, 20  # hidden layers; their units, and with fewer than 30 features
BATCH, RATE, ENOUGH = 1024, 3e-4, 0.98


def standardized(x: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the rows of `x` (n, D) with mean 0 and spread 1 per feature;
    a constant feature is 0.
    """
    spread = x.std(axis=0)
    return np.asarray((x - x.mean(axis=0)) / np.where(spread > 0, spread, 1.0), np.float64)


def logistic_score(
    z: NDArray[np.float64], labeled: NDArray[np.bool_], train: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the log-odds (n,) of being unlabeled for each row of `z` (n, D), by a logistic
    regression fitted on the rows `train`.

    The two classes weigh the same, the L2 penalty is |w|^2 / 2 against the summed loss.

    >>> z = np.array([[0.0], [0.1], [1.0], [9.0]])
    >>> odds = logistic_score(z, np.array([True, True, False, False]), np.arange(4))
    >>> bool(odds[3] > odds[2] > odds[0])
    True
    """
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(class_weight="balanced", max_iter=2000, tol=1e-6)
    model.fit(z[train], ~labeled[train])
    return np.asarray(model.decision_function(z))


def mlp_score(
    z: NDArray[np.float64],
    labeled: NDArray[np.bool_],
    train: NDArray[np.int64],
    rng: np.random.Generator,
    epochs: int = 500,
) -> NDArray[np.float64]:
    """Return the log-odds (n,) of being unlabeled for each row of `z` (n, D), by a network trained
    on the rows `train`, in their order.

    Three hidden layers of 256 units (20 with fewer than 30 features), ReLU, Glorot's uniform start,
    cross-entropy, Adam at 3e-4, batches of 1,024 drawn anew each epoch; it stops after the first
    epoch in which more than 98 % of the rows were told right, so that examples like the labeled
    ones stay doubtful. Float64.

    >>> z = np.array([[0.0], [0.1], [1.0], [9.0]])
    >>> odds = mlp_score(
    ...     z, np.array([True, True, False, False]), np.arange(4), np.random.default_rng(0)
    ... )
    >>> bool(odds[3] > odds[1])
    True
    """
    draw = torch.Generator().manual_seed(int(rng.integers(2**63)))
    width = WIDTH if z.shape[1] >= 30 else NARROW
    sizes = [z.shape[1], *[width] * LAYERS, 1]
    weights, biases = [], []
    for a, b in zip(sizes, sizes[1:], strict=False):
        drawn = torch.rand(a, b, generator=draw, dtype=torch.float64) * 2 - 1
        weights.append((drawn * (6 / (a + b)) ** 0.5).requires_grad_())
        biases.append(torch.zeros(b, dtype=torch.float64, requires_grad=True))

    def odds(h: Tensor) -> Tensor:
        for w, b in zip(weights[:-1], biases[:-1], strict=True):
            h = (h @ w + b).relu()
        out: Tensor = h @ weights[-1] + biases[-1]
        return out[:, 0]

    x, y = torch.from_numpy(z[train]), torch.from_numpy(~labeled[train])
    optimizer = torch.optim.Adam([*weights, *biases], lr=RATE)
    with torch.enable_grad():
        for _ in range(epochs):
            right = 0
            for batch in torch.split(torch.randperm(len(x), generator=draw), BATCH):
                logit = odds(x[batch])
                right += int(((logit > 0) == y[batch]).sum())
                loss = functional.binary_cross_entropy_with_logits(logit, y[batch].double())
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            if right > ENOUGH * len(x):
                break
    with torch.no_grad():
        return torch.cat([odds(part) for part in torch.split(torch.from_numpy(z), 8192)]).numpy()


@dataclass(frozen=True)
class Discriminative(Strategy):
    """Take, in turns, the candidates that look least like what is taken; after each turn they count
    as taken.

    classifier: `mlp` (default, the authors' network) or `logistic`, a logistic regression, in a
    fraction of the time. rounds: turns the budget is split into (mini-queries). ratio: the
    classifier is trained on at most that many unlabeled examples per labeled one, drawn anew each
    turn (keyed by id). epochs: of the network, at most. Features are standardized over candidates
    and selected. Raises ValueError when nothing is taken yet. Scores: log-odds of being unlabeled.

    >>> from coreset import select
    >>> select(
    ...     "discriminative",
    ...     1,
    ...     features=np.array([[0.0], [0.1], [5.0]]),
    ...     selected=[0],
    ...     options={"epochs": 50},
    ... ).indices
    array([2])
    """

    classifier: str = "mlp"
    rounds: int = 10
    ratio: int = 10
    epochs: int = 500

    needs = frozenset({"features"})
    needs_selected = frozenset({"features"})
    greedy = False
    random = True

    def __post_init__(self) -> None:
        if self.classifier not in CLASSIFIERS:
            raise ValueError(
                f"classifier: expected {' or '.join(CLASSIFIERS)}, got {self.classifier!r}"
            )
        for name in ("rounds", "ratio", "epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")

    @property
    def scales(self) -> Mapping[str, Mapping[str, float] | None]:
        """Columns whose multiples change no choice, with the power that scores and info carry."""
        return {"features": {}}

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Fit and take, `rounds` times."""
        if not len(pool.selected):
            raise ValueError(
                "selected: the classifier needs labeled examples to tell apart, but none is"
                " taken yet"
            )
        at = np.sort(np.concatenate([pool.candidates, pool.selected]))
        order = keyed_order(rng, pool.ids[at])  # sums run in an order that travels with the ids
        at = at[order]
        z = standardized(rows(signals.column("features"), at).to(torch.float64).cpu().numpy())
        labeled = np.isin(at, pool.selected)
        picks, scores = [], []
        for size in largest_remainder(np.ones(min(self.rounds, k)), k):
            free, known = np.flatnonzero(~labeled), np.flatnonzero(labeled)
            shown = free[keyed_order(rng, pool.ids[at[free]])[: self.ratio * len(known)]]
            train = np.concatenate([known, shown])
            network = self.classifier == "mlp"
            odds = (
                mlp_score(z, labeled, train, rng, self.epochs)
                if network
                else logistic_score(z, labeled, train)
            )
            free = free[np.argsort(at[free])]  # ties go to the lowest position
            best = free[top_k(odds[free], int(size))]
            picks.append(at[best])
            scores.append(odds[best])
            labeled[best] = True
        return Selection(
            np.concatenate(picks), scores=np.concatenate(scores), info={"variant": self.classifier}
        )
