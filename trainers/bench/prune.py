"""What a training on the whole labeled pool tells: the columns prune strategies read."""

from __future__ import annotations

import time
from collections.abc import Iterable
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
    """Columns of a replicate (n rows, validation set included), each measured once for all rows of
    a table: features, labels, predictions of a head trained on the whole pool, and the dynamics of
    a linear head.
    """

    def __init__(self, learner: ProbeLearner, data: Replicate, protocol: Protocol) -> None:
        self.learner, self.data, self.protocol = learner, data, protocol
        self._kept: dict[str, NDArray[Any]] = {}
        self._seconds: dict[str, float] = {}

    def columns(self, names: Iterable[str]) -> tuple[dict[str, NDArray[Any]], float]:
        """Return the columns `names` (n, ...) and the CPU seconds it took to measure them."""
        wanted = set(names)
        for part in (wanted & FREE, wanted & self.learner.available - FREE, wanted & RECORDED):
            missing = sorted(part - set(self._kept))
            if missing:
                begin = time.process_time()
                self._kept |= self._measured(missing)
                spent = time.process_time() - begin
                self._seconds |= dict.fromkeys(missing, spent / len(missing))
        return {n: self._kept[n] for n in wanted}, sum(self._seconds[n] for n in wanted)

    def _measured(self, names: list[str]) -> dict[str, NDArray[Any]]:
        """Return columns of one kind."""
        learner, data, every = self.learner, self.data, np.arange(self.learner.size)
        if names[0] in FREE:
            known = {"labels": data.labels, "validation": ~data.candidates}
            features = learner.signals(every, ["features"]) if "features" in names else {}
            return {n: known[n] for n in names if n in known} | features
        rows = np.flatnonzero(data.candidates)
        if names[0] not in RECORDED:
            seed = [self.protocol.seed, TRAINING, data.number, 0]
            learner.fit(rows, data.labels, seed=seed)
            return learner.signals(every, names, seed=self.protocol.seed)
        rng = stream(self.protocol, PROXY, data.number)
        x, y = learner.features[rows], data.labels[rows]
        of_rows = head_dynamics(x, y, len(learner.classes), names, rng)
        out = {name: np.full(learner.size, np.nan) for name in names}
        for name, values in of_rows.items():
            out[name][rows] = values
        return out
