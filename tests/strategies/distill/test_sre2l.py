"""SRe2L: its loss in float64 numpy, the pixel gradient by finite differences, resume, its ways of
going wrong.
"""

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d
from torch import nn
from torchvision.transforms.v2 import functional as vision

from coreset.distillation import Diverged, Progress, Source, Teacher, distill
from coreset.distillation.nn.convnet import convnet, random_net
from coreset.distillation.nn.crops import boxes
from coreset.distillation.progress import GOOD
from coreset.strategies.distill.sre2l import Sre2l, bn_loss, invert, measured, running

CLASSES = ("a", "b", "c")
QUICK = {"steps": 6}
pytestmark = pytest.mark.filterwarnings("ignore:Sre2l", "ignore:images. class", "ignore:Rded")


@pytest.fixture(scope="module")
def pool():
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(90) % 3)
    images = (rng.integers(0, 120, (90, 8, 8, 2)) + 50 * labels[:, None, None, None]).astype(
        np.uint8
    )
    return {
        "images": images,
        "labels": labels,
        "classes": CLASSES,
        "mean": (0.4, 0.5),
        "std": (0.25, 0.2),
    }


def network(norm="batch", channels=2, size=8, width=4):
    """A network with batch norms that have seen something, whose scale and shift are not 1 and 0."""
    with torch.random.fork_rng(devices=[]):
        net = random_net(convnet(3, channels, size, width=width, norm=norm), 3)
    rng = torch.Generator().manual_seed(1)
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            for tensor, low, high in (
                (m.running_mean, -0.3, 0.3), (m.running_var, 0.2, 1.0), (m.weight, 0.5, 2.0), (m.bias, -0.5, 0.5)
            ):  # fmt: skip
                tensor.uniform_(low, high, generator=rng)
    return net.eval()


def teacher(network_=None, epoch=None):
    return Teacher(network(), CLASSES, epoch)


def by_hand(net, x, labels, weight):
    """The network layer by layer and the loss, in float64 numpy: convolution, statistics, batch
    norm, ReLU, 2 x 2 mean, linear layer.
    """
    x, total, first = x.astype(np.float64), 0.0, True
    for layer in net.features:
        p = {
            k: v.detach().numpy().astype(np.float64)
            for k, v in layer.state_dict().items()
            if v.ndim
        }
        if isinstance(layer, nn.Conv2d):
            padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
            x = np.stack([
                [sum(correlate2d(c, k, "valid") for c, k in zip(image, kernel, strict=True)) + b for kernel, b in zip(p["weight"], p["bias"], strict=True)]
                for image in padded
            ])  # fmt: skip
        elif isinstance(layer, nn.BatchNorm2d):
            mean, var = (
                x.mean((0, 2, 3)),
                ((x - x.mean((0, 2, 3), keepdims=True)) ** 2).mean((0, 2, 3)),
            )
            gap = np.sqrt(((mean - p["running_mean"]) ** 2).sum()) + np.sqrt(
                ((var - p["running_var"]) ** 2).sum()
            )
            total += (10 if first else 1) * gap
            first = False
            column = {k: v[:, None, None] for k, v in p.items()}
            x = (x - column["running_mean"]) / np.sqrt(column["running_var"] + layer.eps)
            x = x * column["weight"] + column["bias"]
        elif isinstance(layer, nn.ReLU):
            x = np.maximum(x, 0)
        else:
            x = (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4
    z = (
        x.reshape(len(x), -1) @ net.classifier.weight.numpy().astype(np.float64).T
        + net.classifier.bias.numpy()
    )
    ce = np.mean([-(row[y] - np.log(np.exp(row).sum())) for row, y in zip(z, labels, strict=True)])
    return ce + weight * total


@pytest.mark.parametrize("weight", [0.0, 0.01, 1.0])
def test_loss_is_the_definition_and_its_gradient_that_of_finite_differences(weight):
    net, rng = network(), np.random.default_rng(0)
    x, y = rng.normal(size=(5, 2, 8, 8)), np.array([0, 2, 1, 1, 0])
    want = by_hand(net, x, y, weight)
    net = net.double()
    images = torch.from_numpy(x).requires_grad_()
    loss = invert(net, images, torch.from_numpy(y), running(net), weight)
    assert float(loss.detach()) == pytest.approx(want, rel=1e-9)
    (slope,) = torch.autograd.grad(loss, images)
    for place in [(0, 0, 3, 3), (4, 1, 0, 7), (2, 0, 7, 0), (1, 1, 4, 2)]:
        step = np.zeros_like(x)
        step[place] = 1e-6
        rise = by_hand(net, x + step, y, weight) - by_hand(net, x - step, y, weight)
        assert slope[place].item() == pytest.approx(rise / 2e-6, rel=1e-4, abs=1e-8)


def test_no_gap_no_loss_and_the_first_counts_tenfold():
    rng = torch.Generator().manual_seed(0)
    xs = [torch.randn(6, 3, 4, 4, generator=rng, dtype=torch.float64) for _ in range(2)]
    own = [(x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)) for x in xs]
    assert float(bn_loss(xs, own)) == pytest.approx(0, abs=1e-12)
    moved = [(m + 1, v) for m, v in own]
    assert float(bn_loss(xs, [moved[0], own[1]])) == pytest.approx(10 * 3**0.5)
    assert float(bn_loss(xs, [own[0], moved[1]])) == pytest.approx(3**0.5)


