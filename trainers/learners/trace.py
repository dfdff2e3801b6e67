"""How a training went: the course of its loss, and what its second half gained.

A training stopped on a slope when its second half gained more than `GAIN`: the final accuracy
minus that of the weights averaged around half-time. Averaging stands for the fall of the learning
rate, so that the two can be compared: Izmailov et al., "Averaging Weights Leads to Wider Optima
and Better Generalization", UAI 2018 (arXiv:1803.05407). The test set decides nothing here: both
numbers are only reported.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from coreset.runs.curve import GAIN

PARTS = 20  # of a training, whose mean losses are kept
_FROM, _WINDOW = 0.25, 0.05  # of the steps: where averaging begins, and over how many it reaches


@dataclass(frozen=True)
class Trace:
    """The course of one training.

    steps: optimizer steps; passes: how often each example was seen; losses: means of the training
    loss over `PARTS` consecutive parts of the steps (fewer where there were fewer steps); half,
    final: accuracy of the averaged weights at half-time and of the model at the end, in [0, 1],
    None where no test was run.
    """

    steps: int
    passes: float
    losses: tuple[float, ...]
    half: float | None = None
    final: float | None = None

    @property
    def gain(self) -> float | None:
        """What the second half gained."""
        return None if self.half is None or self.final is None else self.final - self.half

    @property
    def on_slope(self) -> bool:
        """Whether the training stopped on a slope."""
        return self.gain is not None and self.gain > GAIN

    def record(self) -> dict[str, Any]:
        """Return what the ledger keeps."""
        return {
            "steps": self.steps,
            "passes": round(self.passes, 3),
            "losses": [round(loss, 5) for loss in self.losses],
            "half": self.half,
            "gain": self.gain,
            "on_slope": self.on_slope,
        }


def judged(record: Mapping[str, Any] | None, final: float) -> dict[str, Any] | None:
    """Return a `Trace.record()` made before the test with the gain it then had. final: accuracy."""
    if record is None:
        return None
    if record.get("half") is None or not math.isfinite(final):
        return dict(record)
    gain = final - record["half"]
    return {**record, "gain": gain, "on_slope": gain > GAIN}


class RecordTrace(pl.Callback):
    """Sum up the training loss in `PARTS` parts of `steps` steps, and test at half-time.

    test: the batches of the test set; None: no test at half-time. Nothing of the training changes:
    its weights are put back as they were.
    """

    def __init__(self, steps: int, test: Iterable[Any] | None = None) -> None:
        self.steps, self.test = steps, test
        self.sums: list[Tensor] = []
        self.counts = [0] * PARTS
        self.done = 0
        self.average: dict[str, Tensor] = {}
        self.half: float | None = None

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
        if loss is not None:
            if not self.sums:
                self.sums = [torch.zeros((), device=loss.device) for _ in range(PARTS)]
            part = min(PARTS - 1, self.done * PARTS // self.steps)
            self.sums[part] += loss.detach().float()
            self.counts[part] += 1
        self.done += 1
        if self.test is not None:
            self._average(trainer, pl_module)

    @torch.no_grad()
    def _average(self, trainer: pl.Trainer, lit: pl.LightningModule) -> None:
        """Go on with the average of the weights; at half-time test it and forget it."""
        begin, half = int(_FROM * self.steps), self.steps // 2
        if not begin <= self.done <= half:
            return
        now = {k: v for k, v in lit.state_dict().items() if v.is_floating_point()}
        if not self.average:
            self.average = {k: v.clone() for k, v in now.items()}
        else:
            share = 1 / max(1.0, _WINDOW * self.steps)
            for name, value in now.items():
                self.average[name].lerp_(value, share)
        if self.done == half:
            kept = {k: v.clone() for k, v in now.items()}
            for name, value in now.items():
                value.copy_(self.average[name])
            self.half = self._accuracy(trainer, lit)
            for name, value in now.items():
                value.copy_(kept[name])
            self.average = {}

    def _accuracy(self, trainer: pl.Trainer, lit: pl.LightningModule) -> float:
        right = seen = 0
        modes = [(module, module.training) for module in lit.modules()]
        lit.eval()
        with trainer.precision_plugin.forward_context():
            for batch in self.test or ():
                moved = trainer.strategy.batch_to_device(batch, lit.device)
                right += int((lit(moved).argmax(dim=1) == moved["label"]).sum())
                seen += len(moved["label"])
        for module, mode in modes:
            module.training = mode
        return right / max(1, seen)

    def trace(self, passes: float, final: float | None) -> Trace:
        """Return the course of the whole training, which ended at the accuracy `final`."""
        pairs = zip(self.sums, self.counts, strict=False)
        losses = tuple(float(total) / count for total, count in pairs if count)
        return Trace(self.done, passes, losses, self.half, final)
