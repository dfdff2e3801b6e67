"""Distances between what a network makes of real and of synthetic images, class by class: all of
them compare class means of some vectors of each image, so the real side of a fixed network is a few
numbers that are computed once.

mean: Zhao & Bilen, "Dataset Condensation with Distribution Matching", WACV 2023 (arXiv:2110.04181).
attention: Sajedi et al., "DataDAM: Efficient Dataset Distillation with Attention Matching", ICCV
2023 (arXiv:2310.00093). characteristic: Wang et al., "Dataset Distillation with Neural
Characteristic Function: A Minmax Perspective", CVPR 2025 (arXiv:2502.20653), with frequencies from
a normal distribution instead of a learned network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from coreset.distillation.nn.convnet import ConvNet

ATTENTION_POWER, ATTENTION_WEIGHT, EMBEDDING_WEIGHT = (
    4,
    100.0,
    1.0,
)  # the table of the DataDAM paper: 100 and 100 x 0.01
FREQUENCIES, CHARACTERISTIC_WEIGHT = 4096, 300.0


class Distance(ABC):
    """Vectors of an image under a network, and a distance of their class means, summed over the
    classes.
    """

    @abstractmethod
    def describe(self, net: ConvNet, x: Tensor, seed: int) -> list[Tensor]:
        """Return the vectors of images (B, C, S, S), each (B, D)."""

    @abstractmethod
    def compare(self, real: Sequence[Tensor], distilled: Sequence[Tensor]) -> Tensor:
        """Return the distance of class means (classes, D), summed over the classes: a number."""


def squared(a: Tensor, b: Tensor) -> Tensor:
    """Return the squared distance of two sets of vectors, summed over all of them."""
    return (a - b).square().sum()


@dataclass(frozen=True)
class Mean(Distance):
    """Squared distance of the mean embeddings."""

    def describe(self, net: ConvNet, x: Tensor, seed: int) -> list[Tensor]:
        """Return the embedding."""
        return [net.embed(x)]

    def compare(self, real: Sequence[Tensor], distilled: Sequence[Tensor]) -> Tensor:
        """Return the sum over classes of the squared distance."""
        return squared(real[0], distilled[0])


@dataclass(frozen=True)
class Attention(Distance):
    """Squared distance of the mean spatial attention maps after every ReLU but the last, times 100,
    plus that of the mean embeddings.

    A map is the sum over channels of abs(value)^4, as the paper's table says (its code takes the
    first power), scaled to length one.
    """

    def describe(self, net: ConvNet, x: Tensor, seed: int) -> list[Tensor]:
        """Return the attention maps, and last the embedding."""
        *maps, _, embedding = net.maps(x)
        attention = [m.abs().pow(ATTENTION_POWER).sum(dim=1).flatten(1) for m in maps]
        return [*(nn.functional.normalize(a, dim=1) for a in attention), embedding]

    def compare(self, real: Sequence[Tensor], distilled: Sequence[Tensor]) -> Tensor:
        """Return 100 x the maps' distances plus the embeddings'."""
        *maps, embedding = (squared(a, b) for a, b in zip(real, distilled, strict=True))
        return (
            ATTENTION_WEIGHT * sum(maps, torch.zeros_like(embedding)) + EMBEDDING_WEIGHT * embedding
        )


@dataclass(frozen=True)
class Characteristic(Distance):
    """300 x the mean over frequencies of sqrt(amplitude^2 / 2 + phase / 2), the gap of the
    characteristic functions of embeddings scaled to length one.
    """

    def describe(self, net: ConvNet, x: Tensor, seed: int) -> list[Tensor]:
        """Return cosine and sine of the embedding's products with 4,096 normal frequencies, which
        depend on `seed` alone.
        """
        e = nn.functional.normalize(net.embed(x), dim=1)
        t = torch.randn(e.shape[1], FREQUENCIES, generator=torch.Generator().manual_seed(seed)).to(
            e
        )
        angle = e @ t
        return [angle.cos(), angle.sin()]

    def compare(self, real: Sequence[Tensor], distilled: Sequence[Tensor]) -> Tensor:
        """Return the sum over classes."""
        (a, b), (c, d) = real, distilled
        tiny = 1e-12  # the root has no slope at zero
        r, s = (a.square() + b.square()).sqrt(), (c.square() + d.square() + tiny).sqrt()
        phase = (2 * (r * s - a * c - b * d)).clamp(min=tiny)
        return (
            CHARACTERISTIC_WEIGHT * (0.5 * (r - s).square() + 0.5 * phase).sqrt().mean(dim=1).sum()
        )


DISTANCES: dict[str, Distance] = {
    "mean": Mean(),
    "attention": Attention(),
    "characteristic": Characteristic(),
}


def class_means(vectors: Sequence[Tensor], classes: int) -> list[Tensor]:
    """Return the mean of each class (classes, D) of vectors (classes x n, D), class after class.

    >>> class_means([torch.tensor([[0.0], [2.0], [5.0], [5.0]])], 2)[0].tolist()
    [[1.0], [5.0]]
    """
    return [v.view(classes, -1, v.shape[1]).mean(dim=1) for v in vectors]


@torch.no_grad()
def real_means(
    distance: Distance, net: ConvNet, x: Iterable[Tensor], seed: int, block: int = 512
) -> list[Tensor]:
    """Return the class means of real images, one tensor (n, C, S, S) a class, in blocks of `block`
    images: no graph, little memory.
    """
    out: list[list[Tensor]] = []
    for images in x:
        sums: list[Tensor] | None = None
        for part in torch.split(images, block):
            part_sums = [v.sum(dim=0) for v in distance.describe(net, part, seed)]
            sums = (
                part_sums if sums is None else [a + b for a, b in zip(sums, part_sums, strict=True)]
            )
        out.append([s / len(images) for s in cast(list[Tensor], sums)])
    return [torch.stack(list(values)) for values in zip(*out, strict=True)]
