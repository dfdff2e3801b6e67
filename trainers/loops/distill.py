"""One budget of a pruning run that makes its images (`strategy=distill/...`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.budget import per_class
from coreset.distillation import Distiller
from coreset.trainers.distillation.round import (
    DistillationContext,
    distill_round,
    entry_of,
    pictures,
)
from coreset.trainers.learners.config import TrainingConfig
from coreset.trainers.learners.in_memory import InMemoryLearner, fit_info
from coreset.trainers.loops.context import STRATEGY, TRAINING, RunContext, commit
from coreset.trainers.loops.select import POINTS, THUMBS


@dataclass(eq=False)
class Distillation:
    """distiller: makes the images; learner: the run's own; teacher: how its teachers are trained;
    model_key: fingerprint of the model's configuration.
    """

    distiller: Distiller
    learner: InMemoryLearner
    teacher: TrainingConfig
    model_key: str
    unit: str = "images"

    def run(self, context: RunContext, number: int) -> None:
        """Make images out of the whole labeled pool at one budget, train on them and test."""
        learner = self.learner
        ipc = per_class([context.plan.sizes[number]], len(learner.classes))[0]
        labels = context.oracle.label(np.arange(learner.size))
        room = DistillationContext(
            learner.fitter,
            learner.config,
            self.teacher,
            context.store,
            context.seed,
            self.model_key,
            learner.device,
            labels,
            context.folder.round(number),
            partial(context.progress, number),
        )
        # the same stream at every budget: a point does not depend on which others there are
        synthetic, fitted, seconds = distill_round(
            room, self.distiller, ipc, context.rng(STRATEGY), (context.seed, TRAINING, number)
        )
        learner.adopt(fitted.model, labels)
        kept = {**entry_of(synthetic, learner.size), "info": dict(synthetic.info)}
        extra = {**synthetic.budget, "labels_used": len(labels)}
        metrics = {learner.metric: fitted.accuracy}
        seconds |= fitted.seconds
        commit(context, number, kept, fit_info(fitted), metrics, seconds, extra)

    def gallery(self, context: RunContext) -> dict[str, NDArray[Any]] | None:
        """Return distilled images of every budget, and a map of the last among real ones."""
        labels = context.oracle.label(np.arange(self.learner.size))
        return pictures(self.learner, context.folder, labels, THUMBS, POINTS)
