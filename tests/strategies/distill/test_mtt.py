"""Trajectory matching: the gradient through all steps against one whole graph, memory that does not
grow, experts and students by plain loops.
"""

import gc

import numpy as np
import pytest
import torch

from coreset.distillation import Progress, distill
from coreset.distillation.nn.convnet import convnet, random_net
from coreset.strategies.distill.mtt import Mtt, flat, shaped, trajectory_loss, walk

QUICK = {
    "experts": 2,
    "epochs": 4,
    "steps": 5,
    "student": 6,
    "ahead": 2,
    "latest": 1,
    "width": 4,
    "lr": 10.0,
    "rate": 0.05,
}


@pytest.fixture(scope="module")
def pool():
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(90) % 3)
    images = (rng.integers(0, 120, (90, 8, 8, 1)) + 50 * labels[:, None, None, None]).astype(
        np.uint8
    )
    return {"images": images, "labels": labels, "classes": ("a", "b", "c")}


def problem(seed=0, width=3):
    generator = torch.Generator().manual_seed(seed)
    net = random_net(convnet(3, 1, 8, width=width), seed).double()
    images = torch.randn(6, 1, 8, 8, generator=generator).double()
    labels = torch.arange(3).repeat_interleave(2)
    first, goal = (
        flat(net),
        flat(net) + 0.1 * torch.randn(len(flat(net)), generator=generator).double(),
    )

    def loss(theta, x, step):
        part = torch.tensor([step % 6, (step + 3) % 6])
        return torch.nn.functional.cross_entropy(
            torch.func.functional_call(net, shaped(net, theta), (x[part],)), labels[part]
        )

    return first, goal, images, torch.tensor(0.2).double(), loss


@pytest.mark.parametrize("steps", [1, 2, 7, 9, 20])
def test_the_gradient_is_that_of_one_whole_graph(steps):
    first, goal, images, rate, loss = problem()
    value, by_images, by_rate = trajectory_loss(first, goal, images, rate, steps, loss)
    x, r = images.clone().requires_grad_(), rate.clone().requires_grad_()
    theta = first.clone().requires_grad_()
    for step in range(steps):
        (slope,) = torch.autograd.grad(loss(theta, x, step), theta, create_graph=True)
        theta = theta - r * slope
    want = (theta - goal).square().sum() / (first - goal).square().sum()
    slopes = torch.autograd.grad(want, (x, r))
    assert float(value) == pytest.approx(float(want.detach()), rel=1e-12)
    torch.testing.assert_close(by_images, slopes[0], rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(by_rate, slopes[1], rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(walk(first, images, rate, range(steps), loss), theta.detach())


def test_memory_does_not_grow_with_the_steps():
    def most_held(steps):
        first, goal, images, rate, loss = problem()
        live = [0, 0]

        class Held:
            def __init__(self, tensor):
                self.tensor = tensor
                live[0] += tensor.numel()
                live[1] = max(live)

            def __del__(self):
                live[0] -= self.tensor.numel()

        with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
            trajectory_loss(first, goal, images, rate, steps, loss)
        return live[1]

    few = most_held(4)
    assert few > 0
    assert most_held(40) <= few


def test_few_weights_are_kept_on_the_way_back():
    def most_kept(steps):
        first, goal, images, rate, loss = problem()
        kept = 0

        def counted(theta, x, step):
            nonlocal kept
            kept = max(
                kept,
                sum(type(o) is torch.Tensor and o.numel() == len(first) for o in gc.get_objects()),
            )
            return loss(theta, x, step)

        trajectory_loss(first, goal, images, rate, steps, counted)
        return kept

    gc.collect()
    gc.freeze()  # what other tests left is not counted, and not walked at every step
    try:
        few = most_kept(8)  # 8 places of one level
        assert few >= 8
        assert most_kept(40) <= few + 8  # of two
    finally:
        gc.unfreeze()


@pytest.mark.parametrize("augment", ["none", "color_crop_scale"])
def test_same_seed_same_bits_and_resume(pool, tmp_path, augment):
    class Killed(Exception):
        pass

    def kill(step, steps, loss):
        if step == 4:
            raise Killed

    options = {**QUICK, "augment": augment}
    state = torch.get_rng_state()
    whole = distill("mtt", 2, **pool, options=options)
    assert torch.equal(state, torch.get_rng_state())
    assert (
        distill("mtt", 2, **pool, seed=1, options=options).images.tobytes()
        != whole.images.tobytes()
    )
    with pytest.raises(Killed):
        distill("mtt", 2, **pool, options=options, progress=Progress(tmp_path, kill, every=0.0))
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["expert-0", "expert-1"]
    steps = []
    again = distill(
        "mtt",
        2,
        **pool,
        options=options,
        progress=Progress(tmp_path, lambda s, n, loss: steps.append(s)),
    )
    assert steps == [4, 5]
    assert whole.images.tobytes() == again.images.tobytes()
    assert whole.info["rate"] == again.info["rate"] != QUICK["rate"]


def test_the_loss_falls(pool):
    losses = []
    watch = Progress(show=lambda step, steps, loss: losses.append(loss))
    options = {
        **QUICK,
        "augment": "none",
        "steps": 60,
        "experts": 1,
        "latest": 0,
        "student": 8,
        "lr": 1.0,
        "rate_lr": 1e-7,
        "expert_lr": 0.2,
    }
    distill("mtt", 2, **pool, options=options, progress=watch)
    assert np.mean(losses[-5:]) < 0.9 * losses[0]


def test_plans_and_bad_options(pool):
    assert [Mtt().plan(i) for i in (1, 10, 50)] == [(50, 2, 2), (30, 2, 20), (30, 2, 40)]
    with pytest.raises(
        ValueError,
        match=(
            "epochs: beginning at epoch 20 and looking 2 ahead takes 22 epochs of the experts,"
            " got 10"
        ),
    ):
        Mtt(epochs=10).plan(10)
    for option, value in (
        ("experts", 0),
        ("latest", -1),
        ("lr", 0.0),
        ("augment", "tint"),
        ("student", 0),
    ):
        with pytest.raises(ValueError, match=option):
            distill("mtt", 1, **pool, options={option: value})
