"""Norm, ReLU and pooling in one pass: values and slopes from the definition in float64, and
weights' gradients in blocks against the whole batch's.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset.distillation.nn import ce_gradients as module
from coreset.distillation.nn.ce_gradients import slopes
from coreset.distillation.nn.convnet import convnet, random_net
from coreset.distillation.nn.norm_pool import norm_pool


def plain(x, weight, bias, eps=1e-5):
    """Map by map, window by window."""
    b, c, h, w = x.shape
    out = np.zeros((b, c, h // 2, w // 2))
    for n in range(b):
        for k in range(c):
            one = x[n, k]
            y = np.maximum((one - one.mean()) / np.sqrt(one.var() + eps) * weight[k] + bias[k], 0)
            for i in range(h // 2):
                for j in range(w // 2):
                    out[n, k, i, j] = y[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean()
    return out


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 10**6),
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(2, 7), st.integers(2, 7)),
)
def test_values_by_the_definition(seed, shape):
    rng = np.random.default_rng(seed)
    x, weight, bias = (
        3 * rng.normal(size=shape) + 1,
        rng.normal(size=shape[1]),
        rng.normal(size=shape[1]),
    )
    pooled = norm_pool(*(torch.from_numpy(a.astype(np.float32)) for a in (x, weight, bias)))
    np.testing.assert_allclose(pooled.numpy(), plain(x, weight, bias), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("size", [(4, 4), (5, 3)])
def test_slopes_by_finite_differences(size):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(2, 3, *size)), rng.normal(size=3), rng.normal(size=3)]
    tilt = rng.normal(size=(2, 3, size[0] // 2, size[1] // 2))
    tensors = [torch.from_numpy(a.astype(np.float32)).requires_grad_() for a in arrays]
    gradients = torch.autograd.grad(
        (norm_pool(*tensors) * torch.from_numpy(tilt.astype(np.float32))).sum(), tensors
    )
    for which, array in enumerate(arrays):
        want = np.zeros_like(array)
        for place in np.ndindex(array.shape):
            ends = []
            for step in (1e-6, -1e-6):
                moved = [a.copy() for a in arrays]
                moved[which][place] += step
                ends.append((plain(*moved) * tilt).sum())
            want[place] = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(gradients[which].numpy(), want, rtol=2e-3, atol=2e-4)


def test_no_number_stays_none():
    x = torch.ones(1, 1, 4, 4)
    x[0, 0, 1, 1] = float("nan")
    assert bool(norm_pool(x, torch.ones(1), torch.zeros(1)).isnan().all())


def test_it_is_differentiable_once():
    x = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (slope,) = torch.autograd.grad(
        norm_pool(x, torch.ones(1), torch.zeros(1)).sum(), x, create_graph=True
    )
    with pytest.raises(RuntimeError):
        torch.autograd.grad(slope.sum(), x)


@pytest.mark.parametrize("block", [1, 700, 2**20])
@pytest.mark.parametrize(
    ("norm", "size"), [("instance", 8), ("instance", 28), ("batch", 8), ("none", 8)]
)
def test_gradients_of_a_batch_in_blocks(monkeypatch, norm, size, block):
    monkeypatch.setattr(module, "BLOCK", block)
    net = random_net(convnet(4, 2, size, width=5, norm=norm), 0)
    generator = torch.Generator().manual_seed(1)
    x, labels = (
        torch.randn(7, 2, size, size, generator=generator),
        torch.tensor([0, 1, 2, 3, 3, 0, 1]),
    )
    before = [p.clone() for p in net.parameters()]
    gradients = slopes(net, dict(net.named_parameters()), x, labels)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    whole = net.double().requires_grad_(True)
    loss = torch.nn.functional.cross_entropy(whole(x.double()), labels)
    for slope, want in zip(
        gradients, torch.autograd.grad(loss, list(whole.parameters())), strict=True
    ):
        torch.testing.assert_close(slope.double(), want, rtol=1e-3, atol=1e-5)
