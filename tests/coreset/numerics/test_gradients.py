"""Factored last-layer gradients against autograd, and against gradients written out in float64."""

import numpy as np
import pytest
import torch

from coreset import Signals
from coreset.numerics.gradients import LastLayerGradients, last_layer_gradients, matching_error


def case(n=30, d=6, c=4, seed=0):
    rng = np.random.default_rng(seed)
    layer = torch.nn.Linear(d, c).double()
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(rng.normal(size=(c, d))))
        layer.bias.copy_(torch.from_numpy(rng.normal(size=c)))
    x, y = torch.from_numpy(rng.normal(size=(n, d))), torch.from_numpy(rng.integers(0, c, n))
    return x, layer(x).softmax(dim=1).detach(), y, layer


def autograd(layer, x, y, bias):
    rows = []
    for i in range(len(x)):
        layer.zero_grad()
        torch.nn.functional.cross_entropy(layer(x[i : i + 1]), y[i : i + 1]).backward()
        parts = [layer.weight.grad] + ([layer.bias.grad[:, None]] if bias else [])
        rows.append(torch.cat(parts, dim=1).ravel().clone())
    return torch.stack(rows).numpy()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("hypothesised", [True, False])
def test_everything_equals_autograd(bias, hypothesised):
    x, p, y, layer = case()
    signals = Signals(30, features=x.numpy(), probs=p.numpy(), labels=y.numpy())
    rows = np.array([4, 1, 7, 20, 3])
    g = last_layer_gradients(signals, rows, hypothesised, bias)
    want = autograd(layer, x[rows], p[rows].argmax(dim=1) if hypothesised else y[rows], bias)
    assert np.allclose(g.inner(g), want @ want.T)
    assert np.allclose(g.squared_norms, (want**2).sum(axis=1))
    assert np.allclose(g.squared_distances(g), ((want[:, None] - want[None]) ** 2).sum(axis=-1))
    assert np.allclose(g.total(), want.sum(axis=0).reshape(4, -1))
    w = np.array([0.5, 2.0, 0.0, 1.0, 3.0])
    assert np.allclose(g.total(torch.from_numpy(w)), (w @ want).reshape(4, -1))
    direction = np.random.default_rng(1).normal(size=(4, 6 + bias))
    assert np.allclose(g.along(torch.from_numpy(direction)), want @ direction.ravel())
    picks = np.array([2, 0])
    error = np.linalg.norm(1.5 * want[2] + 3 * want[0] - want.sum(axis=0)) / np.linalg.norm(
        want.sum(axis=0)
    )
    assert matching_error(g, picks, np.array([1.5, 3.0])) == pytest.approx(error)


def test_an_example_is_the_same_in_any_batch():
    x, p, y, _ = case(33)
    signals = Signals(33, features=x.float().numpy(), probs=p.float().numpy(), labels=y.numpy())
    whole = last_layer_gradients(signals, np.arange(33))
    for size in (1, 7, 32):
        parts = [
            last_layer_gradients(signals, np.arange(s, min(33, s + size)))
            for s in range(0, 33, size)
        ]
        assert torch.equal(torch.cat([g.squared_norms for g in parts]), whole.squared_norms)
        assert torch.equal(torch.cat([g.residual for g in parts]), whole.residual)


@pytest.mark.parametrize("share", [1.0, 0.02])
def test_close_rows_keep_their_distance_in_float32(share):
    """Near duplicates, many or few of them: float32 alone would return rounding."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 64)) * 100
    near = rng.random(200) < share
    x[near] = x[0] + 1e-3 * rng.normal(size=(near.sum(), 64))
    x[1] = x[0]
    x = x.astype(np.float32)
    r = np.tile(np.float32([0.5, -0.5]), (200, 1))
    g = LastLayerGradients(torch.from_numpy(r), torch.from_numpy(x))
    written = (
        (r[:, :, None] * np.hstack([x, np.ones((200, 1), np.float32)])[:, None])
        .reshape(200, -1)
        .astype(np.float64)
    )
    want = ((written[:, None] - written[None]) ** 2).sum(axis=-1)
    got = g.squared_distances(g).numpy()
    assert np.allclose(got, want, rtol=1e-2)
    assert got[0, 1] == 0
    assert (np.diag(got) == 0).all()


def test_half_precision_and_columns_that_stay_as_they_are():
    x, p, y, _ = case()
    probs, features = p.half().numpy(), x.half().numpy()
    kept = probs.copy()
    g = last_layer_gradients(
        Signals(30, features=features, probs=probs, labels=y.numpy()), np.arange(30)
    )
    assert g.residual.dtype == g.features.dtype == torch.float32
    assert (probs == kept).all()
    single = x.float().numpy()
    shared = last_layer_gradients(
        Signals(30, features=single, probs=p.numpy(), labels=y.numpy()), np.arange(30)
    )
    assert shared.features.data_ptr() == single.ctypes.data  # the whole column: no copy


def test_errors_and_empty():
    with pytest.raises(ValueError, match="features: expected 2 rows, one per residual"):
        LastLayerGradients(torch.ones(2, 3), torch.ones(3, 4))
    x, p, y, _ = case()
    labels = y.numpy().copy()
    labels[7] = -1
    with pytest.raises(ValueError, match=r"labels: .*first position 7"):
        last_layer_gradients(Signals(30, features=x, probs=p, labels=labels), np.array([3, 7]))
    zero = LastLayerGradients(torch.zeros(3, 2), torch.ones(3, 2))
    assert matching_error(zero, np.array([1]), np.array([3.0])) == 0
    g = LastLayerGradients(torch.tensor([[1.0], [-1.0]]), torch.ones(2, 1))
    assert matching_error(g, np.array([0]), np.array([1.0])) == np.inf
