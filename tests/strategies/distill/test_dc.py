"""Gradient matching: its loss and pixel gradient by a plain loop, its ways of going wrong, and
digits.
"""

import numpy as np
import pytest
import torch

from coreset.distillation import Diverged, Progress, distill
from coreset.distillation.nn import ce_gradients as slopes
from coreset.distillation.nn.convnet import convnet, random_net
from coreset.distillation.nn.siamese import DEFAULT, Draw, augment, draw, operations
from coreset.strategies.distill import dc
from coreset.strategies.distill.dc import match, schedule

QUICK = {"networks": 2, "outer": 3, "inner": 2, "width": 6, "real": 12}


@pytest.fixture(scope="module")
def pool():
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(90) % 3)
    images = (rng.integers(0, 120, (90, 8, 8, 1)) + 50 * labels[:, None, None, None]).astype(
        np.uint8
    )
    return {"images": images, "labels": labels, "classes": ("a", "b", "c")}


def loop(net, images, real, drawn):
    """The published inner loop: for each class the two gradients, then one minus the cosine of
    every output row, biases and norms left out.
    """
    total, parameters = 0.0, list(net.parameters())
    ipc = len(images) // len(real)
    for c in range(len(real)):
        one = Draw(drawn.names[c : c + 1], drawn.parameters[c : c + 1])
        y = torch.full((1,), c)
        want = torch.autograd.grad(
            torch.nn.functional.cross_entropy(net(augment(real[c], one)), y.expand(len(real[c]))),
            parameters,
        )
        gradients = torch.autograd.grad(
            torch.nn.functional.cross_entropy(
                net(augment(images[c * ipc : (c + 1) * ipc], one)), y.expand(ipc)
            ),
            parameters,
            create_graph=True,
        )
        for r, m in zip(want, gradients, strict=True):
            if r.ndim == 1:
                continue
            a, b = r.detach().reshape(len(r), -1), m.reshape(len(m), -1)
            for i in range(len(a)):
                total = total + 1 - (a[i] * b[i]).sum() / (a[i].norm() * b[i].norm() + 1e-6)
    return total


@pytest.mark.parametrize("ipc", [1, 3])
@pytest.mark.parametrize("strategy", ["none", DEFAULT])
def test_loss_and_pixel_gradient_are_those_of_the_loop(ipc, strategy):
    rng = torch.Generator().manual_seed(0)
    net = random_net(convnet(4, 2, 8, width=5), 1).double()
    images = torch.randn(4 * ipc, 2, 8, 8, generator=rng).double().requires_grad_()
    real = [torch.randn(6 + c, 2, 8, 8, generator=rng).double() for c in range(4)]
    drawn = draw(operations(strategy), 4, rng)
    drawn = Draw(drawn.names, drawn.parameters.double())
    loss, slope = match(net, images, real, drawn, "cosine")
    net.requires_grad_(True)
    want = loop(net, images, real, drawn)
    assert float(loss) == pytest.approx(float(want.detach()), rel=1e-9)
    torch.testing.assert_close(slope, torch.autograd.grad(want, images)[0], rtol=1e-7, atol=1e-10)


def test_in_float32_and_blocks_it_is_the_loop_in_float64(monkeypatch):
    monkeypatch.setattr(slopes, "BLOCK", 10_000)
    rng = torch.Generator().manual_seed(0)
    net = random_net(convnet(3, 1, 28, width=4), 1)
    images = torch.randn(6, 1, 28, 28, generator=rng)
    real = [torch.randn(9, 1, 28, 28, generator=rng) for _ in range(3)]
    drawn = draw([], 3, rng)
    loss, slope = match(net, images, real, drawn, "cosine")
    exact = images.double().requires_grad_()
    want = loop(net.double().requires_grad_(True), exact, [r.double() for r in real], drawn)
    assert float(loss) == pytest.approx(float(want.detach()), rel=1e-5)
    truth = torch.autograd.grad(want, exact)[0]
    assert float((slope.double() - truth).abs().max()) < 1e-3 * float(truth.abs().max())


def test_the_schedule_of_the_paper():
    assert [schedule(i) for i in (1, 2, 10, 20, 50, 200)] == [
        (1, 1),
        (10, 50),
        (10, 50),
        (50, 10),
        (50, 10),
        (50, 10),
    ]


@pytest.mark.parametrize("method", ["dc", "dsa"])
def test_same_seed_same_bits(pool, method):
    state = torch.get_rng_state()
    one, two, three = (distill(method, 2, **pool, seed=s, options=QUICK) for s in (0, 0, 1))
    assert torch.equal(state, torch.get_rng_state())
    assert one.images.tobytes() == two.images.tobytes()
    assert one.images.tobytes() != three.images.tobytes()
    assert one.info["outer"] == 3


@pytest.mark.parametrize(
    "options",
    [
        {},
        {
            "train_on": "real",
            "distance": "mse",
            "lr": 1e-3,
            "decode": 2,
            "start": "real",
            "augment": "color_crop_cutout",
        },
    ],
)
def test_a_run_that_was_killed_goes_on_to_the_same_bits(pool, tmp_path, options):
    class Killed(Exception):
        pass

    def kill(step, steps, loss):
        if step == 5:
            raise Killed

    options = {**QUICK, **options}
    whole = distill("dc", 1, **pool, options=options)
    with pytest.raises(Killed):
        distill("dc", 1, **pool, options=options, progress=Progress(tmp_path, kill, every=0.0))
    steps = []
    again = distill(
        "dc",
        1,
        **pool,
        options=options,
        progress=Progress(tmp_path, lambda s, n, loss: steps.append(s)),
    )
    assert steps == [4, 5, 6]  # from the last network on
    assert whole.images.tobytes() == again.images.tobytes()
    assert whole.budget["trained_images"] == 3 * options.get("decode", 1) ** 2


def test_a_network_trains_between_the_steps(pool, monkeypatch):
    seen = []
    real_match = dc.match
    monkeypatch.setattr(
        dc,
        "match",
        lambda net, *rest: (
            seen.append([p.detach().clone() for p in net.parameters()]) or real_match(net, *rest)
        ),
    )
    distill("dc", 1, **pool, options=QUICK)
    change = [
        max(float((a - b).abs().max()) for a, b in zip(seen[i], seen[i + 1], strict=True))
        for i in range(5)
    ]
    assert min(change) > 0
    assert change[2] > 10 * max(change[0], change[1])  # a new network


def test_the_loss_falls(pool):
    losses = []
    watch = Progress(show=lambda step, steps, loss: losses.append(loss))
    distill(
        "dc", 1, **pool, options={**QUICK, "networks": 60, "outer": 1, "lr": 1.0}, progress=watch
    )
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10])


def test_divergence_and_bad_options(pool, tmp_path):
    with pytest.raises(Diverged):
        distill(
            "dc",
            1,
            **pool,
            options={**QUICK, "lr": 1e38, "networks": 40},
            progress=Progress(tmp_path),
        )
    for option, value in (
        ("train_on", "both"),
        ("distance", "l2"),
        ("lr", 0.0),
        ("outer", 0),
        ("momentum", 1.0),
        ("augment", "tint"),
        ("start", "zeros"),
    ):
        with pytest.raises(ValueError, match=option):
            distill("dc", 1, **pool, options={option: value})
    with pytest.warns(UserWarning, match="fewer than the batch of 64"):
        distill("dc", 1, **pool, options={**QUICK, "real": 64})
