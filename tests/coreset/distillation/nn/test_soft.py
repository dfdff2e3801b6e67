import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coreset.distillation.nn.soft import soft_cross_entropy


def by_hand(z, p, t, y, mix):
    """Float64 loops."""
    out = []
    for row, soft, label in zip(z, p, y, strict=True):
        log_t = row / t - np.log(np.exp(row / t).sum())
        log_1 = row - np.log(np.exp(row).sum())
        out.append(
            (1 - mix) * -sum(a * b for a, b in zip(soft, log_t, strict=True)) + mix * -log_1[label]
        )
    return np.array(out)


@given(
    st.integers(0, 2**32), st.integers(1, 6), st.integers(2, 7), st.floats(0.5, 30), st.floats(0, 1)
)
def test_loss_and_its_gradient_are_the_definition(seed, n, classes, t, mix):
    rng = np.random.default_rng(seed)
    z, y = rng.normal(size=(n, classes)) * 3, rng.integers(0, classes, n)
    p = rng.dirichlet(np.ones(classes), n)
    x = torch.from_numpy(z).requires_grad_()
    loss = soft_cross_entropy(x, torch.from_numpy(p), t, torch.from_numpy(y), mix)
    np.testing.assert_allclose(
        loss.detach().numpy(), by_hand(z, p, t, y, mix), rtol=1e-10, atol=1e-12
    )
    loss.sum().backward()
    q_t = np.exp(z / t) / np.exp(z / t).sum(1, keepdims=True)
    q_1 = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    want = (1 - mix) / t * (q_t - p) + mix * (q_1 - np.eye(classes)[y])
    np.testing.assert_allclose(x.grad.numpy(), want, rtol=1e-8, atol=1e-10)


def test_it_is_the_divergence_up_to_a_constant_and_carries_no_square_of_the_temperature():
    rng = np.random.default_rng(0)
    z, p = (
        torch.from_numpy(rng.normal(size=(2, 4))),
        torch.from_numpy(rng.dirichlet(np.ones(4), 1)).expand(2, 4),
    )
    a, b = soft_cross_entropy(z, p, 20.0).tolist()
    kl = torch.nn.functional.kl_div((z / 20).log_softmax(1), p, reduction="none").sum(1).tolist()
    assert a - b == pytest.approx(kl[0] - kl[1], rel=1e-9)


def test_hard_labels_to_mix_must_be_there():
    with pytest.raises(ValueError, match="truth"):
        soft_cross_entropy(torch.zeros(1, 2), torch.full((1, 2), 0.5), mix=0.5)
