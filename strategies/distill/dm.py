"""Distribution matching: made images whose mean embedding under random networks is that of the real
ones, class by class.

Zhao & Bilen, "Dataset Condensation with Distribution Matching", WACV 2023 (arXiv:2110.04181).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from coreset.core.pool import Indices
from coreset.core.ranges import check_range
from coreset.distillation import Distiller, Progress, Source, Synthetic
from coreset.distillation.descend import descend, sgd
from coreset.distillation.nn.convnet import ConvNet, convnet, random_net
from coreset.distillation.nn.decode import decode
from coreset.distillation.nn.siamese import DEFAULT, Draw, augment, draw, operations
from coreset.strategies.distill.common import (
    hard_labels,
    positive,
    real_batch,
    start_images,
    stream,
    torch_stream,
)
from coreset.strategies.distill.matching import DISTANCES, Distance, class_means, real_means

MODES = ("auto", "pooled", "fresh")
START, ENTRY, ORDER = range(3)  # random streams
BLOCK = 1024  # made images in one pass: a step's gradient is summed over blocks of classes


@dataclass(frozen=True, eq=False)
class Target:
    """A random network, one augmentation for each class, and what the real images look like through
    both: class means (classes, D).
    """

    net: ConvNet
    drawn: Draw
    seed: int
    real: Sequence[Tensor]


def match(
    images: Tensor, target: Target, distance: Distance, factor: int = 1, block: int = BLOCK
) -> tuple[Tensor, Tensor]:
    """Return the loss of images (classes x ipc, C, S, S), class after class, and its gradient by
    the pixels.

    A sum over classes, so it is taken in blocks of classes of at most about `block` decoded images;
    the block does not change the answer.
    """
    classes = len(target.drawn.names)
    ipc = len(images) // classes
    step = max(1, block // (ipc * factor**2))
    total = images.new_zeros(())
    gradients: list[Tensor] = []
    for first in range(0, classes, step):
        few = slice(first, min(first + step, classes))
        x = images.detach()[few.start * ipc : few.stop * ipc].clone().requires_grad_()
        drawn = Draw(target.drawn.names[few], target.drawn.parameters[few])
        seen = augment(decode(x, factor), drawn)
        means = class_means(distance.describe(target.net, seen, target.seed), few.stop - few.start)
        loss = distance.compare([r[few] for r in target.real], means)
        gradients += torch.autograd.grad(loss, x)
        total += loss.detach()
    return total, torch.cat(gradients)


@dataclass(frozen=True)
class Dm(Distiller):
    """Match the mean embedding of the real images of each class under random networks.

    mode: `fresh` (the paper: a new random network, new real images and a new augmentation every
    step), `pooled` (`pool` networks, each with one augmentation and `real` images a class, whose
    means are computed once and used over and over), or `auto`: pooled on a CPU, fresh on a GPU.
    steps: 20,000 in the paper. lr, momentum: of the pixels; the paper takes lr 10 from 100 images
    per class on. real: real images per class a step. width, depth: of the ConvNet; depth None: by
    the size of the image. augment: operations of DSA joined by _, one of them drawn for each class,
    or `none`; flips are left out where a mirrored image is another class. start: `real` or `noise`.
    decode: every stored image is a mosaic of decode x decode images. distance: `mean` (the paper),
    `attention` (DataDAM), `characteristic` (NCFM's).
    """

    mode: str = "auto"
    steps: int = 1000
    lr: float = 1.0
    momentum: float = 0.5
    real: int = 256
    pool: int = 20
    width: int = 128
    depth: int | None = None
    augment: str = DEFAULT
    start: str = "real"
    decode: int = 1
    distance: str = "mean"

    good_to = 200

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode: expected {', '.join(MODES)}, got {self.mode!r}")
        if self.distance not in DISTANCES:
            raise ValueError(f"distance: expected {', '.join(DISTANCES)}, got {self.distance!r}")
        check_range("a number in [0, 1)", momentum=self.momentum)
        positive(
            steps=self.steps,
            lr=self.lr,
            real=self.real,
            pool=self.pool,
            width=self.width,
            decode=self.decode,
        )
        operations(self.augment)

    def distill(
        self, source: Source, ipc: int, rng: np.random.Generator, progress: Progress
    ) -> Synthetic:
        """Descend on the pixels, which start as random real images."""
        seed = int(rng.integers(2**62))
        pooled = self.mode == "pooled" or (self.mode == "auto" and source.device.type == "cpu")
        images = start_images(
            source, ipc, int(stream(seed, START).integers(2**62)), self.start, self.decode
        )
        target = self.targets(source, seed, pooled)
        distance = DISTANCES[self.distance]

        def gradient(step: int, now: Mapping[str, Tensor]) -> float:
            loss, now["images"].grad = match(now["images"], target(step), distance, self.decode)
            return float(loss)

        tensors = descend(
            {"images": images}, gradient, self.steps, sgd(self.lr, self.momentum), progress
        )
        info = {"variant": "pooled" if pooled else "fresh", "flips": source.flips}
        return source.made(
            tensors["images"], hard_labels(source, ipc), decode=self.decode, info=info
        )

    def targets(self, source: Source, seed: int, pooled: bool) -> Callable[[int], Target]:
        """Return what gives the target of a step: made anew every time, or out of a pool, each
        member once in every `pool` steps in a random order.
        """
        c, size, _ = source.shape
        names = operations(self.augment, source.flips)
        rows = source.rows(seed)
        wanted = real_batch(source, self.real)
        # torch draws weights when it makes a layer; they are drawn again below
        with torch.random.fork_rng(devices=[]):
            layers = [
                convnet(len(source.classes), c, size, self.width, self.depth)
                for _ in range(self.pool if pooled else 1)
            ]

        def make(number: int, net: ConvNet) -> Target:
            own = int(stream(seed, ENTRY, number).integers(2**62))
            net = cast(ConvNet, random_net(net, own)).to(source.device)
            drawn = draw(names, len(source.classes), torch_stream(own, 0)).to(source.device)
            picks: list[Indices] = [
                r[_some(len(r), wanted, stream(own, 1, i))] for i, r in enumerate(rows)
            ]
            seen = (
                augment(source.tensor(p), Draw(drawn.names[i : i + 1], drawn.parameters[i : i + 1]))
                for i, p in enumerate(picks)
            )
            return Target(net, drawn, own, real_means(DISTANCES[self.distance], net, seen, own))

        if not pooled:
            return lambda step: make(step, layers[0])
        cached: dict[int, Target] = {}

        def pick(step: int) -> Target:
            turn, place = divmod(step, self.pool)
            number = int(stream(seed, ORDER, turn).permutation(self.pool)[place])
            if number not in cached:
                cached[number] = make(number, layers[number])
            return cached[number]

        return pick


def _some(size: int, wanted: int, rng: np.random.Generator) -> Indices:
    """Return `wanted` different numbers below `size`, in order, or all of them."""
    return np.sort(rng.choice(size, wanted, replace=False)) if wanted < size else np.arange(size)
