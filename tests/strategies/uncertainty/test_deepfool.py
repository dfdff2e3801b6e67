import numpy as np
import pytest
import torch
from torch import nn

from coreset import select
from coreset.registry import strategy
from coreset.strategies.uncertainty.deepfool import DeepFool, deepfool, head_distance
from coreset.testing import check_strategy


def linear(d=5, c=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(60, d)), rng.normal(size=(d, c)), rng.normal(size=c)


def closed_form(x, w, b):
    z = x @ w + b
    out = []
    for i in range(len(x)):
        y = z[i].argmax()
        out.append(
            min(
                (z[i, y] - z[i, c]) / np.linalg.norm(w[:, y] - w[:, c])
                for c in range(z.shape[1])
                if c != y
            )
        )
    return np.array(out)


def network(w, b):
    net = nn.Linear(*w.shape).double()
    net.weight = nn.Parameter(torch.tensor(w.T.copy()))
    net.bias = nn.Parameter(torch.tensor(b))
    return net.eval()


def test_linear_networks_have_the_closed_form():
    x, w, b = linear()
    inputs = torch.tensor(x)
    got = deepfool(network(w, b), inputs)
    np.testing.assert_allclose(got, closed_form(x, w, b), rtol=1e-9)
    assert np.array_equal(inputs.numpy(), x)


def test_a_curved_network_is_crossed_near_the_boundary():
    torch.manual_seed(0)
    net = (
        nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 4)).double().eval()
    )
    x = torch.randn(20, 3, 4, dtype=torch.float64)
    length = deepfool(net, x)
    rng = np.random.default_rng(0)
    before = net(x).argmax(1)
    for _ in range(200):  # no random direction of clearly smaller length changes the prediction
        r = torch.tensor(rng.normal(size=x.shape))
        r = r / r.flatten(1).norm(dim=1)[:, None, None] * (0.5 * length)[:, None, None]
        assert (net(x + r).argmax(1) == before).all()
    assert (length > 0).all()
    assert all(p.grad is None for p in net.parameters())


def test_few_classes_few_steps_and_single_precision():
    x, w, b = linear(c=12)
    top2 = deepfool(network(w, b), torch.tensor(x), classes=2)
    assert (top2.numpy() >= closed_form(x, w, b) - 1e-9).all()
    assert deepfool(network(w, b), torch.tensor(x), max_iter=0).tolist() == [0.0] * 60
    single = deepfool(network(w, b).float(), torch.tensor(x).float(), classes=12)
    np.testing.assert_allclose(single, closed_form(x, w, b), rtol=1e-3, atol=1e-4)


def test_the_head_is_recovered():
    x, w, b = linear()
    want = closed_form(x, w, b)
    np.testing.assert_allclose(
        head_distance(torch.tensor(x), torch.tensor(x @ w + b)), want, rtol=1e-8
    )
    chosen = select("deepfool", 60, features=x, logits=x @ w + b, options={"source": "head"})
    assert chosen.indices.tolist() == np.argsort(want).tolist()
    np.testing.assert_allclose(chosen.scores, -np.sort(want), rtol=1e-8)
    half = head_distance(torch.tensor(x).half(), torch.tensor(x @ w + b).half())
    np.testing.assert_allclose(half, want, rtol=0.05, atol=0.01)


def test_features_of_low_rank_give_the_distance_within_their_span():
    x, w, b = linear()
    # dead and repeated units: the second copy shares the weight
    wide = np.c_[x, np.zeros((60, 3)), x[:, :1]]
    got = head_distance(torch.tensor(wide), torch.tensor(x @ w + b))
    shared = np.r_[w[:1] / 2, w[1:], np.zeros((3, 4)), w[:1] / 2]
    np.testing.assert_allclose(got, closed_form(wide, shared, b), rtol=1e-7)
    same = head_distance(torch.ones(3, 2), torch.tensor([[1.0, 0.0]] * 3))
    assert torch.isfinite(same).all()


def test_a_column_of_distances_smallest_first():
    chosen = select("deepfool", 3, deepfool=[0.3, 0.1, 0.2], options={"source": "column"})
    assert chosen.indices.tolist() == [1, 2, 0]
    assert chosen.scores.tolist() == [-0.1, -0.2, -0.3]


def test_contract_and_refusals():
    check_strategy(strategy("deepfool", {"source": "column"}))
    x, w, b = linear()
    check_strategy(DeepFool("head"), {"features": x[:48], "logits": (x @ w + b)[:48]})
    with pytest.raises(ValueError, match="logits: expected a linear function"):
        head_distance(torch.tensor(x), torch.tensor((x @ w + b) ** 2))
    with pytest.raises(ValueError, match="source"):
        DeepFool("image")
    with pytest.raises(ValueError, match="eval mode"):
        deepfool(nn.Linear(2, 2), torch.zeros(1, 2))
    with pytest.raises(ValueError, match="at least two classes, got 1"):
        deepfool(nn.Linear(2, 1).eval(), torch.zeros(1, 2))
    with pytest.raises(ValueError, match="at least two classes"):
        head_distance(torch.zeros(3, 2), torch.zeros(3, 1))
