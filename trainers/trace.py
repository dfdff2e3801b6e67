"""How the training loss went, and whether a training stopped on a slope."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

PARTS = 20  # of a training, whose mean losses are kept


@dataclass(frozen=True)
class Trace:
    """The course of one training.

    steps: optimizer steps; passes: how often each example was seen; losses: means of the training
    loss over `PARTS` consecutive parts of the steps (fewer where there were fewer steps).
    """

    steps: int
    passes: float
    losses: tuple[float, ...]


class RecordLoss(pl.Callback):
    """Sum up the training loss in `PARTS` consecutive parts of `steps` steps, on its device."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.sums: list[Tensor] = []
        self.counts = [0] * PARTS
        self.done = 0

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Add one batch."""
        loss = outputs["loss"] if isinstance(outputs, Mapping) else outputs
        if loss is None:
            return
        if not self.sums:
            self.sums = [torch.zeros((), device=loss.device) for _ in range(PARTS)]
        part = min(PARTS - 1, self.done * PARTS // self.steps)
        self.sums[part] += loss.detach().float()
        self.counts[part] += 1
        self.done += 1

    def trace(self, passes: float) -> Trace:
        """Return the course so far."""
        pairs = zip(self.sums, self.counts, strict=False)
        losses = tuple(float(total) / count for total, count in pairs if count)
        return Trace(self.done, passes, losses)
