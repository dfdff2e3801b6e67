"""Training whose examples change from epoch to epoch: the stream of a plan, and the callback that
tells it the losses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from coreset.core.signals import Signals
from coreset.trainers.data.batches import Batch, TrainStream
from coreset.trainers.dynamic_pruning.epoch_plans import Adaptive, EpochPlan


class PlannedStream(TrainStream):
    """As TrainStream, but every epoch trains on what a plan says, with the plan's weights as they
    are.

    An epoch of another length than the plan's k has batches of the mean size that k examples would
    have, so that as many steps see as many examples.

    plan: bound to the pool. signals: what the current model says of the whole dataset; asked for
    when a strategy must choose. After the training, `counts` (N,) says how often each example of
    the dataset was trained on and `epochs` in how many (begun) epochs.
    """

    def __init__(
        self, plan: EpochPlan, signals: Callable[[], Signals] | None, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.plan, self.signals = plan, signals
        self.counts, self.epochs = np.zeros(len(self.images), np.int64), 0

    def __iter__(self) -> Iterator[Batch]:
        done, full = 0, self.batch_size
        self.counts[:], self.epochs = 0, 0
        while done < self.steps:
            progress = done / self.steps
            if isinstance(self.plan, Adaptive) and self.plan.due(self.epochs, progress):
                if self.signals is None:
                    raise ValueError(
                        "signals: adaptive selection needs to know what the model says of the pool"
                    )
                self.plan.choose(self.epochs, self.signals())
            self.indices, self.weights = self.plan.epoch(self.epochs, progress)
            rng = np.random.default_rng([self.seed, self.epochs])
            self.epochs += 1
            k = self.plan.k
            self.batch_size = full if len(self.indices) == k else -(-k // -(-k // full))
            cuts = self._cuts()
            for start, stop in zip(cuts, cuts[1:], strict=False):
                places = np.arange(start, stop)
                self.counts[self.indices[places]] += 1
                yield self._batch(places, rng, self.epochs - 1)
                done += 1
                if done == self.steps:
                    return


def losses_of(outputs: Any, batch: Any) -> Tensor:
    """Return one loss per example (B,) without weights from what a `training_step` returned: its
    `losses`, or cross-entropy of its `logits` and the batch's `label`.

    Raises ValueError when it returned neither.
    """
    returned = outputs if isinstance(outputs, dict) else {}
    if "losses" in returned:
        return returned["losses"].detach()  # type: ignore[no-any-return]
    if "logits" in returned and isinstance(batch, dict) and "label" in batch:
        return nn.functional.cross_entropy(
            returned["logits"].detach().float(), batch["label"], reduction="none"
        )
    raise ValueError(
        "training_step: selection by losses needs {'loss': ..., 'losses': one per example}, or"
        " 'logits' beside a batch with 'label'"
    )


class RecordLosses(pl.Callback):
    """Tell a plan the loss of every example of every training batch."""

    def __init__(self, plan: EpochPlan) -> None:
        self.plan = plan

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Record one batch."""
        with torch.no_grad():
            self.plan.update(batch["index"], losses_of(outputs, batch))
