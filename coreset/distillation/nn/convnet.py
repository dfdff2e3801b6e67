"""ConvNet-D, the network of the distillation literature: D blocks of convolution, norm, ReLU and
average pooling, then one linear layer.

Gidaris & Komodakis, "Dynamic Few-Shot Visual Learning without Forgetting", CVPR 2018
(arXiv:1804.09458), in the form of Zhao, Mopuri & Bilen, "Dataset Condensation with Gradient
Matching", ICLR 2021 (arXiv:2006.05929).
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

NORMS = ("instance", "batch", "none")


def blocks_for(image_size: int) -> int:
    """Return the depth for a size of image, so that the last map is about 4 x 4: 3 for 28 and 32
    pixels, 4 for 64, 5 for 128; at least 2.

    >>> [blocks_for(s) for s in (8, 28, 32, 64, 128)]
    [2, 3, 3, 4, 5]
    """
    return max(2, round(math.log2(image_size / 4)))


class ConvNet(nn.Module):
    """Map images (B, C, S, S) to logits (B, classes).

    width: channels of every block. depth: number of blocks. norm: `instance` (affine, as GroupNorm
    with a group per channel), `batch` or `none`. The first convolution pads images of 28 pixels to
    32, whatever their channels. Raises ValueError for another norm, and for images too small to be
    halved `depth` times.

    >>> sum(p.numel() for p in ConvNet(10, 3, 32).parameters())
    320010
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        image_size: int,
        width: int = 128,
        depth: int = 3,
        norm: str = "instance",
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"norm: expected {', '.join(NORMS)}, got {norm!r}")
        side = (32 if image_size == 28 else image_size) >> depth
        if depth < 1 or side < 1:
            raise ValueError(f"depth: images of {image_size} pixels cannot be halved {depth} times")
        layers: list[nn.Module] = []
        for block in range(depth):
            pad = 3 if block == 0 and image_size == 28 else 1
            layers.append(nn.Conv2d(width if block else in_channels, width, 3, padding=pad))
            if norm != "none":
                layers.append(
                    nn.GroupNorm(width, width) if norm == "instance" else nn.BatchNorm2d(width)
                )
            layers += [nn.ReLU(), nn.AvgPool2d(2)]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(width * side * side, num_classes)

    def embed(self, x: Tensor) -> Tensor:
        """Return the flattened last map, (B, width x side x side)."""
        return cast(Tensor, self.features(x)).flatten(1)

    def maps(self, x: Tensor) -> list[Tensor]:
        """Return the map after every ReLU, and last the embedding."""
        outputs = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                outputs.append(x)
        return [*outputs, x.flatten(1)]

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        return cast(Tensor, self.classifier(self.embed(x)))


def convnet(
    num_classes: int,
    in_channels: int,
    image_size: int,
    width: int = 128,
    depth: int | None = None,
    norm: str = "instance",
) -> ConvNet:
    """Return a ConvNet with torch's default weights; depth None: what `blocks_for` says."""
    return ConvNet(
        num_classes,
        in_channels,
        image_size,
        width,
        blocks_for(image_size) if depth is None else depth,
        norm,
    )


@torch.no_grad()
def draw_weights(net: nn.Module, generator: torch.Generator) -> nn.Module:
    """Draw the weights of a network anew from torch's default distribution, by `generator` alone;
    return the network.

    Convolutions and linear layers: weight and bias uniform within 1 / sqrt(fan in); norms: 1 and 0,
    running statistics as new.

    >>> a, b = (
    ...     draw_weights(ConvNet(2, 1, 8, 4, 1), torch.Generator().manual_seed(0)) for _ in range(2)
    ... )
    >>> bool((a.classifier.weight == b.classifier.weight).all())
    True
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = 1 / math.sqrt(module.weight[0].numel())
            for values in (module.weight, module.bias):
                if values is not None:
                    values.copy_(
                        torch.empty(values.shape).uniform_(-bound, bound, generator=generator)
                    )
        elif isinstance(module, nn.GroupNorm | nn.BatchNorm2d) and module.affine:
            module.weight.fill_(1)
            module.bias.zero_()
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    return net


def random_net(net: nn.Module, seed: int) -> nn.Module:
    """Return `net` with weights that depend on `seed` alone, the same on every device, frozen and
    in training mode.
    """
    return draw_weights(net, torch.Generator().manual_seed(seed)).requires_grad_(False).train()
