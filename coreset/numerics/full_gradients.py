"""Lengths of per-example loss gradients with respect to every weight of a network.

GraNd: Paul, Ganguli & Dziugaite, NeurIPS 2021 (arXiv:2107.07075). Per-example gradients by
`torch.func`, as many at a time as fit.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

GRADIENT_NORM = "gradient_norm"  # the column: (N,), the mean over models
_HELD = 2**26  # gradient entries held at a time: 256 MB in float32


def gradient_norms(model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    """Return ||d cross-entropy(model(x_i), y_i) / d w|| over all weights that train, (n,) float64.

    x (n, ...) inputs, labels (n,) whole numbers; the model is measured as it stands: in evaluation,
    so that no example sees another through batch statistics. Raises ValueError for a model in
    training mode, labels that are not one a row, and a model without weights that train.
    Time: one backward pass an example. Memory: at most 2^26 gradient entries, or one example's.

    >>> net = nn.Linear(2, 2, bias=False).eval()
    >>> _ = nn.init.zeros_(net.weight)
    >>> x, y = torch.tensor([[3.0, 4.0]]), torch.tensor([0])
    >>> gradient_norms(net, x, y).round(decimals=6).tolist()
    [3.535534]
    """
    if any(module.training for module in model.modules()):
        raise ValueError("model: expected evaluation mode (model.eval()), got a module in training")
    if labels.shape != (len(x),):
        raise ValueError(f"labels: expected {len(x)}, one a row, got shape {tuple(labels.shape)}")
    weights = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    if not weights:
        raise ValueError("model: it has no weights that train, so no gradient")
    fixed = {name: p.detach() for name, p in model.named_parameters() if not p.requires_grad}
    fixed |= {name: b.detach() for name, b in model.named_buffers()}

    def loss(inner: dict[str, Tensor], row: Tensor, label: Tensor) -> Tensor:
        logits = functional_call(model, (inner, fixed), (row[None],))
        return nn.functional.cross_entropy(logits.float(), label[None])

    def squared(row: Tensor, label: Tensor) -> Tensor:
        parts = grad(loss)(weights, row, label).values()
        return torch.stack([g.double().square().sum() for g in parts]).sum()

    step = max(1, min(128, _HELD // sum(p.numel() for p in weights.values())))
    blocks = zip(torch.split(x, step), torch.split(labels.long(), step), strict=True)
    return torch.cat([vmap(squared)(rows, y).sqrt() for rows, y in blocks])
