"""SRe2L: images that a trained network takes for their class, and whose statistics at its batch
norms are those it saw in training.

Yin, Xing & Shen, "Squeeze, Recover and Relabel: Dataset Condensation at ImageNet Scale From A New
Perspective", NeurIPS 2023 (arXiv:2306.13092): the recovery. Its relabeling is `soft_labels` with
`labels=crops`. Batches of one class against that class's statistics: Xiao & He, "Are Large-scale
Soft Labels Necessary for Large-scale Dataset Distillation?", NeurIPS 2024 (arXiv:2410.15919).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from coreset.core.pool import Indices
from coreset.distillation import Distiller, Progress, Source, Synthetic
from coreset.distillation.dataset import smallest_labels
from coreset.distillation.descend import descend
from coreset.distillation.nn.crops import TRIES, boxes, resample
from coreset.distillation.soft import about
from coreset.strategies.distill.common import hard_labels, positive, start_images, stream
from coreset.strategies.distill.rded import Rded

STARTS = ("noise", "real", "rded")
BATCHING = ("mixed", "class")
START, VIEW = range(2)  # random streams
LARGE = 64  # pixels from which the paper crops
FIRST = 10.0  # weight of the first batch norm

# mean and variance per channel of what enters each batch norm
Moments = list[tuple[Tensor, Tensor]]


def norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    """Return the batch norms that keep running statistics, in the order of the modules. Raises
    ValueError when there is none.
    """
    layers = [
        m for m in model.modules() if isinstance(m, nn.BatchNorm2d) and m.running_mean is not None
    ]
    if not layers:
        raise ValueError(
            f"teacher: {type(model).__name__} has no batch norm with running statistics to invert;"
            " expected one that has, such as network={norm: batch}"
        )
    return layers


def running(model: nn.Module) -> Moments:
    """Return the running statistics of every batch norm."""
    moments: Moments = []
    for m in norms(model):
        assert m.running_mean is not None
        assert m.running_var is not None
        moments.append((m.running_mean, m.running_var))
    return moments


@contextmanager
def entering(model: nn.Module) -> Iterator[dict[int, Tensor]]:
    """Catch what enters the batch norms of a network, by their number, at every pass within."""
    caught: dict[int, Tensor] = {}

    def catch(number: int) -> Any:
        return lambda _module, args: caught.update({number: args[0]})

    hooks = [m.register_forward_pre_hook(catch(number)) for number, m in enumerate(norms(model))]
    try:
        yield caught
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def measured(model: nn.Module, blocks: Iterable[Tensor]) -> Moments:
    """Return mean and variance of what enters every batch norm over all images of some blocks."""
    sums: dict[int, Tensor] = {}
    count: dict[int, int] = {}
    with entering(model) as caught:
        for x in blocks:
            model(x)
            for number, value in caught.items():
                v = value.double()
                both = torch.stack([v.sum(dim=(0, 2, 3)), v.square().sum(dim=(0, 2, 3))])
                sums[number] = sums[number] + both if number in sums else both
                count[number] = count.get(number, 0) + v[:, 0].numel()
    means = {n: s / count[n] for n, s in sums.items()}
    return [
        (m[0].float(), (m[1] - m[0].square()).clamp(min=0).float())
        for _, m in sorted(means.items())
    ]


def bn_loss(entered: Sequence[Tensor], wanted: Moments, first: float = FIRST) -> Tensor:
    """Return the sum over batch norms of |mean - wanted mean|_2 + |variance - wanted variance|_2,
    the first one `first` times.

    entered: what enters each, (B, C, H, W); mean and (biased) variance over images and places, per
    channel.

    >>> bn_loss(
    ...     [torch.tensor([[[[1.0, 3.0]]]])], [(torch.tensor([0.0]), torch.tensor([4.0]))]
    ... ).item()
    50.0
    """
    total = entered[0].new_zeros(())
    for number, (x, (mean, var)) in enumerate(zip(entered, wanted, strict=True)):
        gap = torch.linalg.vector_norm(x.mean(dim=(0, 2, 3)) - mean)
        gap = gap + torch.linalg.vector_norm(x.var(dim=(0, 2, 3), unbiased=False) - var)
        total = total + gap * (first if number == 0 else 1.0)
    return total


def invert(model: nn.Module, x: Tensor, labels: Tensor, wanted: Moments, weight: float) -> Tensor:
    """Return the mean cross-entropy of the network with the labels (B,) plus `weight` times
    `bn_loss`, differentiable in the images x (B, C, S, S).
    """
    with entering(model) as caught:
        loss = nn.functional.cross_entropy(model(x), labels)
        return loss + weight * bn_loss([caught[n] for n in range(len(wanted))], wanted)


@dataclass(frozen=True)
class Sre2l(Distiller):
    """Descend on pixels until a teacher with batch norm takes them for their class and its
    statistics are matched.

    steps: 1,000 (the paper's for 32 pixels; 4,000 for ImageNet). lr: of Adam, betas 0.5 and 0.9,
    falling to 0 along a cosine. bn: weight of the statistics; the first batch norm's count ten
    times. start: `noise` (the paper), `real` images or `rded`. batching: `mixed`, one image of each
    class in a batch against the running statistics (the paper), or `class`, batches of one class
    against the statistics of its real images. batch: images in a batch. multi_crop: a random
    resized crop of the whole batch each step, mirrored where that keeps the class; None: from 64
    pixels on. jitter: most pixels to roll by both ways; None: 1/7 of the side with crops (32 of
    224), else 1/8 (4 of 32). network: parameters of a ConvNet as teacher, null: the run's model,
    which must have batch norm. epoch: of its training, None: the last. Pixels stay within 0 .. 255
    and are stored as uint8.
    """

    steps: int = 1000
    lr: float = 0.25
    bn: float = 0.01
    start: str = "noise"
    batching: str = "mixed"
    batch: int = 100
    multi_crop: bool | None = None
    jitter: int | None = None
    network: Mapping[str, Any] | None = field(default_factory=lambda: {"norm": "batch"})
    epoch: int | None = None

    wants_teacher = True
    good_to = 1
    good_why = (
        "on ImageNet-1k at 10 and 50 per class it reached 21.3 and 46.8 %, random images with such"
        " soft labels 25.8 and 54.3 % (Qin et al., 2024)"
    )

    def __post_init__(self) -> None:
        for name, value, known in (
            ("start", self.start, STARTS),
            ("batching", self.batching, BATCHING),
        ):
            if value not in known:
                raise ValueError(f"{name}: expected {', '.join(known)}, got {value!r}")
        positive(steps=self.steps, lr=self.lr, batch=self.batch)
        if not (self.bn >= 0 and (self.jitter is None or self.jitter >= 0)):
            raise ValueError(f"bn, jitter: expected 0 or more, got {self.bn}, {self.jitter}")

    def image_bytes(self, shape: tuple[int, int, int], classes: int) -> int:
        """Return the bytes of uint8 pixels and a hard label."""
        return int(np.prod(shape)) + smallest_labels(classes).itemsize

    def check(self, source: Source, ipc: int) -> None:
        """Check the question, and that of the method to start with."""
        super().check(source, ipc)
        if self.start == "rded":
            self._rded.check(source, ipc)

    @property
    def _rded(self) -> Rded:
        return Rded(network=self.network, epoch=self.epoch)

    def distill(
        self, source: Source, ipc: int, rng: np.random.Generator, progress: Progress
    ) -> Synthetic:
        """Descend on all images at once, each batch by its own loss."""
        assert source.teacher is not None
        seed = int(rng.integers(2**62))
        teacher = source.teacher(self.network, self.epoch).check(source.classes)
        model, labels = teacher.model.to(source.device), hard_labels(source, ipc)
        batches = self.batches(len(source.classes), ipc)
        wanted = [running(model)]
        if self.batching == "class":
            wanted = [
                measured(
                    model, (source.tensor(r) for r in np.array_split(rows, -(-len(rows) // 256)))
                )
                for rows in source.rows(seed)
            ]
        low, high = (
            torch.tensor([(v - m) / s for m, s in zip(source.mean, source.std, strict=True)],
                         device=source.device).view(1, -1, 1, 1)
            for v in (0.0, 1.0)
        )  # fmt: skip

        def gradient(step: int, now: Mapping[str, Tensor]) -> float:
            if step:
                with torch.no_grad():
                    now["images"].clamp_(low, high)
            whole, total = torch.zeros_like(now["images"]), 0.0
            for number, rows in enumerate(batches):
                x = now["images"].detach()[rows].requires_grad_()
                y = torch.from_numpy(labels[rows]).to(x.device)
                seen = self.view(x, source.flips, stream(seed, VIEW, step, number))
                loss = invert(
                    model, seen, y, wanted[labels[rows[0]] if len(wanted) > 1 else 0], self.bn
                )
                (whole[rows],) = torch.autograd.grad(loss, x)
                total += float(loss.detach())
            now["images"].grad = whole
            return total / len(batches)

        final = descend(
            {"images": self.begin(source, ipc, seed)}, gradient, self.steps,
            lambda tensors: torch.optim.Adam(list(tensors), lr=self.lr, betas=(0.5, 0.9)), progress,
            lambda step: 0.5 * (1 + math.cos(math.pi * step / self.steps)),
        )  # fmt: skip
        return source.made_pixels(final["images"], labels, info={"teacher": about(teacher)})

    def batches(self, classes: int, ipc: int) -> list[Indices]:
        """Return the rows of every batch, of images that stand class after class."""
        rows = np.arange(classes * ipc).reshape(classes, ipc)
        groups = rows if self.batching == "class" else rows.T
        return [
            part
            for group in groups
            for part in np.split(group, range(self.batch, len(group), self.batch))
        ]

    def begin(self, source: Source, ipc: int, seed: int) -> Tensor:
        """Return the images (classes x ipc, C, S, S) to start with."""
        own = stream(seed, START)
        if self.start == "rded":
            mosaics = self._rded.distill(source, ipc, own, Progress())
            return torch.from_numpy(mosaics.normalized()).to(source.device)
        return start_images(source, ipc, int(own.integers(2**62)), self.start)

    def view(self, x: Tensor, flips: bool, rng: np.random.Generator) -> Tensor:
        """Return a batch as one step looks at it: the same crop, mirror and roll for all its
        images.
        """
        side = x.shape[-1]
        crops = side >= LARGE if self.multi_crop is None else self.multi_crop
        if crops:
            box = boxes(rng.random((1, 2 * TRIES + 2)), side)
            x = resample(x, box.repeat(len(x), axis=0), side)
            if flips and rng.random() < 0.5:
                x = x.flip(3)
        most = round(side / (7 if crops else 8)) if self.jitter is None else self.jitter
        down, across = rng.integers(0, most + 1, 2).tolist()
        return torch.roll(x, (down, across), (2, 3))
