"""Trajectory matching: made images on which a network walks where it would have walked on the real
ones.

Cazenavette, Wang, Torralba, Efros & Zhu, "Dataset Distillation by Matching Training Trajectories"
(MTT), CVPR 2022 (arXiv:2203.11932), without its whitening. The gradient through the student's steps
is that of the whole computation, taken step by step from the last to the first with the weights in
between computed again, so that memory does not grow with the number of steps. Meant for a GPU: at
its published size experts and steps take days on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from coreset.distillation import Distiller, Progress, Source, Synthetic
from coreset.distillation.descend import descend
from coreset.distillation.nn.ce_gradients import slopes
from coreset.distillation.nn.convnet import convnet, draw_weights
from coreset.distillation.nn.siamese import DEFAULT, augment, draw, operations
from coreset.strategies.distill.common import (
    hard_labels,
    positive,
    start_images,
    stream,
    torch_stream,
)

START, EXPERT, PICK, STUDENT = range(4)  # random streams
SEGMENTS = 8  # weights kept at each depth of the walk back
SCHEDULE = (
    (1, 50, 2, 2),
    (10, 30, 2, 20),
    (50, 30, 2, 40),
)  # CIFAR-10's: images per class, student steps, expert epochs ahead, latest start
BATCH = 256

Loss = Callable[[Tensor, Tensor, int], Tensor]  # weights, images, step -> loss of that step's batch


def walk(start: Tensor, images: Tensor, rate: Tensor, steps: range, loss: Loss) -> Tensor:
    """Return the weights (P,) after plain SGD on the losses of `steps`."""
    theta = start.detach()
    for step in steps:
        now = theta.requires_grad_()
        (slope,) = torch.autograd.grad(loss(now, images, step), now)
        theta = now.detach() - rate * slope
    return theta


def walk_back(
    start: Tensor, images: Tensor, rate: Tensor, steps: range, loss: Loss, end: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients by the weights at the start, the images and the rate, of a function
    whose gradient by the weights at the end is `end`.

    One step's graph is held at a time. The weights where steps begin are computed again from those
    of 8 places, and inside each of these alike: memory of 8 log_8(steps) weights, one more walk for
    each level.
    """
    if len(steps) == 1:
        theta, x = start.detach().requires_grad_(), images.detach().requires_grad_()
        (slope,) = torch.autograd.grad(loss(theta, x, steps[0]), theta, create_graph=True)
        by_weights, by_images = torch.autograd.grad((slope * end).sum(), (theta, x))
        return end - rate * by_weights, -rate * by_images, -(slope.detach() * end).sum()
    cuts = np.unique(np.linspace(0, len(steps), min(SEGMENTS, len(steps)) + 1).astype(int)).tolist()
    parts = [steps[a:b] for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
    begins = [start]
    for part in parts[:-1]:
        begins.append(walk(begins[-1], images, rate, part, loss))
    by_images, by_rate = torch.zeros_like(images), torch.zeros_like(rate)
    for part in reversed(parts):
        end, of_images, of_rate = walk_back(begins.pop(), images, rate, part, loss, end)
        by_images += of_images
        by_rate += of_rate
    return end, by_images, by_rate


def trajectory_loss(
    first: Tensor, goal: Tensor, images: Tensor, rate: Tensor, steps: int, loss: Loss
) -> tuple[Tensor, Tensor, Tensor]:
    """Return |end - goal|^2 / |first - goal|^2 and its gradients by images and rate; end: where
    `steps` steps from `first` lead.
    """
    last = walk(first, images, rate, range(steps), loss)
    scale = (first - goal).square().sum()
    _, by_images, by_rate = walk_back(
        first, images, rate, range(steps), loss, 2 * (last - goal) / scale
    )
    return (last - goal).square().sum() / scale, by_images, by_rate


def flat(net: nn.Module) -> Tensor:
    """Return all weights as one vector (P,), a copy."""
    return torch.cat([p.detach().reshape(-1) for p in net.parameters()])


def shaped(net: nn.Module, theta: Tensor) -> dict[str, Tensor]:
    """Return a vector of weights under the names and in the shapes of a network's."""
    names = dict(net.named_parameters())
    parts = torch.split(theta, [p.numel() for p in names.values()])
    return {name: part.view_as(p) for (name, p), part in zip(names.items(), parts, strict=True)}


@dataclass(frozen=True)
class Mtt(Distiller):
    """Match where networks trained on the real images go.

    experts, epochs: networks trained on the real images, and for how long; every epoch's weights
    are kept (65 MB an expert at 32 pixels), in the store, or in memory where there is none. steps:
    of the pixels. student, ahead, latest: steps of the student, epochs the expert is ahead at its
    end, and the latest epoch to begin at; None: CIFAR-10's by the number of images per class. lr,
    rate, rate_lr: of the pixels, where the student's own rate begins, and the rate at which that is
    learned (`info` has the result). expert_lr: of the experts. augment: operations of DSA joined by
    _, or `none`. width, depth: of the ConvNet. start: `real` or `noise`.
    """

    experts: int = 100
    epochs: int = 50
    steps: int = 5000
    student: int | None = None
    ahead: int | None = None
    latest: int | None = None
    lr: float = 1000.0
    rate: float = 0.01
    rate_lr: float = 1e-5
    expert_lr: float = 0.01
    augment: str = DEFAULT
    width: int = 128
    depth: int | None = None
    start: str = "real"

    good_to = 50

    def __post_init__(self) -> None:
        given = {n: v for n in ("student", "ahead") if (v := getattr(self, n)) is not None}
        positive(
            experts=self.experts, epochs=self.epochs, steps=self.steps, lr=self.lr, rate=self.rate,
            rate_lr=self.rate_lr, expert_lr=self.expert_lr, width=self.width,
            **given,
        )  # fmt: skip
        if self.latest is not None and self.latest < 0:
            raise ValueError(f"latest: expected an epoch of at least 0, got {self.latest}")
        operations(self.augment)

    def plan(self, ipc: int) -> tuple[int, int, int]:
        """Return student steps, epochs ahead and the latest epoch to begin at. Raises ValueError
        when the experts are not trained for that long.
        """
        published = next((row[1:] for row in SCHEDULE if ipc <= row[0]), SCHEDULE[-1][1:])
        student, ahead, latest = (
            own if own is not None else row
            for own, row in zip((self.student, self.ahead, self.latest), published, strict=True)
        )
        if latest + ahead > self.epochs:
            raise ValueError(
                f"epochs: beginning at epoch {latest} and looking {ahead} ahead takes"
                f" {latest + ahead} epochs of the experts, got {self.epochs}"
            )
        return student, ahead, latest

    def distill(
        self, source: Source, ipc: int, rng: np.random.Generator, progress: Progress
    ) -> Synthetic:
        """Train the experts, then descend on the pixels and the student's rate."""
        student, ahead, latest = self.plan(ipc)
        seed = int(rng.integers(2**62))
        images = start_images(source, ipc, int(stream(seed, START).integers(2**62)), self.start)
        labels = torch.from_numpy(hard_labels(source, ipc)).to(source.device)
        names = operations(self.augment, source.flips)
        c, size, _ = source.shape
        # torch draws weights when it makes a layer; they are drawn again below
        with torch.random.fork_rng(devices=[]):
            net = convnet(len(source.classes), c, size, self.width, self.depth).to(source.device)
        held: dict[int, Tensor] = {}

        def expert(number: int) -> Tensor:
            if progress.folder is None:
                if number not in held:
                    held[number] = self._expert(source, net, names, seed, number)
                return held[number]
            kept = progress.within(f"expert-{number}")
            saved = kept.load()
            if saved is None:
                saved = self.epochs, {"weights": self._expert(source, net, names, seed, number)}
                kept.save(*saved)
            return saved[1]["weights"].to(source.device)

        def gradient(step: int, now: Mapping[str, Tensor]) -> float:
            luck = stream(seed, PICK, step)
            way = expert(int(luck.integers(self.experts)))
            first = int(luck.integers(latest + 1))
            loss = self._batch_loss(net, labels, names, seed, step)
            value, now["images"].grad, now["rate"].grad = trajectory_loss(
                way[first],
                way[first + ahead],
                now["images"].detach(),
                now["rate"].detach(),
                student,
                loss,
            )
            return float(value)

        def optimizer(tensors: Sequence[Tensor]) -> torch.optim.Optimizer:
            pixels, rate = tensors  # in the order of the mapping below
            return torch.optim.SGD(
                [{"params": [pixels], "lr": self.lr}, {"params": [rate], "lr": self.rate_lr}],
                momentum=0.5,
            )

        start = {"images": images, "rate": torch.tensor(self.rate, device=source.device)}
        final = descend(start, gradient, self.steps, optimizer, progress)
        info = {
            "rate": float(final["rate"]),
            "student": student,
            "ahead": ahead,
            "latest": latest,
            "flips": source.flips,
        }
        return source.made(final["images"], hard_labels(source, ipc), info=info)

    def _batch_loss(
        self, net: nn.Module, labels: Tensor, names: list[str], seed: int, step: int
    ) -> Loss:
        """Return the loss of a student's step: on its batch, with its augmentation, the same
        whenever it is asked for.
        """
        count = -(-len(labels) // BATCH)

        def loss(theta: Tensor, images: Tensor, at: int) -> Tensor:
            epoch, place = divmod(at, count)
            order = torch.from_numpy(
                stream(seed, STUDENT, step, epoch).permutation(len(labels))
            ).to(labels.device)
            part = order[place * BATCH : (place + 1) * BATCH]
            drawn = draw(names, 1, torch_stream(seed, STUDENT, step, epoch, place)).to(
                images.device
            )
            return nn.functional.cross_entropy(
                functional_call(net, shaped(net, theta), (augment(images[part], drawn),)),
                labels[part],
            )

        return loss

    def _expert(
        self, source: Source, net: nn.Module, names: list[str], seed: int, number: int
    ) -> Tensor:
        """Return the weights (epochs + 1, P) of one network trained on the real images: plain SGD,
        batches of 256.
        """
        luck = torch_stream(seed, EXPERT, number)
        draw_weights(net, luck)
        theta, way = flat(net), [flat(net)]
        labels = torch.from_numpy(source.labels).to(source.device)
        # the arrangement of the pool does not matter
        order_of = np.argsort(source.ids, kind="stable")
        for _ in range(self.epochs):
            order = order_of[torch.randperm(len(labels), generator=luck).numpy()]
            for first in range(0, len(order), BATCH):
                part = order[first : first + BATCH]
                seen = augment(source.tensor(part), draw(names, 1, luck).to(source.device))
                gradients = slopes(net, shaped(net, theta), seen, labels[torch.from_numpy(part)])
                theta = theta - self.expert_lr * torch.cat([s.reshape(-1) for s in gradients])
            way.append(theta)
        return torch.stack(way)
