"""The trainings that are compared: version in force, candidate, control,
the same recipe and seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from coreset.flywheel.assemble import arm, arms
from coreset.flywheel.measure import Subset
from coreset.flywheel.stage import Artifact, Turn


@dataclass(frozen=True)
class Retrain:
    """Train every arm from scratch with every seed (three at least) and keep what it says of the
    frozen examples; a training that an earlier turn has done is not done again.
    """

    least_seeds: int = 3

    def check(self, seeds: Sequence[int]) -> None:
        """Raise ValueError for too few seeds, before labels are paid for."""
        if len(seeds) < self.least_seeds:
            raise ValueError(f"seeds: expected at least {self.least_seeds}, got {len(seeds)}")

    def run(self, turn: Turn) -> Artifact:
        """Return the mean error of every arm on the test set, by seed."""
        self.check(turn.seeds)
        trainings = turn.trainings
        test = trainings.of_role("test")
        facts: dict[str, Any] = {"seeds": list(turn.seeds), "arms": {}}
        labels = turn.data.labels[trainings.rows]
        whole = Subset(test, test)
        for name in arms(turn):
            version = arm(turn, name)
            columns = [trainings.columns(version, s) for s in turn.seeds]
            errors = np.array([turn.measure.of_set(one, labels, whole) for one in columns])
            off = [
                turn.measure.calibration({n: c[test] for n, c in one.items()}, labels[test])
                for one in columns
            ]
            known = [v for v in off if v is not None]
            facts["arms"][name] = {
                "rows": len(version),
                "key": version.key,
                "error": float(errors.mean()),
                "by_seed": errors.tolist(),
                "calibration": float(np.mean(known)) if known else None,
            }
        return Artifact(facts)
