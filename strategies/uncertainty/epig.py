"""EPIG: what a label would tell about the predictions that matter, the mean of I(y; y*) over target
inputs.

Bickford Smith, Kirsch, Farquhar, Gal, Foster & Rainforth, "Prediction-Oriented Bayesian Active
Learning", AISTATS 2023 (arXiv:2304.08151).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Signals
from coreset.core.pool import Indices
from coreset.core.signals import check_column
from coreset.numerics.random import keyed_uniform
from coreset.numerics.tensors import as_tensor, rows
from coreset.score_based import ScoreBased
from coreset.strategies.uncertainty.information import expected_predictive_information


@dataclass(frozen=True)
class Epig(ScoreBased):
    """Take the candidates whose labels tell most about the labels of the targets.

    column: a boolean column (N,), True = target (None: the candidates and what is taken). targets:
    at most that many of them are used, a sample keyed by id and `seed`; cost and memory grow with
    targets C^2 per candidate. Members must be the same for all examples.

    >>> from coreset import select
    >>> p = np.array([[[0.9, 0.1], [0.1, 0.9]], [[0.5, 0.5], [0.5, 0.5]], [[0.8, 0.2], [0.2, 0.8]]])
    >>> select(
    ...     "epig",
    ...     1,
    ...     member_probs=p,
    ...     target=np.array([False, False, True]),
    ...     options={"column": "target"},
    ... ).indices
    array([0])
    """

    column: str | None = None
    targets: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        if self.targets < 1:
            raise ValueError(f"targets: expected at least 1, got {self.targets}")

    @property
    def needs(self) -> frozenset[str]:
        """Return the members' probabilities, and the column."""
        return frozenset({"member_probs"} if self.column is None else {"member_probs", self.column})

    @property
    # a plain attribute where it does not depend on options
    def needs_selected(self) -> frozenset[str]:  # type: ignore[override]
        """Return the members' probabilities where what is taken belongs to the targets."""
        return frozenset({"member_probs"}) if self.column is None else frozenset()

    def positions(self, pool: Pool, signals: Signals) -> Indices:
        """Return the positions of the targets that are used, ascending by id key."""
        if self.column is None:
            targets = np.sort(np.concatenate([pool.candidates, pool.selected]))
        else:
            flags = as_tensor(signals.column(self.column)).cpu().numpy()
            if flags.dtype != bool or flags.ndim != 1:
                raise ValueError(
                    f"{self.column}: expected a boolean column (N,), True = target, got"
                    f" {flags.dtype} with shape {flags.shape}"
                )
            targets = np.flatnonzero(flags).astype(np.int64)
            if not len(targets):
                raise ValueError(f"{self.column}: no example is a target")
        order = np.argsort(keyed_uniform(self.seed, pool.ids[targets]), kind="stable")
        targets = targets[order[: self.targets]]
        check_column("member_probs", signals.check("member_probs", targets), targets)
        return targets

    def score(self, pool: Pool, signals: Signals) -> NDArray[np.float64]:
        """Return the expected predictive information gain per candidate, in nats."""
        column = signals.column("member_probs")
        targets = rows(column, self.positions(pool, signals))
        return expected_predictive_information(rows(column, pool.candidates), targets).cpu().numpy()
