"""GraNd and EL2N against autograd on a real last layer."""

import numpy as np
import pytest
import torch

import coreset
from coreset.strategies.gradient.el2n import El2n, el2n
from coreset.strategies.gradient.grand import Grand
from coreset.testing import check_strategy


def case(n=30, d=6, c=4):
    rng = np.random.default_rng(0)
    layer = torch.nn.Linear(d, c).double()
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(rng.normal(size=(c, d))))
        layer.bias.copy_(torch.from_numpy(rng.normal(size=c)))
    x, y = torch.from_numpy(rng.normal(size=(n, d))), torch.from_numpy(rng.integers(0, c, n))
    return layer, x, y


def test_contract():
    check_strategy(El2n())
    check_strategy(Grand())
    check_strategy(Grand(bias=False))
    check_strategy(Grand(gradient="full"))
    with pytest.raises(ValueError, match="gradient: expected last_layer or full, got 'all'"):
        Grand(gradient="all")


def test_grand_with_the_full_gradient_reads_its_column():
    assert Grand(gradient="full").needs == {"gradient_norm"}
    got = coreset.select("grand", 2, gradient_norm=[0.5, 3.0, 1.0], options={"gradient": "full"})
    assert got.indices.tolist() == [1, 2]


@pytest.mark.parametrize("bias", [True, False])
def test_grand_is_the_norm_of_the_gradient_of_each_example(bias):
    layer, x, y = case()
    norms = []
    for i in range(len(x)):
        layer.zero_grad()
        torch.nn.functional.cross_entropy(layer(x[i : i + 1]), y[i : i + 1]).backward()
        norms.append(
            float(torch.cat([layer.weight.grad.ravel(), layer.bias.grad][: 1 + bias]).norm())
        )
    probs = layer(x).softmax(dim=1).detach().numpy()
    got = coreset.select(
        "grand", 30, features=x.numpy(), probs=probs, labels=y.numpy(), options={"bias": bias}
    )
    assert got.scores == pytest.approx(np.sort(norms)[::-1])
    assert got.indices.tolist() == np.argsort(-np.array(norms), kind="stable").tolist()


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_el2n_is_the_length_of_the_error(dtype):
    layer, x, y = case()
    probs = layer(x).softmax(dim=1).detach().numpy().astype(dtype)
    kept = probs.copy()
    want = [
        np.linalg.norm(p.astype(float) - np.eye(4)[label])
        for p, label in zip(probs, y.numpy(), strict=True)
    ]
    got = coreset.select("el2n", 30, probs=probs, labels=y.numpy())
    assert got.scores == pytest.approx(np.sort(want)[::-1], rel=1e-12)
    assert (probs == kept).all()


def test_the_column_is_not_written_to():
    probs = torch.tensor([[0.25, 0.75]], dtype=torch.float64)
    el2n(probs, torch.tensor([0]))
    assert probs.tolist() == [[0.25, 0.75]]


def test_no_size_of_a_scoring_batch_enters():
    """A loss averaged over a batch divides gradients by its size, and the last, smaller batch
    stands out (here 4 of 1,000 after batches of 166).
    """
    x, p, y = np.ones((1000, 3)), np.tile([0.7, 0.2, 0.1], (1000, 1)), np.ones(1000, int)
    got = coreset.select("grand", 1000, features=x, probs=p, labels=y)
    assert len(set(got.scores.tolist())) == 1
    assert got.indices.tolist() == list(range(1000))


def test_ties_and_extremes():
    y = np.array([0, 1, 0, 1])
    p = np.eye(2)[[0, 0, 0, 0]]
    assert coreset.select("el2n", 4, probs=p, labels=y).indices.tolist() == [1, 3, 0, 2]
    assert coreset.select(
        "grand", 4, features=np.ones((4, 1)), probs=p, labels=y
    ).scores.tolist() == pytest.approx([2, 2, 0, 0])


def test_unknown_label():
    with pytest.raises(ValueError, match=r"labels: .* 1 of 2 are unknown"):
        coreset.select("el2n", 1, probs=np.full((2, 2), 0.5), labels=np.array([0, -1]))
