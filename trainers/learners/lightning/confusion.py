"""The confusion matrix of a user's module, counted while Lightning tests it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset.trainers.learners.lightning.pool import LABEL_KEYS
from coreset.trainers.learners.lightning.reading import as_output


class Confusion(pl.Callback):
    """Count which class was taken for which, in `test_step`'s own pass: logits (B, classes) are the
    last that forward or a direct child of the module gives, labels (B,) are those of the batch.

    counts: (classes, classes), true class by predicted class, after the test; None where a batch
    shows no such logits or labels, and where nothing was tested.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.counts: NDArray[np.int64] | None = None
        self._logits: Tensor | None = None
        self._handles: list[Any] = []

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen to what the module and its direct children give."""
        self.counts = np.zeros((self.classes, self.classes), np.int64)
        watched = [pl_module, *pl_module.children()]
        self._handles = [one.register_forward_hook(self._keep) for one in watched]

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any,
        batch_idx: int, dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Count a batch."""
        logits, self._logits = self._logits, None
        labels = labels_in(batch)
        if self.counts is None or logits is None or labels is None or len(labels) != len(logits):
            self.counts = None
            return
        classes = self.classes
        true, predicted = labels.long().cpu(), logits.argmax(dim=1).cpu()
        if len(true) and not 0 <= int(true.min()) <= int(true.max()) < classes:
            self.counts = None
            return
        pairs = torch.bincount(true * classes + predicted, minlength=classes**2)
        self.counts += pairs.view(classes, classes).numpy()

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen no more."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _keep(self, _module: Any, _arguments: Any, output: Any) -> None:
        try:
            logits = as_output(output)
        except TypeError:
            return
        if self.counts is not None and logits.ndim == 2 and logits.shape[1] == self.classes:
            self._logits = logits.detach()


def labels_in(batch: Any) -> Tensor | None:
    """Return the class numbers (B,) of a batch: its second entry, or that called label(s),
    target(s) or y; None where that is no vector of whole numbers.

    >>> labels_in((torch.zeros(2, 3), torch.tensor([1, 0])))
    tensor([1, 0])
    """
    value: Any = None
    if isinstance(batch, Mapping):
        value = next((batch[k] for k in LABEL_KEYS if k in batch), None)
    elif isinstance(batch, tuple | list) and len(batch) > 1:
        value = batch[1]
    if not isinstance(value, Tensor) or value.ndim != 1:
        return None
    return None if value.is_floating_point() or value.dtype == torch.bool else value
