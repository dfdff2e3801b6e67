"""How far the gradient of a loss on made images is from that on real ones, layer by layer.

Zhao, Mopuri & Bilen, "Dataset Condensation with Gradient Matching", ICLR 2021 (arXiv:2006.05929):
for each output channel the angle between its rows of the two gradients, 1 - cos, summed over
channels and layers; biases and norms do not count. Kim et al., "Dataset Condensation via Efficient
Synthetic-Data Parameterization" (IDC), ICML 2022 (arXiv:2205.14959): sums of absolute or squared
differences, of the convolutions alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from coreset.distillation.nn.ce_gradients import slopes

EPS = 1e-6


def cosine(real: Sequence[Tensor], distilled: Sequence[Tensor]) -> Tensor:
    """Return the sum of 1 - <r, m> / (|r||m| + 1e-6) over classes, weights with two or more axes
    and their output rows; each (classes, out, ...).

    >>> cosine([torch.tensor([[[1.0, 0.0]]])], [torch.tensor([[[0.0, 2.0]]])]).item()
    1.0
    """
    total = distilled[0].new_zeros(())
    for r, m in zip(real, distilled, strict=True):
        if r.ndim > 2:
            a, b = r.flatten(2), m.flatten(2)
            total = total + (1 - (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1) + EPS)).sum()
    return total


def _of_convolutions(
    measure: Callable[[Tensor], Tensor],
) -> Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]:
    def distance(real: Sequence[Tensor], distilled: Sequence[Tensor]) -> Tensor:
        pairs = [(r, m) for r, m in zip(real, distilled, strict=True) if r.ndim == 5]
        return torch.stack([measure(r - m).sum() for r, m in pairs]).sum()

    return distance


DISTANCES: Mapping[str, Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]] = {
    "cosine": cosine, "l1": _of_convolutions(torch.abs), "mse": _of_convolutions(torch.square),
}  # fmt: skip


def class_gradients(
    net: nn.Module,
    x: Tensor,
    labels: Tensor,
    create_graph: bool = False,
    batched: bool | None = None,
) -> list[Tensor]:
    """Return the gradients of each class's mean cross-entropy by every parameter, (classes,
    *shape), from images x (classes, B, C, S, S).

    create_graph: differentiable by x. batched: all classes in one call of `torch.func`, or a loop,
    which does the same and is several times as fast on a CPU, where what is not differentiated
    again goes through `slopes`; None: a loop on a CPU.
    """
    parameters = {name: p.detach() for name, p in net.named_parameters()}

    def loss(p: Mapping[str, Tensor], images: Tensor, label: Tensor) -> Tensor:
        return nn.functional.cross_entropy(
            functional_call(net, dict(p), (images,)), label.expand(len(images))
        )

    if x.device.type != "cpu" if batched is None else batched:
        return list(vmap(grad(loss), (None, 0, 0))(parameters, x, labels).values())
    gradients: list[Sequence[Tensor]] = []
    for images, label in zip(x, labels, strict=True):
        if not create_graph:
            gradients.append(slopes(net, parameters, images, label.expand(len(images))))
            continue
        mine = {name: p.clone().requires_grad_() for name, p in parameters.items()}
        gradients.append(
            torch.autograd.grad(loss(mine, images, label), list(mine.values()), create_graph=True)
        )
    return [torch.stack(parts) for parts in zip(*gradients, strict=True)]
