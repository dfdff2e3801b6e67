"""What all Lightning modules here share, the optimizer and its schedule, and any nn.Module as a classifier with weighted loss."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from trainers.batches import Batch, as_channels, prepare
from trainers.learning_loss import PredictsLoss


class Scheduled(pl.LightningModule):
    """A module that keeps `model` and trains it over a fixed number of steps.

    optimizer: adamw or sgd (Nesterov, momentum 0.9). The learning rate rises over the first `warmup` share of the steps and falls to zero along a cosine.
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
    ) -> None:
        super().__init__()
        if optimizer not in ("adamw", "sgd"):
            raise ValueError(f"optimizer: expected adamw or sgd, got {optimizer!r}")
        self.model = model.to(memory_format=torch.channels_last)
        self.steps, self.lr, self.weight_decay = steps, lr, weight_decay
        self.optimizer, self.warmup = optimizer, warmup

    def configure_optimizers(self) -> Any:
        """Return the optimizer with its schedule by step; norms and biases are not decayed."""
        decayed = [p for p in self.model.parameters() if p.requires_grad and p.ndim > 1]
        plain = [p for p in self.model.parameters() if p.requires_grad and p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": self.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        if self.optimizer == "adamw":
            made: torch.optim.Optimizer = torch.optim.AdamW(groups, lr=self.lr, fused=True)
        else:
            made = torch.optim.SGD(groups, lr=self.lr, momentum=0.9, nesterov=True)
        rise = max(1, round(self.warmup * self.steps))

        def scale(step: int) -> float:
            if step < rise:
                return (step + 1) / rise
            return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, self.steps - rise)))

        schedule = torch.optim.lr_scheduler.LambdaLR(made, scale)
        return {"optimizer": made, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


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
        centre, scale = as_channels(mean, std)
        self.register_buffer("mean", centre, persistent=False)
        self.register_buffer("std", scale, persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        """Return logits (B, classes) of a batch of uint8 images."""
        return self.model(prepare(batch, self.mean, self.std))  # type: ignore[no-any-return, arg-type]

    def losses(self, batch: Batch, logits: Tensor) -> Tensor:
        """Return the loss of each example."""
        return nn.functional.cross_entropy(
            logits / self.temperature, batch["label"], reduction="none", label_smoothing=self.label_smoothing
        )

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Return the mean of weight x cross-entropy, with logits and the losses before weighting for callbacks that record them."""
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
        """Count right answers on held-out labelled examples."""
        self._count(batch)

    def on_validation_epoch_end(self) -> None:
        """Log the accuracy on them."""
        self._accuracy("val/accuracy")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Count right answers on the test set."""
        self._count(batch)

    def on_test_epoch_end(self) -> None:
        """Log the accuracy on it, an exact fraction."""
        self._accuracy("test/accuracy")