def test_measured_statistics_do_not_depend_on_the_blocks():
    net = network()
    x = torch.randn(20, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    whole, parts = measured(net, [x]), measured(net, [x[:7], x[7:8], x[8:]])
    first = net.features[0](x)
    torch.testing.assert_close(whole[0][0], first.mean((0, 2, 3)))
    torch.testing.assert_close(whole[0][1], first.var((0, 2, 3), unbiased=False))
    for (a, b), (c, d) in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, c)
        torch.testing.assert_close(b, d)


def run(pool, ipc=2, seed=0, progress=None, make=teacher, flips=False, **options):
    return distill(
        "sre2l",
        ipc,
        **pool,
        seed=seed,
        options={**QUICK, **options},
        teacher=make,
        progress=progress,
        flips=flips,
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"start": "real"},
        {"start": "rded"},
        {"batching": "class"},
        {"multi_crop": True},
        {"batch": 2, "jitter": 0},
    ],
)
def test_same_seed_same_bits_and_another_seed_others(pool, options):
    state = torch.get_rng_state()
    one, two, other = run(pool, **options), run(pool, **options), run(pool, seed=1, **options)
    assert torch.equal(state, torch.get_rng_state())
    assert one.images.tobytes() == two.images.tobytes() != other.images.tobytes()
    assert one.images.dtype == np.uint8
    assert one.hard.tolist() == [0, 0, 1, 1, 2, 2]
    assert one.nbytes == 6 * Sre2l().image_bytes((2, 8, 8), 3)


def test_the_steps_are_the_papers(pool):
    """A plain loop: one batch an image index, Adam, cosine, rolled by up to an eighth of the side,
    clipped after each step.
    """
    distilled = run(pool, steps=4, multi_crop=False)
    inner = int(np.random.default_rng(distilled.info["seed"]).integers(2**62))
    net = network()
    mean, std = (np.array(pool[k], np.float32)[:, None, None] for k in ("mean", "std"))
    low, high = torch.from_numpy(-mean / std), torch.from_numpy((1 - mean) / std)
    start = int(np.random.default_rng([inner, 0]).integers(2**62))
    whole = torch.randn(6, 2, 8, 8, generator=torch.Generator().manual_seed(start))
    for number in range(2):
        x = whole[number::2].clone().requires_grad_()
        adam = torch.optim.Adam([x], lr=0.25, betas=(0.5, 0.9))
        for step in range(4):
            adam.param_groups[0]["lr"] = 0.25 * 0.5 * (1 + np.cos(np.pi * step / 4))
            down, across = (
                np.random.default_rng([inner, 1, step, number]).integers(0, 2, 2).tolist()
            )
            seen = torch.roll(x, (down, across), (2, 3))
            adam.zero_grad()
            invert(net, seen, torch.arange(3), running(net), 0.01).backward()
            adam.step()
            x.data = x.data.clamp(low, high)
        whole[number::2] = x.detach()
    want = np.rint((whole.numpy() * std + mean) * 255)
    assert np.abs(distilled.images - want).max() <= 1
    assert (distilled.images != want).mean() < 0.01


