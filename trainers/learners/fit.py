"""One training: a fresh module and a fresh Trainer, a fixed number of optimizer steps, from scratch
or from given weights.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn

from coreset.core.signals import Signals
from coreset.numerics.random import keyed_order
from coreset.trainers.data.base import ImageData
from coreset.trainers.dynamic_pruning.epoch_plans import EpochPlan
from coreset.trainers.dynamic_pruning.stream import PlannedStream, RecordLosses
from coreset.trainers.learners.config import AUTO, TrainingConfig, auto_steps
from coreset.trainers.learners.trace import RecordTrace, Trace
from coreset.trainers.tasks.base import Classification, Task
from coreset.trainers.tasks.learning_loss import PredictsLoss
from coreset.trainers.tasks.module import LitClassifier, Scheduled

for _name in (
    "pytorch_lightning.utilities.rank_zero",
    "pytorch_lightning.accelerators.cuda",
    "lightning.pytorch",
):
    logging.getLogger(_name).setLevel(logging.ERROR)

__all__ = ["AUTO", "Fitted", "Fitter", "ModelFactory", "TrainingConfig", "auto_steps"]

ModelFactory = Callable[..., nn.Module]
DEFAULTS: dict[str, Any] = {"deterministic": "warn", "devices": 1}  # of Lightning's Trainer


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained model with its accuracy (what its task's metric is) on the test set, in [0, 1], NaN
    without a test, and seconds of training and testing.

    counts (N,): how often each example was trained on, `epochs` in how many epochs; only where a
    plan chose anew each epoch. trace: the course of the training loss.
    """

    model: nn.Module
    accuracy: float
    seconds: Mapping[str, float]
    device: torch.device
    val_accuracy: float | None = None
    counts: NDArray[np.int64] | None = None
    epochs: int | None = None
    trace: Trace | None = None


