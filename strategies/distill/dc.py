"""Gradient matching: made images on which a network would be changed as it is by the real ones,
class by class.

Zhao, Mopuri & Bilen, "Dataset Condensation with Gradient Matching" (DC), ICLR 2021
(arXiv:2006.05929); with one augmentation shared by real and made images (DSA): Zhao & Bilen, ICML
2021 (arXiv:2102.08259); trained on real data and stored as mosaics (IDC): Kim et al., ICML 2022
(arXiv:2205.14959).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from coreset.core.pool import Indices
from coreset.core.ranges import check_range
from coreset.distillation import Distiller, Progress, Source, Synthetic
from coreset.distillation.descend import descend, sgd
from coreset.distillation.nn.ce_gradients import slopes
from coreset.distillation.nn.convnet import ConvNet, convnet, draw_weights
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
from coreset.strategies.distill.gradient_matching import DISTANCES, class_gradients

TRAIN_ON = ("made", "real")
START, NET, BATCH, TRAIN = range(4)  # random streams
SCHEDULE = (
    (1, 1, 1),
    (10, 10, 50),
    (50, 50, 10),
)  # up to so many images per class: matching steps per network, and epochs between them


def schedule(ipc: int) -> tuple[int, int]:
    """Return how many steps one network is matched for and how many epochs it trains between them:
    the paper's at 1, 10 and 50, the nearest above for others.

    >>> [schedule(i) for i in (1, 5, 10, 50, 100)]
    [(1, 1), (10, 50), (10, 50), (50, 10), (50, 10)]
    """
    return next(
        ((outer, inner) for most, outer, inner in SCHEDULE if ipc <= most), SCHEDULE[-1][1:]
    )


def match(
    net: nn.Module,
    images: Tensor,
    real: Sequence[Tensor],
    drawn: Draw,
    distance: str,
    factor: int = 1,
) -> tuple[Tensor, Tensor]:
    """Return the loss of images (classes x ipc, C, S, S), class after class, against real (n_c, C,
    S, S) ones, and its gradient by the pixels.

    The losses of classes add up. On a CPU one class after the other, so that the graph of one is
    held at a time; on a GPU those with as many real images together.
    """
    classes = len(real)
    ipc = len(images) // classes
    measure = DISTANCES[distance]
    total, parts = images.new_zeros(()), list[Tensor]()
    if images.device.type != "cpu" and len({len(r) for r in real}) == 1:
        labels = torch.arange(classes, device=images.device)
        seen = augment(torch.cat(list(real)), drawn).view(classes, -1, *images.shape[1:])
        wanted = [g.detach() for g in class_gradients(net, seen, labels)]
        x = images.detach().clone().requires_grad_()
        distilled = augment(decode(x, factor), drawn).view(classes, -1, *images.shape[1:])
        loss = measure(wanted, class_gradients(net, distilled, labels, create_graph=True))
        return loss.detach(), torch.autograd.grad(loss, x)[0]
    for c in range(classes):
        one, label = (
            Draw(drawn.names[c : c + 1], drawn.parameters[c : c + 1]),
            torch.tensor([c], device=images.device),
        )
        wanted = [g.detach() for g in class_gradients(net, augment(real[c], one)[None], label)]
        x = images.detach()[c * ipc : (c + 1) * ipc].clone().requires_grad_()
        loss = measure(
            wanted,
            class_gradients(net, augment(decode(x, factor), one)[None], label, create_graph=True),
        )
        parts += torch.autograd.grad(loss, x)
        total += loss.detach()
    return total, torch.cat(parts)


@dataclass(frozen=True)
class Dc(Distiller):
    """Match the gradients of each class's loss on real and on made images, for networks from random
    to half trained.

    networks: how many random networks (1,000 in the paper). outer, inner: matching steps per
    network and epochs of training between them; None: the paper's by the number of images per
    class. lr, momentum: of the pixels. net_lr: of the network. train_on: `made` (DC, DSA) or `real`
    (IDC: the network sees `real` images of every class). augment: `none` (DC) or operations of DSA
    joined by _; one is drawn for each class and step, the same for real and made images. real: real
    images per class a step. width, depth: of the ConvNet. start: `noise` (DC) or `real` (DSA).
    decode: every stored image is a mosaic of decode x decode (IDC: 2). distance: `cosine` of output
    rows (DC), `l1` or `mse` of the convolutions' gradients (IDC).
    """

    networks: int = 1000
    outer: int | None = None
    inner: int | None = None
    lr: float = 0.1
    momentum: float = 0.5
    net_lr: float = 0.01
    train_on: str = "made"
    augment: str = "none"
    real: int = 256
    width: int = 128
    depth: int | None = None
    start: str = "noise"
    decode: int = 1
    distance: str = "cosine"

    good_to = 200

    def __post_init__(self) -> None:
        if self.train_on not in TRAIN_ON:
            raise ValueError(f"train_on: expected {' or '.join(TRAIN_ON)}, got {self.train_on!r}")
        if self.distance not in DISTANCES:
            raise ValueError(f"distance: expected {', '.join(DISTANCES)}, got {self.distance!r}")
        check_range("a number in [0, 1)", momentum=self.momentum)
        given = {n: v for n in ("outer", "inner") if (v := getattr(self, n)) is not None}
        positive(
            networks=self.networks,
            lr=self.lr,
            net_lr=self.net_lr,
            real=self.real,
            width=self.width,
            decode=self.decode,
            **given,
        )
        operations(self.augment)

    def distill(
        self, source: Source, ipc: int, rng: np.random.Generator, progress: Progress
    ) -> Synthetic:
        """Descend on the pixels through one random network after the other."""
        seed = int(rng.integers(2**62))
        images = start_images(
            source, ipc, int(stream(seed, START).integers(2**62)), self.start, self.decode
        )
        planned = schedule(ipc)
        outer, inner = self.outer or planned[0], self.inner or planned[1]
        names = operations(self.augment, source.flips)
        rows, wanted = source.rows(seed), real_batch(source, self.real)
        c, size, _ = source.shape
        # torch draws weights when it makes a layer; they are drawn again below
        with torch.random.fork_rng(devices=[]):
            net = convnet(len(source.classes), c, size, self.width, self.depth).to(source.device)
        labels = torch.from_numpy(np.repeat(hard_labels(source, ipc), self.decode**2)).to(
            source.device
        )

        def batches(step: int, purpose: int) -> list[Tensor]:
            picks: list[Indices] = []
            for i, r in enumerate(rows):
                luck = stream(seed, purpose, step, i)
                picks.append(r[np.sort(luck.choice(len(r), min(wanted, len(r)), replace=False))])
            return [source.tensor(p) for p in picks]

        def gradient(step: int, now: Mapping[str, Tensor]) -> float:
            turn, place = divmod(step, outer)
            if place == 0:
                draw_weights(net, torch_stream(seed, NET, turn))
            else:
                self._train(
                    net,
                    now["images"].detach(),
                    labels,
                    inner,
                    batches(step, TRAIN) if self.train_on == "real" else None,
                    names,
                    torch_stream(seed, TRAIN, step),
                )
            drawn = draw(names, len(source.classes), torch_stream(seed, BATCH, step)).to(
                source.device
            )
            loss, now["images"].grad = match(
                net, now["images"], batches(step, BATCH), drawn, self.distance, self.decode
            )
            return float(loss)

        # a network half trained is not kept on disk: what is saved stands between two networks
        tensors = descend(
            {"images": images},
            gradient,
            self.networks * outer,
            sgd(self.lr, self.momentum),
            progress,
            every=outer,
        )
        info = {"outer": outer, "inner": inner, "flips": source.flips}
        return source.made(
            tensors["images"], hard_labels(source, ipc), decode=self.decode, info=info
        )

    def _train(
        self,
        net: ConvNet,
        images: Tensor,
        labels: Tensor,
        epochs: int,
        real: Sequence[Tensor] | None,
        names: list[str],
        luck: torch.Generator,
    ) -> None:
        """Train the network for some epochs: plain SGD on whole batches of 256, on the made images
        or on real ones.
        """
        x, y = decode(images, self.decode), labels
        if real is not None:
            x, y = (
                torch.cat(list(real)),
                torch.cat(
                    [torch.full((len(r),), c, device=images.device) for c, r in enumerate(real)]
                ),
            )
        weights = dict(net.named_parameters())
        for _ in range(epochs):
            for part in torch.split(torch.randperm(len(x), generator=luck).to(x.device), 256):
                seen = augment(x[part], draw(names, 1, luck).to(x.device))
                gradients = slopes(net, weights, seen, y[part])
                with torch.no_grad():
                    for weight, slope in zip(weights.values(), gradients, strict=True):
                        weight.sub_(self.net_lr * slope)


@dataclass(frozen=True)
class Dsa(Dc):
    """Match gradients under one augmentation shared by real and made images: `Dc` with the defaults
    of DSA, from real images on.

    All parameters: see `Dc`.
    """

    augment: str = DEFAULT
    start: str = "real"
