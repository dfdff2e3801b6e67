"""Distribution matching: its loss by hand, its ways of going wrong, and digits."""

import numpy as np
import pytest
import torch

from coreset.distillation import Diverged, Progress, Source, distill
from coreset.distillation.distiller import distiller
from coreset.distillation.nn.convnet import convnet, random_net
from coreset.distillation.nn.siamese import DEFAULT, Draw, augment, draw, operations
from coreset.strategies.distill.dm import Dm, Target, match
from coreset.strategies.distill.matching import DISTANCES, real_means

QUICK = {"steps": 6, "width": 8, "real": 12, "pool": 3}


@pytest.fixture(scope="module")
def pool():
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(90) % 3)
    images = (rng.integers(0, 120, (90, 8, 8, 1)) + 50 * labels[:, None, None, None]).astype(
        np.uint8
    )
    return {"images": images, "labels": labels, "classes": ("a", "b", "c")}


def loop(images, real, net, drawn, factor):
    """The paper's inner loop: class after class, one augmentation for real and made, squared
    distance of mean embeddings; float64.
    """
    classes = len(drawn.names)
    ipc = len(images) // classes
    total = 0.0
    for c in range(classes):
        one = Draw(drawn.names[c : c + 1], drawn.parameters[c : c + 1].double())
        x = images[c * ipc : (c + 1) * ipc]
        if factor == 2:
            h = x.shape[-1] // 2
            cells = [x[:, :, i : i + h, j : j + h] for i in (0, h) for j in (0, h)]
            x = torch.cat(
                [
                    torch.nn.functional.interpolate(cell, x.shape[-2:], mode="bilinear")
                    for cell in cells
                ]
            )
        gap = net.embed(augment(real[c], one)).mean(0) - net.embed(augment(x, one)).mean(0)
        total = total + (gap**2).sum()
    return total


