"""What all Lightning modules here share, the optimizer and its schedule, and any nn.Module as a
classifier with weighted loss.
"""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from coreset.trainers.data.batches import Batch, as_channels, prepare
from coreset.trainers.tasks.learning_loss import PredictsLoss

OPTIMIZERS = ("adamw", "sgd", "sgd_plain")
SCHEDULES = ("cosine", "step")


class Scheduled(pl.LightningModule):
    """A module that keeps `model` and trains it over a fixed number of steps.

    optimizer: adamw, sgd (Nesterov, momentum 0.9; both leave norms and biases undecayed), or
    sgd_plain (momentum 0.9 without Nesterov, every parameter decayed, as DC and DM evaluate).
    schedule: the learning rate rises over the first `warmup` share of the steps; then `cosine`
    falls to zero along a cosine, and `step` falls to a tenth at step `drop` (default: half of
    them), where the optimizer's state starts anew, as in the released code of DC and DM.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        steps: int,
        lr: float,
        weight_decay: float,
        optimizer: str = "adamw",
        warmup: float = 0.1,
        schedule: str = "cosine",
        drop: int | None = None,
    ) -> None:
        super().__init__()
        for name, value, known in (
            ("optimizer", optimizer, OPTIMIZERS),
            ("schedule", schedule, SCHEDULES),
        ):
            if value not in known:
                raise ValueError(f"{name}: expected {', '.join(known)}, got {value!r}")
        self.model = model.to(memory_format=torch.channels_last)
        self.steps, self.lr, self.weight_decay = steps, lr, weight_decay
        self.optimizer, self.warmup, self.schedule = optimizer, warmup, schedule
        self.drop = steps // 2 if drop is None else drop

    def scale(self, step: int) -> float:
        """Return what the learning rate is multiplied by at a step."""
        rise = max(1, round(self.warmup * self.steps))
        if step < rise:
            return (step + 1) / rise
        if self.schedule == "step":
            return 1.0 if step < self.drop else 0.1
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, self.steps - rise)))

    def configure_optimizers(self) -> Any:
        """Return the optimizer with its schedule by step."""
        trained = [p for p in self.model.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": self.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        if self.optimizer == "adamw":
            optimizer: torch.optim.Optimizer = torch.optim.AdamW(groups, lr=self.lr, fused=True)
        elif self.optimizer == "sgd":
            optimizer = torch.optim.SGD(groups, lr=self.lr, momentum=0.9, nesterov=True)
        else:
            optimizer = torch.optim.SGD(
                trained, lr=self.lr, momentum=0.9, weight_decay=self.weight_decay
            )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.scale)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Forget the optimizer's momentum where the step schedule falls."""
        if self.schedule == "step" and self.global_step == self.drop:
            for optimizer in self.trainer.optimizers:
                optimizer.state.clear()


class LitClassifier(Scheduled):
    """Train `model` (B, C, H, W) -> logits (B, classes) by cross-entropy, weighted per example.

    Labels may be probabilities (B, classes), taken at `temperature`: logits are divided by it.
    """

    def __init__(
        self,
        model: nn.Module,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        *,
        label_smoothing: float = 0.0,
        temperature: float = 1.0,
        **recipe: Any,
    ) -> None:
        super().__init__(model, **recipe)
        self.label_smoothing, self.temperature = label_smoothing, temperature
        self.right = self.seen = 0
        self.confusion: Tensor | None = None  # (C, C) of the last test: true class, predicted class
        center, scale = as_channels(mean, std)
        self.register_buffer("mean", center, persistent=False)
        self.register_buffer("std", scale, persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        """Return logits (B, classes) of a batch of uint8 images."""
        return self.model(prepare(batch, self.mean, self.std))  # type: ignore[no-any-return, arg-type]

    def losses(self, batch: Batch, logits: Tensor) -> Tensor:
        """Return the loss of each example."""
        return nn.functional.cross_entropy(
            logits / self.temperature,
            batch["label"],
            reduction="none",
            label_smoothing=self.label_smoothing,
        )

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Return the mean of weight x cross-entropy, with logits and the losses before weighting
        for callbacks that record them.
        """
        logits = self(batch).float()
        loss = self.losses(batch, logits)
        each = loss.detach()
        loss = (loss * batch["weight"]).mean()
        self.log("train/loss", loss, on_step=True, on_epoch=False)
        if isinstance(self.model, PredictsLoss):
            loss = loss + self.model.ranking_loss(each, self.global_step / self.steps)
        return {"loss": loss, "losses": each, "logits": logits.detach()}

    def _count(self, batch: Batch) -> None:
        self.right += int((self(batch).argmax(dim=1) == batch["label"]).sum())
        self.seen += len(batch["label"])

    def _accuracy(self, name: str) -> None:
        self.log(name, torch.tensor(self.right / max(1, self.seen), dtype=torch.float64))
        self.right = self.seen = 0

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count right answers on held-out labeled examples."""
        self._count(batch)

    def on_validation_epoch_end(self) -> None:
        """Log the accuracy on them."""
        self._accuracy("val/accuracy")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Count right answers on the test set, and which class was taken for which."""
        logits = self(batch)
        predicted, classes = logits.argmax(dim=1), logits.shape[1]
        if self.confusion is None:
            self.confusion = torch.zeros(classes, classes, dtype=torch.long, device=self.device)
        pairs = torch.bincount(batch["label"] * classes + predicted, minlength=classes**2)
        self.confusion += pairs.view(classes, classes)
        self.right += int((predicted == batch["label"]).sum())
        self.seen += len(predicted)

    def on_test_epoch_end(self) -> None:
        """Log the accuracy on it, an exact fraction."""
        self._accuracy("test/accuracy")
