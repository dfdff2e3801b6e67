"""Norms of the gradient of the whole network against a loop of autograd, one example at a time."""

import numpy as np
import pytest
import torch
from torch import nn

from coreset.numerics import full_gradients
from coreset.numerics.full_gradients import gradient_norms


def loop(model, x, labels):
    """One backward pass an example, in float64."""
    out = []
    for row, label in zip(x, labels, strict=True):
        model.zero_grad()
        nn.functional.cross_entropy(model(row[None]), label[None]).backward()
        out.append(
            np.sqrt(sum(float((p.grad**2).sum()) for p in model.parameters() if p.grad is not None))
        )
    return np.array(out)


def conv(norm):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, bias=False), norm, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Dropout(0.5), nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 3),
    ).double()  # fmt: skip


def images(n=37):
    torch.manual_seed(1)
    return torch.randn(n, 1, 8, 8, dtype=torch.float64), torch.arange(n) % 3


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(6), nn.GroupNorm(2, 6)])
@pytest.mark.parametrize("held", [1, 5000, 2**26])
def test_against_autograd(norm, held, monkeypatch):
    monkeypatch.setattr(full_gradients, "_HELD", held)
    model, (x, y) = conv(norm), images()
    model(x)  # running statistics that are not 0 and 1
    model.eval()
    before = {n: v.clone() for n, v in model.state_dict().items()}
    got = gradient_norms(model, x, y)
    assert got.dtype == torch.float64
    # the loss itself is taken in float32, as trainings take it
    np.testing.assert_allclose(got.numpy(), loop(model, x, y), rtol=1e-5)
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())


def test_it_is_more_than_the_last_layer():
    model, (x, y) = conv(nn.GroupNorm(2, 6)).eval(), images()
    full = gradient_norms(model, x, y)
    caught = {}
    handle = model[-1].register_forward_hook(lambda _, args, out: caught.update(h=args[0], z=out))
    model(x)
    handle.remove()
    r = caught["z"].softmax(1) - nn.functional.one_hot(y, 3)
    last = (r.norm(dim=1) * (caught["h"].square().sum(1) + 1).sqrt()).detach()
    assert (full > last * (1 + 1e-9)).all()
    for p in list(model.parameters())[:-2]:  # what does not train has no part: the last layer alone
        p.requires_grad_(False)
    np.testing.assert_allclose(gradient_norms(model, x, y), last, rtol=1e-5)


def test_refusals():
    model, (x, y) = conv(nn.GroupNorm(2, 6)), images()
    with pytest.raises(ValueError, match="model: expected evaluation mode"):
        gradient_norms(model, x, y)
    model.eval()
    with pytest.raises(ValueError, match=r"labels: expected 37, one a row, got shape \(36,\)"):
        gradient_norms(model, x, y[1:])
    with pytest.raises(ValueError, match="no weights that train"):
        gradient_norms(nn.Flatten().eval(), x, y)