@pytest.mark.parametrize(("ipc", "factor"), [(1, 1), (4, 1), (2, 2)])
def test_loss_and_pixel_gradient_are_those_of_the_loop_over_classes(ipc, factor):
    rng = torch.Generator().manual_seed(0)
    net = random_net(convnet(5, 2, 8, width=6), 1).double()
    images = torch.randn(5 * ipc, 2, 8, 8, generator=rng).double().requires_grad_()
    real = [torch.randn(7, 2, 8, 8, generator=rng).double() for _ in range(5)]
    drawn = draw(operations(DEFAULT), 5, rng)
    drawn = Draw(drawn.names, drawn.parameters.double())
    want = loop(images, real, net, drawn, factor)
    (slope,) = torch.autograd.grad(want, images)
    seen = [
        augment(x, Draw(drawn.names[i : i + 1], drawn.parameters[i : i + 1]))
        for i, x in enumerate(real)
    ]
    target = Target(net, drawn, 0, real_means(DISTANCES["mean"], net, seen, 0))
    for block in (10_000, 2 * ipc * factor**2, 1):
        loss, gradient = match(images, target, DISTANCES["mean"], factor, block)
        assert float(loss) == pytest.approx(float(want.detach()), rel=1e-10)
        torch.testing.assert_close(gradient, slope, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("mode", ["pooled", "fresh"])
@pytest.mark.parametrize("distance", DISTANCES)
def test_same_seed_same_bits_and_another_seed_others(pool, mode, distance):
    options = {**QUICK, "mode": mode, "distance": distance}
    state = torch.get_rng_state()
    one, two, three = (distill("dm", 2, **pool, seed=s, options=options) for s in (0, 0, 1))
    assert torch.equal(state, torch.get_rng_state())
    assert one.images.tobytes() == two.images.tobytes()
    assert one.images.tobytes() != three.images.tobytes()
    assert one.hard.tolist() == [0, 0, 1, 1, 2, 2]
    assert one.info["variant"] == mode
    assert one.info["data"]["labels_used"] == 90


def test_the_arrangement_of_the_pool_does_not_matter(pool):
    order = np.random.default_rng(1).permutation(90)
    moved = {
        "images": pool["images"][order],
        "labels": pool["labels"][order],
        "classes": pool["classes"],
    }
    mean = {"mean": (0.5,), "std": (0.25,)}
    one = distill("dm", 1, **pool, ids=np.arange(90), options=QUICK, **mean)
    two = distill("dm", 1, **moved, ids=order, options=QUICK, **mean)
    np.testing.assert_array_equal(one.images, two.images)


@pytest.mark.parametrize("mode", ["pooled", "fresh"])
def test_a_run_that_was_killed_goes_on_to_the_same_bits(pool, tmp_path, mode):
    class Killed(Exception):
        pass

    def kill(step, steps, loss):
        if step == 4:
            raise Killed

    options = {**QUICK, "mode": mode}
    whole = distill("dm", 1, **pool, options=options)
    with pytest.raises(Killed):
        distill("dm", 1, **pool, options=options, progress=Progress(tmp_path, kill, every=0.0))
    steps = []
    again = distill(
        "dm",
        1,
        **pool,
        options=options,
        progress=Progress(tmp_path, lambda s, n, loss: steps.append(s)),
    )
    assert steps == [4, 5, 6]  # the fourth was not yet on disk
    assert whole.images.tobytes() == again.images.tobytes()


def test_the_loss_falls(pool):
    losses = []
    watch = Progress(show=lambda step, steps, loss: losses.append(loss))
    distill(
        "dm",
        1,
        **pool,
        options={**QUICK, "pool": 1, "steps": 40, "augment": "none"},
        progress=watch,
    )
    assert losses[-1] < 0.5 * losses[0]


def test_decode_packs_real_images(pool):
    distilled = distill("dm", 1, **pool, options={**QUICK, "decode": 2})
    assert distilled.budget == {"ipc": 1, "images": 3, "bytes": 3 * 257, "trained_images": 12}
    assert distilled.normalized().shape == (12, 1, 8, 8)


def test_flips_are_left_out_where_a_mirror_is_another_class(pool):
    only = {**QUICK, "augment": "flip", "steps": 2}
    none = distill("dm", 1, **pool, options={**QUICK, "augment": "none", "steps": 2})
    assert distill("dm", 1, **pool, options=only).images.tobytes() == none.images.tobytes()
    assert (
        distill("dm", 1, **pool, options=only, flips=True).images.tobytes() != none.images.tobytes()
    )


def test_divergence_keeps_the_last_good_images(pool, tmp_path):
    with pytest.raises(Diverged, match="smaller learning rate"):
        distill(
            "dm", 1, **pool, options={**QUICK, "lr": 1e30, "steps": 50}, progress=Progress(tmp_path)
        )
    _, good = Progress(tmp_path, key="any").load("last_good.safetensors") or (0, {})
    assert (tmp_path / "last_good.safetensors").exists()
    assert not good or good["images"].isfinite().all()


def test_few_real_images_and_many_made_ones_are_said(pool):
    with pytest.warns(UserWarning, match=r"class 'a' has 30 images, fewer than the batch of 64"):
        distill("dm", 1, **pool, options={**QUICK, "real": 64})
    many = np.arange(3).repeat(300)
    source = Source(np.zeros((900, 8, 8, 1), np.uint8), many, ("a", "b", "c"), (0.5,), (0.2,))
    with pytest.warns(UserWarning, match="201 images per class; above about 200"):
        distiller("dm").check(source, 201)


def test_bad_input_is_named(pool):
    with pytest.raises(ValueError, match=r"ipc: expected 1 to 30 .*'a'.*got 31"):
        distill("dm", 31, **pool)
    with pytest.raises(ValueError, match=r"'a'.*30"):
        distill("dm", 8, **pool, options={**QUICK, "decode": 2})
    with pytest.raises(ValueError, match="no example in the pool of 'd'"):
        distill("dm", 1, images=pool["images"], labels=pool["labels"], classes=("a", "b", "c", "d"))
    hidden = pool["labels"].copy()
    hidden[3] = -1
    with pytest.raises(ValueError, match="label of every example.*position 3"):
        distill("dm", 1, images=pool["images"], labels=hidden, classes=("a", "b", "c"))
    with pytest.raises(KeyError, match="unknown distiller 'dn'"):
        distill("dn", 1, **pool)
    for option, value in (
        ("mode", "fast"),
        ("distance", "mmd"),
        ("lr", 0.0),
        ("augment", "tint"),
        ("momentum", 1.0),
        ("start", "zeros"),
    ):
        with pytest.raises(ValueError, match=option):
            distill("dm", 1, **pool, options={option: value})


def test_parameters_are_the_fields():
    assert Dm(steps=5).parameters()["steps"] == 5
