"""A classifier of images decoded on demand, for those who have data and no module of their own."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import timm
import torch
from torch import Tensor, nn


class LitImages(pl.LightningModule):
    """Train any model of timm by cross-entropy with AdamW and a one-cycle schedule.

    name, pretrained, drop_rate: as timm has them; classes: their number. Labels may be
    probabilities (mixup). Logs `test_accuracy`.
    """

    def __init__(
        self,
        name: str = "resnet18",
        classes: int = 1000,
        pretrained: bool = False,
        drop_rate: float = 0.0,
        lr: float = 0.001,
        weight_decay: float = 0.05,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.model = timm.create_model(
            name, pretrained=pretrained, num_classes=classes, drop_rate=drop_rate
        )
        self.lr, self.weight_decay = lr, weight_decay

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, classes)."""
        logits: Tensor = self.model(images)
        return logits

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the cross-entropy."""
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Log the accuracy."""
        right = self(batch[0]).argmax(dim=1) == batch[1]
        self.log("test_accuracy", right.float().mean(), batch_size=len(right))

    def configure_optimizers(self) -> Any:
        """Return AdamW with a one-cycle schedule over the steps of this training."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.lr, total_steps=max(2, int(self.trainer.estimated_stepping_batches))
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
