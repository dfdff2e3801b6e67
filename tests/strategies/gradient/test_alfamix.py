"""ALFA-Mix against the mixing written out: autograd through a real head, the ratio of the paper
feature by feature.
"""

import numpy as np
import pytest
import torch

import coreset
from coreset.strategies.gradient.alfamix import AlfaMix, linear_head, moves
from coreset.testing import check_strategy


def case(n=60, d=5, c=3, seed=0):
    rng = np.random.default_rng(seed)
    head = torch.nn.Linear(d, c).double()
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(rng.normal(size=(c, d))))
        head.bias.copy_(torch.from_numpy(rng.normal(size=c)))
    x = rng.normal(size=(n, d))
    return head, x, head(torch.from_numpy(x)).detach().numpy(), rng.integers(0, c, n)


def changed(head, x, y, selected, candidates, cap):
    """Who changes at epsilon = cap / sqrt(D): equation 5, then the mix, then the head."""
    z = torch.from_numpy(x[candidates]).requires_grad_()
    out = head(z)
    predicted = out.argmax(dim=1)
    gradient = torch.autograd.grad(
        torch.nn.functional.cross_entropy(out, predicted, reduction="sum"), z
    )[0]
    z = z.detach()
    result = np.zeros(len(candidates), bool)
    for c in range(head.out_features):
        mine = selected[y[selected] == c]
        anchor = torch.from_numpy(x[mine if len(mine) else selected].mean(axis=0))
        gap = anchor - z
        alpha = (
            (cap / np.sqrt(x.shape[1]) * gap.norm(dim=1) / gradient.norm(dim=1))[:, None]
            * gradient
            / gap
        )
        mixed = alpha * anchor + (1 - alpha) * z
        result |= (head(mixed).argmax(dim=1) != predicted).numpy()
    return result


def columns():
    _, x, z, y = case(48, d=6, c=4)
    return {"features": x, "logits": z, "labels": y}


@pytest.mark.parametrize("step", [0.2, 0.03125])
def test_contract(step):
    check_strategy(AlfaMix(step), columns())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("few", [[0, 1, 2, 3, 4, 5, 6], [11, 12]])
def test_who_changes(seed, few):
    head, x, z, y = case(seed=seed)
    selected = np.array(few)
    candidates = np.setdiff1d(np.arange(60), selected)
    known = np.full(60, -1)
    known[selected] = y[selected]
    first = int(changed(head, x, y, selected, candidates, 0.2).sum())
    assert first
    # `first` are not more than asked for, and more than all never change
    for k in (8, first, len(candidates)):
        cap, who = 0.0, np.zeros(len(candidates), bool)
        while cap < 1 and who.sum() <= k:
            cap += 0.2
            who |= changed(head, x, y, selected, candidates, cap)
        assert k < len(candidates) or cap > 0.9
        got = coreset.select("alfamix", k, features=x, logits=z, labels=known, selected=selected)
        assert got.info["eligible"] == who.sum()
        assert got.info["epsilon"] == pytest.approx(cap)
        if who.sum() > k:
            assert np.isin(got.indices, candidates[who]).all()
        else:
            assert np.isin(candidates[who], got.indices).all()


def test_head_is_recovered_exactly_and_up_to_what_the_features_span():
    head, x, z, _ = case()
    assert np.allclose(
        linear_head(torch.from_numpy(x), torch.from_numpy(z)), head.weight.detach(), atol=1e-9
    )
    flat = x.copy()
    flat[:, 4] = 2 * flat[:, 3]  # one direction less
    z = head(torch.from_numpy(flat)).detach()
    weight = linear_head(torch.from_numpy(flat), z)
    spread = torch.from_numpy(flat - flat.mean(axis=0))
    assert np.allclose(spread @ weight.T, z - z.mean(dim=0), atol=1e-9)
    few = linear_head(torch.from_numpy(x[:3]), head(torch.from_numpy(x[:3])).detach())
    assert np.isfinite(few.numpy()).all()
    half = linear_head(
        torch.from_numpy(x).half().float(), head(torch.from_numpy(x)).detach().half().float()
    )
    assert np.allclose(half, head.weight.detach(), atol=0.01)


def test_saturated_predictions_do_not_move():
    head = torch.eye(2).double() * 100
    assert moves(torch.tensor([[1e4, 0.0], [0.1, 0.0]]), head)[0].tolist() == [0.0, 0.0]
    x = np.array([[100.0, 0.0], [0.0, 100.0], [100.0, 1.0], [0.3, 0.2]])
    got = coreset.select(
        "alfamix", 2, features=x, logits=x * 100, labels=np.array([0, 1, -1, -1]), selected=[0, 1]
    )
    assert sorted(got.indices) == [2, 3]


def test_refused():
    _, x, z, y = case()
    with pytest.raises(ValueError, match="nothing is selected yet"):
        coreset.select("alfamix", 2, features=x, logits=z, labels=y)
    with pytest.raises(ValueError, match="logits: expected an affine function of the features"):
        coreset.select("alfamix", 2, features=x, logits=z**2, labels=y, selected=[0])
    with pytest.raises(ValueError, match="labels: expected 0 to 2"):
        coreset.select("alfamix", 2, features=x, logits=z, labels=np.full(60, -1), selected=[0])
    with pytest.raises(ValueError, match="step"):
        AlfaMix(0.0)
