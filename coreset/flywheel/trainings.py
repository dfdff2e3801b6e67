"""Trainings of versions with seeds, and what the models say of the frozen examples: each is done
once and kept on disk, so a turn that was killed loses one training at most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.learner import Learner
from coreset.core.store import Store, fingerprint
from coreset.flywheel.data import FROZEN, FlywheelData
from coreset.flywheel.measure import Measure
from coreset.flywheel.versions import Version


class Trainings:
    """Fits of one learner. name: what the learner is, in the keys of the store: another name is
    another training. rows: positions of the frozen examples (dev, test, canary), whose signals are
    kept.
    """

    def __init__(
        self, learner: Learner, data: FlywheelData, measure: Measure, store: Store, name: str
    ) -> None:
        if learner.size != len(data.ids):
            raise ValueError(
                f"learner: expected {len(data.ids)} examples, as many as the data, got"
                f" {learner.size}"
            )
        missing = sorted(measure.needs - learner.available)
        if missing:
            have = ", ".join(sorted(learner.available)) or "none"
            raise ValueError(
                f"learner: {missing[0]!r} is needed to measure errors; it gives {have}"
            )
        self.learner, self.data, self.measure, self.store = learner, data, measure, store
        self.name = name
        self.rows = data.at(*FROZEN)
        self._frozen = data.fingerprint(*FROZEN)
        self._current: tuple[str, int] | None = None

    def fit(self, version: Version, seed: int) -> None:
        """Make the model of a version and a seed the learner's current one."""
        if self._current == (version.key, seed):
            return
        labels = np.full(len(self.data.ids), -1, np.int64)
        rows = self.data.where(version.ids)
        labels[rows] = version.labels
        order = np.argsort(rows, kind="stable")
        self._current = None
        self.learner.fit(rows[order], labels, seed=(seed,))
        self._current = (version.key, seed)

    def key(self, version: Version, seed: int) -> str:
        """Return what determines a model and its signals on the frozen examples."""
        rows = self.data.where(version.ids)
        return fingerprint(self.name, version.key, seed, self._frozen, self.data.features[rows])

    def columns(self, version: Version, seed: int) -> dict[str, NDArray[Any]]:
        """Return the signals that errors need, at `rows`, of a version trained with a seed."""
        names, key = sorted(self.measure.needs), self.key(version, seed)
        kept = {name: self.store.get(f"frozen-{name}", key) for name in names}
        if any(column is None for column in kept.values()):
            self.fit(version, seed)
            fresh = self.learner.signals(self.rows, names)
            for name in names:
                column = np.asarray(fresh[name])

                def fill(out: NDArray[Any], column: NDArray[Any] = column) -> None:
                    out[...] = column

                kept[name] = self.store.create(
                    f"frozen-{name}", key, column.shape, column.dtype, fill
                )
        return {name: np.asarray(column) for name, column in kept.items()}

    def errors(self, version: Version, seeds: Sequence[int]) -> NDArray[np.float64]:
        """Return the errors (S, E) at `rows` of a version trained with each seed."""
        labels = self.data.labels[self.rows]
        return np.stack([self.measure.errors(self.columns(version, s), labels) for s in seeds])

    def of_role(self, *roles: str) -> NDArray[np.int64]:
        """Return where in `rows` the examples of some roles are."""
        return np.flatnonzero(np.isin(self.data.roles[self.rows], roles)).astype(np.int64)

    def signals(
        self, version: Version, seed: int, rows: NDArray[np.int64], names: Sequence[str]
    ) -> Mapping[str, NDArray[Any]]:
        """Return signals of a version's model at any positions; nothing is kept."""
        self.fit(version, seed)
        return self.learner.signals(rows, names)

    def out_of_fold(self, version: Version, folds: int, seed: int) -> NDArray[np.float64]:
        """Return class probabilities (n, C) at a version's rows, each from a model that did not
        train on that row. Folds are drawn by a hash of the ids.
        """
        from coreset.numerics.random import keyed_uniform

        rows = self.data.where(version.ids)
        part = (np.argsort(np.argsort(keyed_uniform(seed, version.ids))) * folds) // len(rows)
        key = fingerprint(self.key(version, seed), folds, "out of fold")

        def fill(out: NDArray[Any]) -> None:
            self._current = None
            labels = np.full(len(self.data.ids), -1, np.int64)
            labels[rows] = version.labels
            for fold in range(folds):
                held = part == fold
                self.learner.fit(np.sort(rows[~held]), labels, seed=(seed, fold))
                out[held] = self.learner.signals(rows[held], ["probs"])["probs"]

        shape = (len(rows), len(self.data.classes))
        kept = self.store.create("out-of-fold", key, shape, np.float64, fill)
        return np.asarray(kept, np.float64)