def test_a_view_is_one_crop_one_mirror_and_one_roll_for_the_whole_batch():
    x = torch.randn(3, 1, 64, 64, dtype=torch.float64)
    seen = Sre2l(jitter=0).view(x, False, np.random.default_rng(0))
    (box,) = boxes(np.random.default_rng(0).random((1, 22)), 64).tolist()
    torch.testing.assert_close(
        seen, vision.resized_crop(x, *box, [64, 64], antialias=True), rtol=1e-9, atol=1e-9
    )
    small = torch.arange(64.0).view(1, 1, 8, 8)
    rolled = {
        tuple(Sre2l().view(small, True, np.random.default_rng(s)).flatten().tolist())
        for s in range(40)
    }
    assert rolled == {
        tuple(torch.roll(small, (i, j), (2, 3)).flatten().tolist()) for i in (0, 1) for j in (0, 1)
    }  # an eighth of the side, no crop below 64 pixels, so no mirror


def test_batches_hold_one_image_of_each_class_or_one_class():
    assert [b.tolist() for b in Sre2l().batches(3, 2)] == [[0, 2, 4], [1, 3, 5]]
    assert [b.tolist() for b in Sre2l(batch=2).batches(3, 2)] == [[0, 2], [4], [1, 3], [5]]
    assert [b.tolist() for b in Sre2l(batching="class", batch=2).batches(2, 3)] == [
        [0, 1],
        [2],
        [3, 4],
        [5],
    ]


def test_a_run_that_was_killed_goes_on_to_the_same_bits(pool, tmp_path):
    class Killed(Exception):
        pass

    def kill(step, steps, loss):
        if step == 4:
            raise Killed

    whole = run(pool, start="real")
    with pytest.raises(Killed):
        run(pool, start="real", progress=Progress(tmp_path, kill, every=0.0))
    steps = []
    again = run(pool, start="real", progress=Progress(tmp_path, lambda s, n, loss: steps.append(s)))
    assert steps == [4, 5, 6]
    assert whole.images.tobytes() == again.images.tobytes()


def test_the_loss_falls(pool):
    losses = []
    run(pool, steps=60, bn=1.0, progress=Progress(show=lambda s, n, loss: losses.append(loss)))
    assert np.mean(losses[-10:]) < 0.6 * losses[0]


def test_divergence_keeps_the_last_good_images(pool, tmp_path):
    passes = []

    def breaks(network_=None, epoch=None):
        net = network()
        net.register_forward_hook(
            lambda m, a, out: passes.append(0) or (out * float("nan") if len(passes) > 3 else out)
        )
        return Teacher(net, CLASSES)

    with pytest.raises(Diverged, match=r"nan at step 3.*last_good"):
        run(pool, ipc=1, make=breaks, progress=Progress(tmp_path))
    assert (tmp_path / GOOD).exists()


@pytest.mark.filterwarnings("default:Sre2l")
def test_bad_input_is_named(pool):
    with pytest.raises(ValueError, match=r"ConvNet has no batch norm .* network={norm: batch}"):
        run(
            pool,
            ipc=1,
            make=lambda network_=None, epoch=None: Teacher(network("instance"), CLASSES),
        )
    with pytest.raises(ValueError, match="same classes in another order"):
        run(pool, ipc=1, make=lambda network_=None, epoch=None: Teacher(network(), CLASSES[::-1]))
    with pytest.raises(ValueError, match="needs a teacher"):
        distill("sre2l", 1, **pool)
    with pytest.raises(ValueError, match="no example in the pool of 'd'"):
        distill("sre2l", 1, **{**pool, "classes": (*CLASSES, "d")}, teacher=teacher)
    with pytest.warns(
        UserWarning, match=r"Sre2l: 2 images per class; above about 1 .* 25\.8 and 54\.3 %"
    ):
        Sre2l().check(Source(**pool, teacher=teacher), 2)
    for option, value in (
        ("start", "zeros"), ("batching", "all"), ("steps", 0), ("lr", 0.0), ("bn", -1.0), ("jitter", -1), ("batch", 0)
    ):  # fmt: skip
        with pytest.raises(ValueError, match=option):
            Sre2l(**{option: value})
