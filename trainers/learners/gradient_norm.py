"""The column `gradient_norm` of one model; the loop averages it over initializations.

Paul, Ganguli & Dziugaite, NeurIPS 2021 (arXiv:2107.07075): GraNd is the expected norm over the
weights at a time of training, estimated there from 10 trainings.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from coreset.numerics.full_gradients import gradient_norms
from coreset.trainers.data.base import ImageData
from coreset.trainers.data.batches import EvalBatches, as_channels, prepare
from coreset.trainers.tasks.learning_loss import PredictsLoss


def image_gradient_norms(
    model: nn.Module, data: ImageData, labels: NDArray[np.int64], device: torch.device
) -> NDArray[np.float64]:
    """Return the norm of the full gradient of every image of the pool, (N,), not augmented."""
    inner = model.model if isinstance(model, PredictsLoss) else model
    inner = inner.to(device).eval()
    mean, std = (t.to(device) for t in as_channels(data.mean, data.std))
    out = []
    for batch in EvalBatches(data.images, labels, np.arange(len(data.images))):
        x = prepare({"image": batch["image"].to(device)}, mean, std).contiguous()
        out.append(gradient_norms(inner, x, batch["label"].to(device)).cpu().numpy())
    return np.concatenate(out)
