import numpy as np
import pytest
import torch
from torch import nn

from coreset.trainers.data.base import ImageData
from coreset.trainers.tasks.measure import measure

RNG = np.random.default_rng(0)
DATA = ImageData(
    "toy", RNG.integers(0, 256, (30, 8, 8, 1), dtype=np.uint8), np.arange(30) % 3,
    RNG.integers(0, 256, (6, 8, 8, 1), dtype=np.uint8), np.arange(6) % 3, ("a", "b", "c"),
)  # fmt: skip
ROWS = np.arange(0, 30, 2)


def net(*dropouts):
    torch.manual_seed(0)
    body = [nn.Flatten(), nn.Linear(64, 16), nn.ReLU()]
    if "early" in dropouts:
        body.append(nn.Dropout(0.5))
    body += [nn.Linear(16, 12), nn.ReLU()]
    if "late" in dropouts:
        body.append(nn.Dropout(0.5))
    return nn.Sequential(*body, nn.Linear(12, 3)).eval()


def reference(model, rows):
    """Float64 by hand: weights out of the module, plain numpy."""
    x = (
        DATA.images[rows].transpose(0, 3, 1, 2).reshape(len(rows), -1) / 255 - DATA.mean[0]
    ) / DATA.std[0]
    layers = [m for m in model if isinstance(m, nn.Linear)]
    w = [(m.weight.detach().double().numpy(), m.bias.detach().double().numpy()) for m in layers]
    h = np.maximum(x @ w[0][0].T + w[0][1], 0)
    h = np.maximum(h @ w[1][0].T + w[1][1], 0)
    z = h @ w[2][0].T + w[2][1]
    e = np.exp(z - z.max(1, keepdims=True))
    return h, z, e / e.sum(1, keepdims=True)


def test_values_against_numpy():
    model = net("late")
    got = measure(model, DATA, ROWS, ["features", "logits", "probs"], batch_size=4)
    for name, want in zip(("features", "logits", "probs"), reference(model, ROWS), strict=True):
        np.testing.assert_allclose(got[name], want, atol=1e-5)
        assert got[name].dtype == np.float32


@pytest.mark.parametrize("dropouts", [("late",), ("early",), ("early", "late")])
def test_members_differ_and_no_batching_changes_them(dropouts):
    model = net(*dropouts)
    one = measure(model, DATA, ROWS, ["member_probs", "probs"], members=6, seed=3, batch_size=4)
    two = measure(model, DATA, ROWS[::-1], ["member_probs"], members=6, seed=3, batch_size=30)[
        "member_probs"
    ][::-1]
    p = one["member_probs"]
    assert p.shape == (len(ROWS), 6, 3)
    np.testing.assert_allclose(p, two, atol=1e-6)
    np.testing.assert_allclose(p.sum(-1), 1, atol=1e-5)
    assert p.std(axis=1).max() > 1e-3
    # dropout off beside it
    np.testing.assert_allclose(one["probs"], reference(model, ROWS)[2], atol=1e-5)
    assert not np.allclose(
        p, measure(model, DATA, ROWS, ["member_probs"], members=6, seed=4)["member_probs"]
    )


def test_shared_members_equal_whole_passes(monkeypatch):
    model = net("late")
    fast = measure(model, DATA, ROWS, ["member_probs"], members=4, seed=1)["member_probs"]
    monkeypatch.setattr("coreset.trainers.tasks.measure._head_only", lambda *_: False)
    slow = measure(model, DATA, ROWS, ["member_probs"], members=4, seed=1)["member_probs"]
    np.testing.assert_allclose(fast, slow, atol=1e-6)


def test_what_no_model_gives_is_refused():
    with pytest.raises(ValueError, match="loss"):
        measure(net(), DATA, ROWS, ["loss"])
    with pytest.raises(ValueError, match="no dropout"):
        measure(net(), DATA, ROWS, ["member_probs"])
    with pytest.raises(ValueError, match="Linear"):
        measure(nn.Flatten(), DATA, ROWS, ["probs"])


def test_logits_are_linear_in_features_whatever_the_precision():
    model = net("late")
    got = measure(model, DATA, ROWS, ["features", "logits"], bf16=True)
    head = model[-1]
    want = (
        got["features"].astype(np.float64) @ head.weight.detach().double().numpy().T
        + head.bias.detach().double().numpy()
    )
    np.testing.assert_allclose(got["logits"], want, atol=1e-5)
