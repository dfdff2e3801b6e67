"""Distances of gradients by their formulas, and the gradients of classes by plain differentiation."""

import numpy as np
import pytest
import torch

from coreset.distillation.nn.convnet import convnet, random_net
from coreset.strategies.distill.gradient_matching import DISTANCES, class_gradients

SHAPES = [(5, 2, 3, 3), (5,), (5,), (7, 12), (7,)]


def tensors(seed, classes=3):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(classes, *shape)) for shape in SHAPES]


def plain(name, real, distilled):
    total = 0.0
    for r, m in zip(real, distilled, strict=True):
        for c in range(len(r)):
            if name == "cosine" and r[c].ndim > 1:
                for a, b in zip(
                    r[c].reshape(len(r[c]), -1), m[c].reshape(len(m[c]), -1), strict=True
                ):
                    total += 1 - a @ b / (np.sqrt(a @ a) * np.sqrt(b @ b) + 1e-6)
            elif name != "cosine" and r[c].ndim == 4:
                gap = r[c] - m[c]
                total += np.abs(gap).sum() if name == "l1" else (gap**2).sum()
    return total


@pytest.mark.parametrize("name", DISTANCES)
def test_distances_by_their_formulas(name):
    real, distilled = tensors(0), tensors(1)
    distance = DISTANCES[name](
        [torch.from_numpy(r) for r in real], [torch.from_numpy(m) for m in distilled]
    )
    assert float(distance) == pytest.approx(plain(name, real, distilled), rel=1e-12)
    same = DISTANCES[name]([torch.from_numpy(r) for r in real], [torch.from_numpy(r) for r in real])
    assert float(same) == pytest.approx(0, abs=1e-4)


def test_rows_of_zeros_are_far_and_finite():
    zero = [torch.zeros(1, 2, 3), torch.zeros(1, 2)]
    assert float(DISTANCES["cosine"](zero, zero)) == 2.0


@pytest.mark.parametrize("batched", [False, True])
def test_gradients_of_classes(batched):
    net = random_net(convnet(4, 2, 8, width=6), 0).double()
    x = (
        torch.randn(3, 5, 2, 8, 8, generator=torch.Generator().manual_seed(0))
        .double()
        .requires_grad_()
    )
    labels = torch.tensor([2, 0, 3])
    gradients = class_gradients(net, x, labels, create_graph=True, batched=batched)
    names = [n for n, _ in net.named_parameters()]
    net.requires_grad_(True)
    for c in range(3):
        loss = torch.stack(
            [-net(x[c, i : i + 1]).log_softmax(1)[0, labels[c]] for i in range(5)]
        ).mean()
        for name, mine, want in zip(
            names,
            gradients,
            torch.autograd.grad(loss, list(net.parameters()), create_graph=True),
            strict=True,
        ):
            torch.testing.assert_close(mine[c], want, rtol=1e-9, atol=1e-12, msg=name)
    (slope,) = torch.autograd.grad(sum(g.square().sum() for g in gradients), x)
    assert slope.shape == x.shape
    assert float(slope.abs().max()) > 0
