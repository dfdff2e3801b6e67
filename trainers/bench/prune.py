"""What a training on the whole labeled pool tells: the columns prune strategies read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.numerics.dynamics import STATISTICS
from coreset.trainers.bench.sample import PROXY, TRAINING, Replicate, stream
from coreset.trainers.bench.suite import FREE, Protocol
from coreset.trainers.learners.head_dynamics import head_dynamics
from coreset.trainers.learners.probe import ProbeLearner

RECORDED = frozenset(STATISTICS)


class Proxy:
    """Columns of a replicate (n rows, validation set included): features, labels, predictions of a
    head trained on the whole pool, and the dynamics of a linear head. What one training gives is
    measured together, once for all rows of a table.
    """

    def __init__(self, learner: ProbeLearner, data: Replicate, protocol: Protocol) -> None:
        self.learner, self.data, self.protocol = learner, data, protocol
        self._kinds: dict[frozenset[str], Callable[[], dict[str, NDArray[Any]]]] = {
            FREE: self._known,
            frozenset({"logits", "probs"}): lambda: self._predicted(["logits", "probs"]),
            frozenset({"member_probs"}): lambda: self._predicted(["member_probs"]),
            RECORDED: self._recorded,
        }
        self._kept: dict[str, NDArray[Any]] = {}
        self._seconds: dict[frozenset[str], float] = {}

    def columns(self, names: Iterable[str]) -> tuple[dict[str, NDArray[Any]], float]:
        """Return the columns `names` (n, ...) and the CPU seconds of the trainings behind them."""
        wanted, spent = frozenset(names), 0.0
        for kind, measure in self._kinds.items():
            if wanted & kind:
                if kind not in self._seconds:
                    begin = time.process_time()
                    self._kept |= measure()
                    self._seconds[kind] = time.process_time() - begin
                spent += self._seconds[kind]
        return {n: self._kept[n] for n in wanted}, spent

    def _known(self) -> dict[str, NDArray[Any]]:
        """Return what needs no training."""
        features = self.learner.signals(np.arange(self.learner.size), ["features"])
        return {"labels": self.data.labels, "validation": ~self.data.candidates, **features}

    def _predicted(self, names: list[str]) -> dict[str, NDArray[Any]]:
        """Return predictions of a head that was trained on the whole pool."""
        rows = np.flatnonzero(self.data.candidates)
        self.learner.fit(
            rows, self.data.labels, seed=[self.protocol.seed, TRAINING, self.data.number, 0]
        )
        every = np.arange(self.learner.size)
        return self.learner.signals(every, names, seed=self.protocol.seed)

    def _recorded(self) -> dict[str, NDArray[Any]]:
        """Return the training dynamics of the pool, NaN in the validation set."""
        rows = np.flatnonzero(self.data.candidates)
        x, y = self.learner.features[rows], self.data.labels[rows]
        rng = stream(self.protocol, PROXY, self.data.number)
        out = {name: np.full(self.learner.size, np.nan) for name in STATISTICS}
        of_rows = head_dynamics(x, y, len(self.learner.classes), STATISTICS, rng)
        for name, values in of_rows.items():
            out[name][rows] = values
        return out
