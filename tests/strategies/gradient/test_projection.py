"""Projected per-example gradients against backward passes, one example at a time, with the
projection written out.
"""

from copy import deepcopy

import pytest
import torch

import coreset.strategies.gradient.projection as module
from coreset.strategies.gradient.projection import project, projected_gradients


def model(dropout=False):
    torch.manual_seed(0)
    layers = [
        torch.nn.Linear(5, 8),
        torch.nn.BatchNorm1d(8),
        torch.nn.Tanh(),
        torch.nn.Linear(8, 3),
    ]
    network = (
        torch.nn.Sequential(*layers[:3], torch.nn.Dropout(0.5), layers[3])
        if dropout
        else torch.nn.Sequential(*layers)
    )
    network[1].running_mean += 0.3
    return network


def data(n=11):
    rng = torch.Generator().manual_seed(1)
    return torch.randn(n, 5, generator=rng), torch.randint(0, 3, (n,), generator=rng)


def loss(predict, batch):
    return torch.nn.functional.cross_entropy(predict(batch[0]), batch[1])


def one_by_one(net, x, y, names=None):
    net.eval()
    rows = []
    for i in range(len(x)):
        net.zero_grad()
        torch.nn.functional.cross_entropy(net(x[i : i + 1]), y[i : i + 1]).backward()
        rows.append(
            torch.cat(
                [p.grad.ravel() for n, p in net.named_parameters() if names is None or n in names]
            )
        )
    net.zero_grad()
    return torch.stack(rows)


def matrix(size, dim, seed):
    """The projection, read off the unit vectors."""
    return project(torch.eye(size), dim, seed)


@pytest.mark.parametrize("dim", [1, 16, 300])
def test_gradients_of_each_example(dim):
    x, y = data()
    g = one_by_one(model(), x, y)
    got = projected_gradients(model(), loss, [(x[:4], y[:4]), (x[4:], y[4:])], dim, seed=3)
    assert torch.allclose(got, g @ matrix(g.shape[1], dim, 3), atol=1e-5)


def test_batching_and_blocks_change_nothing(monkeypatch):
    x, y = data()
    a = projected_gradients(model(), loss, [(x, y)], 32, seed=0)
    b = projected_gradients(
        model(), loss, [(x[i : i + 1], y[i : i + 1]) for i in range(11)], 32, seed=0
    )
    assert torch.allclose(a, b, atol=1e-6)
    # seven rows of signs at a time: pieces cross blocks
    monkeypatch.setattr(module, "_BLOCK", 7 * 32)
    long = torch.randn(3, 100, generator=torch.Generator().manual_seed(0))
    whole = project(long, 32, 5)
    parts = sum(project(long[:, i : i + 13], 32, 5, offset=i) for i in range(0, 100, 13))
    assert torch.allclose(whole, parts, atol=1e-5)


def test_the_matrix_is_random_signs_that_depend_on_the_seed():
    r = matrix(2000, 64, 0) * 8
    assert set(r.unique().tolist()) == {-1.0, 1.0}
    assert abs(float(r.mean())) < 0.02
    assert float((r.T @ r / 2000 - torch.eye(64)).abs().max()) < 0.12
    assert not torch.equal(r, matrix(2000, 64, 1) * 8)
    assert torch.equal(r, matrix(2000, 64, 0) * 8)


def test_inner_products_are_kept():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(20, 3000, generator=rng)
    x[10:] += x[:10]
    small = project(x, 4096, 1)
    scale = x.norm(dim=1)
    error = (small @ small.T - x @ x.T) / (scale[:, None] * scale)
    assert float(error.abs().max()) < 0.1


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_adam_form_is_the_step_adam_would_make_on_that_example(kind):
    x, y = data()
    net = model().eval()
    optimizer = kind(net.parameters(), lr=0.01, betas=(0.8, 0.95), eps=1e-4, weight_decay=0)
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    got = projected_gradients(net, loss, [(x[:2], y[:2])], 5000, seed=0, optimizer=optimizer)
    kept, state = {n: v.clone() for n, v in net.state_dict().items()}, optimizer.state_dict()
    for i in range(2):
        copy = model().eval()
        copy.load_state_dict(kept)
        again = kind(copy.parameters(), lr=0.01, betas=(0.8, 0.95), eps=1e-4, weight_decay=0)
        again.load_state_dict(deepcopy(state))  # step() writes to what it is given
        torch.nn.functional.cross_entropy(copy(x[i : i + 1]), y[i : i + 1]).backward()
        before = torch.cat([p.detach().ravel().clone() for p in copy.parameters()])
        again.step()
        step = (before - torch.cat([p.detach().ravel() for p in copy.parameters()])) / 0.01
        assert torch.allclose(got[i], project(step[None], 5000, 0)[0], atol=2e-3)


def test_some_parameters_only_and_the_model_is_left_as_it_was():
    x, y = data()
    net = model(dropout=True).train()
    before = {n: v.clone() for n, v in net.state_dict().items()}
    got = projected_gradients(net, loss, [(x, y)], 64, seed=0, parameters=["4.weight", "4.bias"])
    assert net.training
    assert all(m.training for m in net.modules())
    assert all(torch.equal(before[n], v) for n, v in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    g = one_by_one(model(dropout=True), x, y, {"4.weight", "4.bias"})
    assert torch.allclose(got, g @ matrix(27, 64, 0), atol=1e-5)


def test_batches_of_named_tensors():
    x, y = data()
    named = projected_gradients(
        model(),
        lambda predict, b: torch.nn.functional.cross_entropy(predict(b["x"]), b["y"]),
        [{"x": x, "y": y}],
        8,
        seed=0,
    )
    assert torch.equal(named, projected_gradients(model(), loss, [(x, y)], 8, seed=0))


def test_refused():
    x, y = data()
    with pytest.raises(ValueError, match=r"parameters: head; the model has 0.weight"):
        projected_gradients(model(), loss, [(x, y)], 8, seed=0, parameters=["head"])
    net = model()
    with pytest.raises(ValueError, match=r"no moments of the parameter '0.weight'"):
        projected_gradients(
            net, loss, [(x, y)], 8, seed=0, optimizer=torch.optim.SGD(net.parameters(), lr=0.1)
        )
    with pytest.raises(ValueError, match="dim >= 1"):
        project(torch.ones(1, 1), 0, 0)
    assert projected_gradients(model(), loss, [], 8, seed=0).shape == (0, 8)
