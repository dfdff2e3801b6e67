"""Training dynamics as a Lightning callback: O(N) running statistics, recorded while fitting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from coreset.numerics.dynamics import DynamicsRecorder


class RecordDynamics(pl.Callback):
    """Feed every training batch to a `DynamicsRecorder`.

    For any module whose `training_step` returns `logits` (B, C) beside the loss, and any loader
    whose batches are mappings with `index` (B,), positions in the whole dataset, and `label` (B,).
    The epoch is the trainer's own; a stream that yields several epochs in one pass, as that of
    `coreset.trainers.data.batches`, says in every batch which it is: one number `epoch`.
    """

    def __init__(self, recorder: DynamicsRecorder) -> None:
        self.recorder = recorder

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Record one batch. Raises ValueError for an output or a batch that lacks what is
        recorded.
        """
        if not isinstance(outputs, Mapping) or "logits" not in outputs:
            raise ValueError(
                "training dynamics need a training_step that returns {'loss': ..., 'logits': ...}"
            )
        lacks = [n for n in ("index", "label") if not isinstance(batch, Mapping) or n not in batch]
        if lacks:
            raise ValueError(
                "training dynamics need batches with 'index', positions in the whole dataset, and "
                f"'label', got a {type(batch).__name__} without {' and '.join(lacks)}: let the "
                "dataset return {'index': i, 'label': y, ...}"
            )
        index, label = torch.as_tensor(batch["index"]), torch.as_tensor(batch["label"])
        epoch = _epoch(batch, trainer.current_epoch)
        self.recorder.update(index.cpu(), outputs["logits"].detach().cpu(), label.cpu(), epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return the running statistics for Lightning's checkpoint."""
        return self.recorder.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.recorder.load_state_dict(state_dict)


def _epoch(batch: Mapping[str, Any], current: int) -> int:
    """Return the one epoch number of a batch, or the trainer's where it holds none or one a row."""
    own = batch.get("epoch")
    if own is None or isinstance(own, list | tuple):
        return current
    if isinstance(own, Tensor) and own.ndim:
        return current
    return int(own)
