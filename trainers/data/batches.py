"""Batches from pools of uint8 images held in memory once: gathered whole, augmented and normalized
on the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Batch = dict[str, Tensor]


def _gather(images: NDArray[Any], rows: NDArray[np.int64]) -> Tensor:
    """Return images (B, H, W, C), uint8 or, of a distilled set, float32 on the same scale; sorted
    reads where the pool is memory-mapped.
    """
    return torch.from_numpy(np.ascontiguousarray(images[rows]))


class TrainStream:
    """All batches of one training: `steps` of them, epoch after epoch, in an order that depends on
    the seed alone.

    A batch holds image (B, H, W, C) on the scale 0 .. 255, label (a number or probabilities),
    weight (mean 1 over the selection), index (position in the whole dataset), epoch, and the random
    shifts and flips of its augmentation. Every example comes once an epoch; a last batch of one
    example joins the batch before it, since batch norm cannot use it.
    """

    def __init__(
        self,
        images: NDArray[np.uint8] | NDArray[np.float32],
        labels: NDArray[Any],
        indices: NDArray[np.int64],
        *,
        steps: int,
        batch_size: int,
        seed: int,
        weights: NDArray[np.float64] | None = None,
        augment: str = "none",
    ) -> None:
        if not len(indices):
            raise ValueError("indices: expected at least one example to train on")
        if weights is not None and weights.sum() <= 0:
            raise ValueError("weights: expected at least one positive weight")
        self.images, self.labels, self.indices = images, labels, indices
        self.weights = (
            np.ones(len(indices)) if weights is None else weights * (len(weights) / weights.sum())
        )
        self.steps, self.batch_size, self.seed, self.augment = steps, batch_size, seed, augment
        self.pad = 0 if augment == "none" else max(1, images.shape[1] // 8)

    def __len__(self) -> int:
        return self.steps

    def _cuts(self) -> list[int]:
        n, size = len(self.indices), self.batch_size
        cuts = list(range(0, n, size))
        if len(cuts) > 1 and n - cuts[-1] == 1:
            cuts.pop()
        return [*cuts, n]

    def __iter__(self) -> Iterator[Batch]:
        rng = np.random.default_rng(self.seed)
        cuts, done, epoch = self._cuts(), 0, 0
        while done < self.steps:
            order = rng.permutation(len(self.indices))
            for start, stop in zip(cuts, cuts[1:], strict=False):
                yield self._batch(order[start:stop], rng, epoch)
                done += 1
                if done == self.steps:
                    return
            epoch += 1

    def _batch(self, places: NDArray[np.int64], rng: np.random.Generator, epoch: int) -> Batch:
        rows = self.indices[places]
        batch = {
            "image": _gather(self.images, rows),
            "label": torch.from_numpy(self.labels[rows]),
            "weight": torch.from_numpy(self.weights[places].astype(np.float32)),
            "index": torch.from_numpy(rows),
            "epoch": torch.tensor(epoch),
        }
        if self.pad:
            batch["shift"] = torch.from_numpy(rng.integers(0, 2 * self.pad + 1, (len(rows), 2)))
        if self.augment == "crop_flip":
            batch["flip"] = torch.from_numpy(rng.random(len(rows)) < 0.5)
        return batch


class EvalBatches:
    """Batches of some rows of a pool, in order, without augmentation;
    label -1 where none is known.
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64] | None,
        indices: NDArray[np.int64] | None = None,
        batch_size: int = 512,
    ) -> None:
        self.images, self.labels, self.batch_size = images, labels, batch_size
        self.indices = np.arange(len(images)) if indices is None else np.ascontiguousarray(indices)

    def __len__(self) -> int:
        return -(-len(self.indices) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self.indices), self.batch_size):
            rows = self.indices[start : start + self.batch_size]
            label = np.full(len(rows), -1) if self.labels is None else self.labels[rows]
            yield {
                "image": _gather(self.images, rows),
                "label": torch.from_numpy(label),
                "index": torch.from_numpy(rows),
            }


def prepare(batch: Batch, mean: Tensor, std: Tensor) -> Tensor:
    """Return normalized images (B, C, H, W) float32 in channels-last order, shifted (zero padding)
    and flipped as the batch says; on its device.
    """
    x = batch["image"]
    if "shift" in batch:
        b, h, w, c = x.shape
        pad = max(1, h // 8)
        padded = x.new_zeros(b, h + 2 * pad, w + 2 * pad, c)
        padded[:, pad : pad + h, pad : pad + w] = x
        row = batch["shift"][:, :1] + torch.arange(h, device=x.device)
        column = batch["shift"][:, 1:] + torch.arange(w, device=x.device)
        if "flip" in batch:
            column = torch.where(batch["flip"][:, None], column.flip(1), column)
        each = torch.arange(b, device=x.device)
        x = padded[each[:, None, None], row[:, :, None], column[:, None, :]]
    return ((x.permute(0, 3, 1, 2).float() / 255) - mean) / std


def as_channels(mean: Any, std: Any) -> tuple[Tensor, Tensor]:
    """Return per-channel mean and standard deviation as tensors (1, C, 1, 1)."""
    return torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1), torch.tensor(
        std, dtype=torch.float32
    ).view(1, -1, 1, 1)
