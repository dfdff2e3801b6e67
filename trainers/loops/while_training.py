"""One budget of a pruning run whose examples change while the model trains (`dynamic`).

Runs with a plan of epochs are plotted at the budget whose number of optimizer steps they spend: at
budget k a run takes as many steps as a fixed selection of k examples would, so with fit.epochs = E
it sees E k examples in all (with fit.steps every budget costs the same, and the curve is nearly
flat). The labels of the whole pool are read; the ledger's `info`, the point's `extra`
(labels_used) and the name of the curve record that.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from coreset.core.pool import Pool
from coreset.core.selection import Selection
from coreset.core.signals import Signals
from coreset.trainers.dynamic_pruning.epoch_plans import EpochPlan
from coreset.trainers.learners.in_memory import InMemoryLearner, fit_info
from coreset.trainers.loops.context import TRAINING, RunContext, commit
from coreset.trainers.loops.select import FixedSelection, picked
from coreset.trainers.loops.signals import active_signals


@dataclass(eq=False)
class WhileTraining:
    """plan: chooses anew each epoch; learner: the run's own."""

    plan: EpochPlan
    learner: InMemoryLearner
    unit: str = "labels"

    def run(self, context: RunContext, number: int) -> None:
        """Train and test at one budget; the selection holds all examples that were trained on, most
        often first, with how often as scores.
        """
        learner, everything = self.learner, np.arange(context.learner.size)
        labels = context.oracle.label(everything)
        pool = Pool(len(everything), ids=learner.ids)
        choosing = 0.0

        def signals(model: nn.Module, _device: torch.device) -> Signals:
            nonlocal choosing
            begin = time.perf_counter()
            learner.adopt(model, labels)
            columns = active_signals(context, number, pool, labels)
            choosing += time.perf_counter() - begin
            return columns

        context.progress(number, "training")
        begin = time.perf_counter()
        with tempfile.TemporaryDirectory() as scratch:
            fitted = learner.fitter.fit(
                learner.config,
                labels,
                everything,
                seed=(context.seed, TRAINING, number),
                test=False,
                halfway=learner.halfway,
                scratch=Path(scratch),
                plan=self.plan,
                per_epoch=context.plan.sizes[number],
                signals=signals,
            )
        learner.adopt(fitted.model, labels)
        trained = time.perf_counter()
        metrics = learner.test()
        seconds = {"select": 0.0, "measure": choosing, "train": trained - begin}
        seconds["test"] = time.perf_counter() - trained
        assert fitted.counts is not None
        seen = np.argsort(-fitted.counts, kind="stable")[: np.count_nonzero(fitted.counts)]
        extra: dict[str, Any] = {
            "dynamic": type(self.plan).__name__,
            "labels_used": len(everything),
            "examples_trained": len(seen),
            "examples_seen": int(fitted.counts.sum()),
            "epochs": fitted.epochs,
        }
        spent = (
            "optimizer steps of a fixed selection of that size; the labels of the whole pool are"
            " used"
        )
        info = {**extra, "budget": spent}
        if self.plan.by_strategy:
            parameters = context.strategy.parameters()
            info |= {"strategy": type(context.strategy).__name__, "parameters": parameters}
        scores = fitted.counts[seen].astype(np.float64)
        chosen = Selection(seen, scores=scores, ids=learner.ids[seen], info=info)
        chosen.save(context.folder.round(number) / "selection.parquet")
        kept = picked(context, chosen)
        commit(context, number, kept, fit_info(fitted), metrics, seconds, extra)

    def gallery(self, context: RunContext) -> dict[str, NDArray[Any]] | None:
        """Return the gallery of a fixed selection."""
        return FixedSelection().gallery(context)
