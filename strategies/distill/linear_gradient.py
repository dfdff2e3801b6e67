"""Linear gradient matching: made images from which a random linear head on a frozen backbone would
learn what it would from the real ones.

Cazenavette, Torralba & Sitzmann, "Dataset Distillation for Pre-Trained Self-Supervised Vision
Models", NeurIPS 2025 (arXiv:2511.16674). For a linear head the gradient has a closed form, so that
nothing is differentiated twice. The public code matches the gradient by a bias too; the paper's
loss is of the weights alone, and so is this.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from coreset.core.store import fingerprint
from coreset.distillation import Distiller, Progress, Source, Synthetic
from coreset.distillation.dataset import smallest_labels
from coreset.distillation.descend import descend
from coreset.distillation.nn.crops import TRIES, boxes, check_scale, resample
from coreset.distillation.nn.pyramid import grown, picture, sides
from coreset.scorers.image.backbone import LITE0, backbone, check_backbone, resized, standardized
from coreset.strategies.distill.common import (
    hard_labels,
    positive,
    real_batch,
    stream,
    torch_stream,
)

MODES = ("auto", "pooled", "fresh")
START, HEAD, MADE, REAL = range(4)  # random streams
HEAD_STD = 0.01  # of the weights of a random head
PART = 25  # a level is added every 25th of the steps: the paper's 200 of 5,000
BLOCK = 128  # real images in one pass


def head_gradient(z: Tensor, labels: Tensor, w: Tensor) -> Tensor:
    """Return the gradient (classes, D) of the mean cross-entropy of a linear head w (classes, D) on
    features z (n, D) by w: (softmax(z w^T) - onehot(labels))^T z / n; differentiable in `z`.

    >>> z, w = torch.tensor([[2.0]]), torch.zeros(2, 1)
    >>> head_gradient(z, torch.tensor([0]), w).tolist()
    [[-1.0], [1.0]]
    """
    gap = (z @ w.T).softmax(dim=1) - nn.functional.one_hot(labels, len(w)).to(z.dtype)
    return gap.T @ z / len(z)


def distance(real: Tensor, distilled: Tensor) -> Tensor:
    """Return 1 - cos of two gradients, each as one long vector.

    >>> distance(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])).item()
    1.0
    """
    return 1 - nn.functional.cosine_similarity(real.flatten(), distilled.flatten(), dim=0)


@dataclass(frozen=True, eq=False)
class Eye:
    """A frozen backbone with the size, mean and std of what it takes: images (n, C, S, S) from 0 to
    1 -> features (n, D).
    """

    model: nn.Module
    mean: Tensor
    std: Tensor
    size: int

    def __call__(self, x: Tensor) -> Tensor:
        """Return the features of images that `size` and augmentation are done with."""
        features: Tensor = self.model(standardized(x, self.mean, self.std))
        return features.flatten(1).float()


@dataclass(frozen=True)
class LinearGradient(Distiller):
    """Match the gradient that a random linear head on a frozen backbone gets from the real images.

    backbone: a model of timm with its weights, as `embedding=pretrained` takes it, or any module,
    which takes images standardized by the pool's mean and std. size: images are resized to size x
    size pixels, as that embedding does. steps, lr: of Adam on the levels of a pyramid of images,
    whose next level comes every 25th of the steps (paper: 5,000 steps at 0.002). copies: views of
    each made image a step (paper: 10). real: real images per class a step (paper: as many as there
    are views of made ones). mode: `fresh` (the paper: new views of new real images every step),
    `pooled` (one view of each of `real` images a class, whose features are computed once), or
    `auto`: pooled on a CPU, fresh on a GPU. scale: least and largest share of the area of the
    random crop that is a view, of real and of made images alike; mirrored in half the cases where
    that keeps the class. noise: std of the noise on half of the views, of pixels from 0 to 1. With
    scale [1, 1] and no noise nothing is augmented. Images are stored as uint8.
    """

    backbone: str | nn.Module = LITE0
    size: int = 112
    steps: int = 1000
    lr: float = 0.01
    copies: int = 10
    real: int = 100
    mode: str = "auto"
    scale: tuple[float, float] = (0.08, 1.0)
    noise: float = 0.2

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode: expected {', '.join(MODES)}, got {self.mode!r}")
        positive(size=self.size, steps=self.steps, lr=self.lr, copies=self.copies, real=self.real)
        if not self.noise >= 0:
            raise ValueError(f"noise: expected 0 or more, got {self.noise}")
        object.__setattr__(self, "scale", tuple(self.scale))
        check_scale(self.scale)

    def parameters(self) -> dict[str, Any]:
        """Return the fields; of a module its class and the fingerprint of its weights."""
        fields = super().parameters()
        if isinstance(self.backbone, nn.Module):
            weights = {k: v.cpu().numpy() for k, v in self.backbone.state_dict().items()}
            fields["backbone"] = f"{type(self.backbone).__name__} {fingerprint(weights)}"
        return fields

    def image_bytes(self, shape: tuple[int, int, int], classes: int) -> int:
        """Return the bytes of uint8 pixels and a hard label."""
        return int(np.prod(shape)) + smallest_labels(classes).itemsize

    def check(self, source: Source, ipc: int) -> None:
        """Check the question, and that a backbone by name has weights and sees the images."""
        super().check(source, ipc)
        if isinstance(self.backbone, str):
            check_backbone(self.backbone, source.shape[0], "backbone")

    def distill(
        self, source: Source, ipc: int, rng: np.random.Generator, progress: Progress
    ) -> Synthetic:
        """Descend on the levels of a pyramid, coarse ones first."""
        seed = int(rng.integers(2**62))
        pooled = self.mode == "pooled" or (self.mode == "auto" and source.device.type == "cpu")
        eye, labels = self.eye(source), hard_labels(source, ipc)
        target = self.targets(source, seed, eye, pooled)
        c, side, _ = source.shape
        views = torch.from_numpy(np.tile(labels, self.copies)).to(source.device)

        def loss(step: int, images: Tensor) -> Tensor:
            z, y = target(step)
            w = head(len(source.classes), z.shape[1], torch_stream(seed, HEAD, step)).to(z.device)
            seen = self.look(
                images.repeat(self.copies, 1, 1, 1), source.flips, stream(seed, MADE, step)
            )
            return distance(head_gradient(z, y, w), head_gradient(eye(seen), views, w))

        levels: list[Tensor] = []
        every = max(1, self.steps // PART)
        plan = sides(side)
        for number, size in enumerate(plan):
            first = number * every
            last = min(first + every, self.steps) if number + 1 < len(plan) else self.steps
            shape, luck = (len(labels), c, size, size), torch_stream(seed, START, number)
            levels = grown(levels, torch.randn(shape, generator=luck).to(source.device))
            if last <= first:
                continue
            stage = replace(
                progress.within(f"level-{number}"),
                show=lambda step, _, value, begin=first: progress.show(  # type: ignore[misc]
                    begin + step, self.steps, value
                ),
            )

            def gradient(step: int, now: Mapping[str, Tensor], begin: int = first) -> float:
                value = loss(begin + step, picture(list(now.values()), side))
                value.backward()  # type: ignore[no-untyped-call]
                return float(value.detach())

            levels = list(
                descend(
                    {f"level{n}": level for n, level in enumerate(levels)},
                    gradient,
                    last - first,
                    lambda tensors: torch.optim.Adam(list(tensors), lr=self.lr),
                    stage,
                ).values()
            )
        mean, std = _channels(source)
        info = {"variant": "pooled" if pooled else "fresh", "flips": source.flips}
        return source.made_pixels((picture(levels, side) - mean) / std, labels, info=info)

    def eye(self, source: Source) -> Eye:
        """Return the backbone on the device of the source, frozen; a module is copied."""
        if isinstance(self.backbone, str):
            model, mean, std = backbone(self.backbone)
        else:
            model = copy.deepcopy(self.backbone).eval().requires_grad_(False)
            mean, std = _channels(source)
        return Eye(model.to(source.device), mean, std, self.size)

    def look(self, x: Tensor, flips: bool, rng: np.random.Generator) -> Tensor:
        """Return a random view (n, C, size, size) of each image (n, C, S, S) from 0 to 1;
        differentiable.
        """
        x = resized(x, self.size)
        if self.scale != (1.0, 1.0):
            u = rng.random((len(x), 2 * TRIES + 2))
            x = resample(x, boxes(u, self.size, self.scale), self.size)
        if flips:
            x = torch.where(_each(rng.random(len(x)) < 0.5, x), x.flip(3), x)
        if self.noise:
            noisy = _each(rng.random(len(x)) < 0.5, x)
            drawn = torch.randn(x.shape, generator=torch_stream(int(rng.integers(2**62))))
            x = x + noisy * self.noise * drawn.to(x.device)
        return x

    def targets(
        self, source: Source, seed: int, eye: Eye, pooled: bool
    ) -> Callable[[int], tuple[Tensor, Tensor]]:
        """Return what gives features (n, D) and labels (n,) of real images of a step: the same ones
        every step when pooled, else those of new images.
        """
        rows, wanted = source.rows(seed), real_batch(source, self.real)
        mean, std = _channels(source)

        @torch.no_grad()
        def make(step: int) -> tuple[Tensor, Tensor]:
            luck = stream(seed, REAL, step)
            few = np.concatenate([r[luck.permutation(len(r))[: min(wanted, len(r))]] for r in rows])
            z = [
                eye(self.look(source.tensor(part) * std + mean, source.flips, luck))
                for part in np.array_split(few, -(-len(few) // BLOCK))
            ]
            return torch.cat(z), torch.from_numpy(source.labels[few]).to(source.device)

        if not pooled:
            return make
        once = make(0)
        return lambda _step: once


def head(classes: int, width: int, generator: torch.Generator) -> Tensor:
    """Return the weights (classes, width) of a random head: normal, std 0.01, as in the public
    code; there is no bias.
    """
    return HEAD_STD * torch.randn(classes, width, generator=generator)


def _channels(source: Source) -> tuple[Tensor, Tensor]:
    """Return mean and std of the pool's pixels, (1, C, 1, 1) each, on its device."""
    mean, std = (torch.tensor(v, device=source.device) for v in (source.mean, source.std))
    return mean.view(1, -1, 1, 1), std.view(1, -1, 1, 1)


def _each(where: np.ndarray[Any, Any], x: Tensor) -> Tensor:
    return torch.from_numpy(where).to(x.device).view(-1, 1, 1, 1)
