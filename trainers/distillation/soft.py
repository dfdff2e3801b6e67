"""Training on soft labels: fixed ones with the hard ones mixed in, those of views, or those of a
teacher asked in every step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset.distillation import Synthetic, Teacher
from coreset.distillation.labels import soften
from coreset.distillation.nn.soft import soft_cross_entropy
from coreset.distillation.views import Views, look
from coreset.trainers.data.batches import Batch, TrainStream, prepare
from coreset.trainers.tasks.module import LitClassifier


@dataclass(frozen=True, eq=False)
class Soft:
    """What a distilled set says about its soft labels: its training images' hard labels (N,), and
    where the soft ones come from.
    """

    distilled: Synthetic
    truth: NDArray[np.int64]
    teacher: Teacher | None = None

    @classmethod
    def of(cls, distilled: Synthetic, teacher: Teacher | None = None) -> Soft | None:
        """Return what training needs beside images and `distilled.targets()`, or None when that is
        all.

        Raises ValueError when the labels are a teacher's and there is none, or its classes are
        others.
        """
        if distilled.kind == "hard" or (
            distilled.kind in ("probs", "logits") and not distilled.mix
        ):
            return None
        if distilled.kind == "online":
            if teacher is None:
                raise ValueError(
                    "online labels: expected the teacher that gives them while training"
                )
            teacher.check(distilled.classes)
        return cls(
            distilled,
            np.repeat(distilled.hard, distilled.decode**2),
            teacher if distilled.kind == "online" else None,
        )

    @property
    def labels(self) -> NDArray[Any]:
        """What the stream of batches carries as labels: fixed ones, or the hard ones where the soft
        ones come later.
        """
        return (
            self.truth if self.distilled.kind in ("crops", "online") else self.distilled.targets()
        )

    def stream(self, base: TrainStream, augment: bool) -> SoftStream:
        """Return the batches of `base`, which must not augment where there are views, as this set
        wants them seen.
        """
        return SoftStream(base, self, augment)


class SoftStream:
    """The batches of a stream with `truth`, the hard labels, beside `label`; of views where there
    are any, in place of whole images.

    Labeled crops: epoch e takes view e mod their number. A teacher's: with augment, new views are
    drawn every epoch, by the stream's seed and the epoch alone.
    """

    def __init__(self, base: TrainStream, soft: Soft, augment: bool) -> None:
        self.base, self.soft = base, soft
        self.images = torch.from_numpy(np.ascontiguousarray(base.images.transpose(0, 3, 1, 2)))
        distilled = soft.distilled
        online = distilled.info["online"] if distilled.kind == "online" and augment else None
        self.drawn = (
            None if online is None else Views(online["scale"], online["flips"], online["cutmix"])
        )
        self.views: NDArray[Any] | None = None
        self.epoch = -1

    def __len__(self) -> int:
        return len(self.base)

    def __iter__(self) -> Iterator[Batch]:
        distilled = self.soft.distilled
        for batch in self.base:
            rows, epoch = batch["index"].numpy(), int(batch["epoch"])
            batch["truth"] = torch.from_numpy(self.soft.truth[rows])
            if self.drawn is not None and epoch != self.epoch:
                rng = np.random.default_rng([self.base.seed, epoch])
                self.views, self.epoch = (
                    self.drawn.draw(len(self.images), self.images.shape[-1], rng),
                    epoch,
                )
            elif distilled.views is not None:
                number = epoch % len(distilled.views)
                self.views = distilled.views[number]
                batch["label"] = torch.from_numpy(
                    soften(distilled.labels[number][rows], distilled.temperature)
                )
            if self.views is not None:
                batch["image"] = (
                    look(self.images, self.views, rows).permute(0, 2, 3, 1).contiguous()
                )
            yield batch


class LitSoft(LitClassifier):
    """The classifier with the loss of `coreset.distillation.nn.soft`: fixed probabilities at
    `temperature`, or those of a teacher for what the batch shows, mixed with the hard label.
    """

    def __init__(self, *args: Any, soft: Soft, **recipe: Any) -> None:
        super().__init__(*args, temperature=soft.distilled.temperature, **recipe)
        self.mix = soft.distilled.mix
        # in a tuple: no part of this module, which trains and saves its parts
        self.asked = (soft.teacher,)

    def losses(self, batch: Batch, logits: Tensor) -> Tensor:
        """Return the loss of each example."""
        label, (teacher,) = batch["label"], self.asked
        if teacher is not None:
            with torch.autocast(logits.device.type, enabled=False):
                seen = prepare(batch, self.mean, self.std)  # type: ignore[arg-type]
                label = (teacher.logits(seen) / self.temperature).softmax(dim=1)
        return soft_cross_entropy(
            logits, label, self.temperature, batch["truth"], self.mix, self.label_smoothing
        )
