"""The gradient of a mean cross-entropy by the weights of a network, for where nothing is
differentiated again: real images of gradient matching, networks in training.

A ConvNet with instance norm looks at each image by itself, so on a CPU a batch is taken in blocks
whose maps stay in the cache, with `norm_pool`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from coreset.distillation.nn.convnet import ConvNet
from coreset.distillation.nn.norm_pool import norm_pool

BLOCK = 2**20  # numbers of the largest map of a block


def slopes(
    net: nn.Module, parameters: Mapping[str, Tensor], x: Tensor, labels: Tensor
) -> list[Tensor]:
    """Return the gradients of the mean cross-entropy of images x (B, C, S, S) with labels (B,), by
    every one of `parameters`, in their order.

    parameters: all of the network's, under its names. The network's own stay as they are.

    >>> net = ConvNet(2, 1, 8, 4, 2)
    >>> [
    ...     tuple(s.shape)
    ...     for s in slopes(
    ...         net, dict(net.named_parameters()), torch.zeros(3, 1, 8, 8), torch.tensor([0, 1, 1])
    ...     )
    ... ][:2]
    [(4, 1, 3, 3), (4,)]
    """
    mine = {name: p.detach().requires_grad_() for name, p in parameters.items()}
    if not _separable(net, mine, x):
        loss = nn.functional.cross_entropy(functional_call(net, mine, (x,)), labels)
        return list(torch.autograd.grad(loss, list(mine.values())))
    one = cast(ConvNet, net)
    first = cast(nn.Conv2d, one.features[0])
    side = x.shape[-1] + 2 * int(first.padding[0]) - 2
    block = max(1, BLOCK // (first.out_channels * side**2))
    total: Sequence[Tensor] = []
    for images, wanted in zip(torch.split(x, block), torch.split(labels, block), strict=True):
        loss = nn.functional.cross_entropy(
            _logits(one, mine, images), wanted, reduction="sum"
        ) / len(x)
        part = torch.autograd.grad(loss, list(mine.values()))
        total = [a.add_(b) for a, b in zip(total, part, strict=True)] if total else part
    return list(total)


def _separable(net: nn.Module, parameters: Mapping[str, Tensor], x: Tensor) -> bool:
    """Return whether blocks and `norm_pool` give what the network gives: a ConvNet with instance
    norm, float32, on a CPU.
    """
    return (
        isinstance(net, ConvNet)
        and isinstance(net.features[1], nn.GroupNorm)
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and all(p.dtype == torch.float32 for p in parameters.values())
    )


def _logits(net: ConvNet, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Return what the network with these parameters says."""
    for at in range(0, len(net.features), 4):
        conv, norm = cast(nn.Conv2d, net.features[at]), cast(nn.GroupNorm, net.features[at + 1])
        own = [
            parameters[f"features.{at + i}.{name}"] for i in (0, 1) for name in ("weight", "bias")
        ]
        x = norm_pool(
            nn.functional.conv2d(x, own[0], own[1], padding=conv.padding), own[2], own[3], norm.eps
        )
    return nn.functional.linear(
        x.flatten(1), parameters["classifier.weight"], parameters["classifier.bias"]
    )
