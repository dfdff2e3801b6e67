"""A run of any `Learner`: a user's Lightning project, or a head on frozen features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.learner import Learner
from coreset.core.store import fingerprint
from coreset.core.strategy import Strategy
from coreset.distillation import Distiller
from coreset.trainers.learners.lightning import LightningLearner
from coreset.trainers.learners.lightning.pictures import pictures_of
from coreset.trainers.learners.lightning.pool import label_of, read
from coreset.trainers.loops.context import Examples
from coreset.trainers.loops.plan import Plan
from coreset.trainers.loops.project import Project
from coreset.trainers.loops.select import FixedSelection
from coreset.trainers.oracles import Drawing


@dataclass(frozen=True, eq=False)
class LabelsInside:
    """The labels that a dataset's own examples carry, read when they are asked for; 0 for all where
    they are no class numbers (boxes, masks, texts), so that they count as known.
    """

    learner: LightningLearner

    def label(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the labels at `indices`. Raises ValueError for one that is unknown (-1)."""
        learner = self.learner
        if not learner.classes:
            return np.zeros(len(indices), np.int64)
        known = learner.known_labels
        if known is not None:
            labels = known[indices]
        else:
            values = [label_of(read(learner.pool.view, int(i))) for i in indices]
            labels = np.array([-1 if v is None else v for v in values], np.int64)
        wrong = np.flatnonzero((labels < 0) | (labels >= len(learner.classes)))
        if len(wrong):
            raise ValueError(
                f"labels: {len(wrong)} chosen examples have no label among the"
                f" {len(learner.classes)} classes, first {labels[wrong[0]]} at position"
                f" {indices[wrong[0]]}; use oracle=file or oracle=label_studio"
            )
        return labels


def lightning_project(
    strategy: Strategy | Distiller,
    learner: LightningLearner,
    about: Mapping[str, Any],
    columns: frozenset[str] = frozenset(),
) -> Project:
    """Return the project of a user's Lightning training. about: what makes up the learner, as plain
    data, for the key of the proxy's signals; columns: names of signals from outside.

    Raises ValueError or TypeError, before anything trains, for what cannot work.
    """
    if isinstance(strategy, Distiller):
        raise ValueError(
            f"{type(strategy).__name__} makes images for our own networks; learner=lightning takes"
            " strategies that select"
        )
    known = learner.known_labels
    if known is None:
        known = np.full(learner.size, -1, np.int64)

    def attach(logger: Any) -> None:
        learner.logger = logger

    def refuse(missing: frozenset[str]) -> None:
        own = sorted(missing - columns - {"labels"})
        if own:
            raise ValueError(
                "; ".join(
                    f"{type(strategy).__name__} needs {n}, but {learner.why_not(n)}" for n in own
                )
            )

    assert learner.reading
    refuse((strategy.needs | strategy.needs_selected) - learner.available)
    learner.check()
    part = learner.part
    return Project(
        strategy,
        learner,
        learner,
        Examples(
            type(learner.pool.train).__name__,
            learner.pool.fingerprint,
            known,
            pictures_of(learner.pool.view),
            learner.known_labels is None or bool((known >= 0).all()),
        ),
        FixedSelection(),
        key=fingerprint(learner.pool.fingerprint, dict(about)),
        attach=attach,
        open=learner.start_from,
        untrained=learner.available - {"member_probs"},
        oracle=LabelsInside(learner),
        confusion=lambda: learner.confusion,
        drawing=None
        if part is None
        else Drawing(part, bool(learner.drawn and learner.drawn.masks), learner.propose),
    )


def learner_project(
    strategy: Strategy | Distiller,
    learner: Learner,
    examples: Examples,
    key: str,
    features: Callable[[], NDArray[Any]] | None = None,
    check: Callable[[Plan], None] = lambda _plan: None,
    confusion: Callable[[], NDArray[Any] | None] = lambda: None,
) -> Project:
    """Return the project of any other learner."""
    return Project(
        strategy, learner, learner, examples, FixedSelection(), features=features, key=key,
        check=check, confusion=confusion,
    )  # fmt: skip