@dataclass(frozen=True, eq=False)
class Fitter:
    """What stays the same over the trainings of a run: data, model factory, Lightning's own
    arguments, logger, task.

    predict_loss: every model also learns to predict its loss, and `measure` gives `predicted_loss`;
    task: what is learned (classification by default).
    """

    data: ImageData
    model: ModelFactory
    trainer: Mapping[str, Any] = field(default_factory=dict)
    logger: Any = False
    predict_loss: bool = False
    task: Task = field(default_factory=Classification)

    def new_model(self) -> nn.Module:
        """Return a fresh model for the data's classes, channels and size; weights come from torch's
        global state, seeded by `fit`.
        """
        model = self.task.new_model(self.model, self.data)
        _, h, _, c = self.data.images.shape
        return PredictsLoss(model, torch.zeros(1, c, h, h)) if self.predict_loss else model

    def fit(
        self,
        recipe: TrainingConfig,
        labels: NDArray[np.int64],
        indices: NDArray[np.int64],
        *,
        seed: Sequence[int],
        weights: NDArray[np.float64] | None = None,
        start: Mapping[str, Tensor] | None = None,
        callbacks: Sequence[pl.Callback] = (),
        test: bool = True,
        halfway: bool = False,
        scratch: Path | None = None,
        plan: EpochPlan | None = None,
        per_epoch: int | None = None,
        signals: Callable[[nn.Module, torch.device], Signals] | None = None,
    ) -> Fitted:
        """Train on `indices` (positions in the whole dataset) with the known `labels` (N,), then
        test. halfway: test averaged weights at half-time even where the end is not tested.

        seed: entropy of this training alone: weights, order, augmentation. start: weights to begin
        from. scratch: folder for the checkpoints that val_share compares. plan: chooses from
        `indices` anew each epoch, as many steps in all as a fixed selection of `per_epoch` examples
        takes, of which val_share is held out; signals: what the current model says, for a plan in
        which a strategy chooses.
        """
        begin = time.perf_counter()
        child = np.random.default_rng(list(seed)).integers(2**31, size=3)
        pl.seed_everything(int(child[0]), verbose=False)
        model = self.new_model()
        if start is not None:
            model.load_state_dict(start)
        budget = len(indices) if plan is None or per_epoch is None else per_epoch
        indices, weights, held = _hold_out(recipe, indices, weights, int(child[1]), budget)
        budget -= len(held)
        steps = recipe.total_steps(budget)
        lit = self.task.module(
            model, self.data, steps=steps, lr=recipe.lr, weight_decay=recipe.weight_decay,
            optimizer=recipe.optimizer, warmup=recipe.warmup,
            label_smoothing=recipe.label_smoothing, schedule=recipe.schedule,
            drop=recipe.drop(budget),
        )  # fmt: skip
        test = test and len(self.data.test_images) > 0
        halfway = halfway and len(self.data.test_images) > 0
        augment, tested = recipe.augments(self.data), (test or halfway) and self.task.dynamics
        record = RecordTrace(steps, self.task.test(self.data) if tested else None)
        shape: dict[str, Any] = {
            "steps": steps,
            "batch_size": recipe.batch_size,
            "seed": int(child[2]),
        }
        if plan is None:
            stream = self.task.train(self.data, labels, indices, weights, augment=augment, **shape)
        else:
            shape["augment"] = self.data.augment if augment else "none"
            plan = plan.over(indices, k=budget, ids=self.data.ids, seed=int(child[2]))
            ask = None if signals is None else partial(_current, lit, signals)
            stream = PlannedStream(plan, ask, self.data.images, labels, indices, **shape)
            callbacks = [*callbacks, RecordLosses(plan)]
        best = None
        if len(held):
            best = ModelCheckpoint(
                dirpath=scratch,
                filename="best",
                monitor=f"val/{self.task.metric}",
                mode="max",
                save_weights_only=True,
            )
        trainer = pl.Trainer(
            max_steps=steps,
            max_epochs=-1,
            precision="bf16-mixed" if recipe.bf16 else "32-true",
            logger=self.logger,
            callbacks=[*callbacks, record, *([best] if best else [])],
            enable_checkpointing=best is not None,
            enable_model_summary=False,
            enable_progress_bar=False,
            log_every_n_steps=50,
            limit_val_batches=1.0 if len(held) else 0,
            val_check_interval=max(1, steps // 10),
            num_sanity_val_steps=0,
            **{**DEFAULTS, **self.trainer},
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning, module="pytorch_lightning")
            warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*")
            warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*", category=UserWarning)
            trainer.fit(lit, stream, self.task.held(self.data, labels, held) if len(held) else None)
            val = None
            if best is not None and best.best_model_path:
                lit.load_state_dict(
                    torch.load(best.best_model_path, weights_only=True)["state_dict"]
                )
                val = float(best.best_model_score) if best.best_model_score is not None else None
                Path(best.best_model_path).unlink()
            trained = time.perf_counter()
            accuracy = float("nan")
            if test:
                metrics = trainer.test(lit, self.task.test(self.data), verbose=False)
                accuracy = float(metrics[0][f"test/{self.task.metric}"])
        device = trainer.strategy.root_device
        seconds = {"train": trained - begin, "test": time.perf_counter() - trained}
        counts, epochs = None, None
        if isinstance(stream, PlannedStream):
            counts, epochs = stream.counts, stream.epochs
        passes = steps / -(-budget // recipe.batch_size)
        trace = record.trace(passes, accuracy if tested and test else None)
        return Fitted(lit.model.to(device), accuracy, seconds, device, val, counts, epochs, trace)

    def test(self, model: nn.Module, bf16: bool = False) -> tuple[float, NDArray[np.int64] | None]:
        """Return the task's metric of a model on the test set, NaN where there is none, and the
        confusion matrix (true class, predicted class) of a classification.
        """
        if not len(self.data.test_images):
            return float("nan"), None
        lit = self.task.module(model, self.data, steps=1, lr=1.0, weight_decay=0.0)
        trainer = pl.Trainer(
            precision="bf16-mixed" if bf16 else "32-true",
            logger=self.logger,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            **{**DEFAULTS, **self.trainer},
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning, module="pytorch_lightning")
            warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*")
            metrics = trainer.test(lit, self.task.test(self.data), verbose=False)
        counts = (
            lit.confusion.cpu().numpy()
            if isinstance(lit, LitClassifier) and lit.confusion is not None
            else None
        )
        return float(metrics[0][f"test/{self.task.metric}"]), counts


def _current(lit: Scheduled, signals: Callable[[nn.Module, torch.device], Signals]) -> Signals:
    """Return what the model in training says; it goes on training afterwards."""
    columns = signals(lit.model, lit.device)
    lit.model.train()
    return columns


def _hold_out(
    recipe: TrainingConfig,
    indices: NDArray[np.int64],
    weights: NDArray[np.float64] | None,
    seed: int,
    budget: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64] | None, NDArray[np.int64]]:
    """Return training indices, their weights and the held-out validation indices: a share of the
    budget.
    """
    count = round(recipe.val_share * budget)
    if not count:
        return indices, weights, np.empty(0, np.int64)
    if count >= budget:
        raise ValueError(
            f"fit.val_share: {recipe.val_share} of {budget} labeled examples leaves none to"
            " train on"
        )
    out = np.zeros(len(indices), bool)
    out[keyed_order(np.random.default_rng(seed), indices)[:count]] = True
    return indices[~out], None if weights is None else weights[~out], indices[out]
