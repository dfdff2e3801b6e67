"""Soft labels in a set: what they are, where they lie, what they cost, what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from coreset.distillation import Synthetic, Teacher
from coreset.distillation.soft import crop_labels, fixed_labels, online_labels
from coreset.distillation.views import Views, look

CLASSES = ("a", "b", "c")


def teacher(classes=CLASSES, size=4, gain=1.0):
    net = nn.Sequential(nn.Flatten(), nn.Linear(size * size, 3))
    with torch.no_grad():
        net[1].weight.copy_(
            gain * torch.from_numpy(np.random.default_rng(5).normal(size=(3, size * size)))
        )
        net[1].bias.zero_()
    return Teacher(net, classes, 2, 0.9, "linear")


def synthetic(decode=1, **rest):
    images = np.random.default_rng(0).normal(size=(4, 1, 4, 4)).astype(np.float32)
    return Synthetic(
        images, np.array([0, 1, 2, 2]), CLASSES, (0.5,), (0.25,), decode=decode, **rest
    )


@pytest.mark.parametrize("decode", [1, 2])
def test_fixed_labels_are_the_teachers_logits_of_every_training_image(tmp_path, decode):
    t = teacher()
    one = fixed_labels(synthetic(decode), t, temperature=4.0, mix=0.25)
    x = one.normalized().reshape(4 * decode**2, -1).astype(np.float64)
    want = x @ t.model[1].weight.numpy().astype(np.float64).T
    np.testing.assert_allclose(one.labels, want, rtol=2e-3, atol=2e-3)
    assert one.labels.dtype == np.float16
    p = np.exp(one.labels.astype(np.float64) / 4)
    np.testing.assert_allclose(one.targets(), p / p.sum(1, keepdims=True), rtol=1e-5)
    assert one.hard.tolist() == [0, 1, 2, 2]  # the truth, whatever the teacher thinks
    assert one.counts.tolist() == [1, 1, 2]
    assert one.info["teacher"] == {"name": "linear", "epoch": 2, "accuracy": 0.9}
    assert one.nbytes == 4 * 64 + 4 * decode**2 * 3 * 2 + 4
    same_as_saved(one, tmp_path)


def same_as_saved(one, folder):
    two = Synthetic.load(one.save(folder))
    for name in ("images", "labels", "truth", "views"):
        a, b = getattr(one, name), getattr(two, name)
        if a is None:
            assert b is None
        else:
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
    assert (one.kind, one.temperature, one.mix, one.nbytes) == (
        two.kind,
        two.temperature,
        two.mix,
        two.nbytes,
    )
    if one.kind != "online":
        stored = sum(
            v.nbytes
            for n in ("images", "labels")
            for v in load_file(folder / f"{n}.safetensors").values()
        )
        assert stored == one.nbytes
    return two


@pytest.mark.parametrize("cutmix", [0.0, 1.0])
def test_labels_of_crops_are_the_teachers_of_what_each_shows(tmp_path, cutmix):
    t, views = teacher(), Views((0.3, 1.0), True, cutmix)
    told = []
    one = crop_labels(
        synthetic(2), t, views, 3, seed=7, temperature=20.0, mix=0.5, show=lambda *a: told.append(a)
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert one.labels.shape == (3, 16, 3)
    x = torch.from_numpy(one.normalized())
    for e in range(3):
        np.testing.assert_array_equal(
            one.views[e], views.draw(16, 4, np.random.default_rng([7, e]))
        )
        seen = look(x, one.views[e], np.arange(16))
        np.testing.assert_array_equal(one.labels[e], t.logits(seen).numpy().astype(np.float16))
    assert one.views.dtype == np.uint16
    assert one.nbytes == 4 * 64 + 3 * 16 * (3 * 2 + (10 if cutmix else 5) * 2) + 4
    two = same_as_saved(one, tmp_path)
    items = two.of(None)
    assert len(items) == 48
    image, label = items[2 * 16 + 5]
    torch.testing.assert_close(image, look(x, one.views[2], np.array([5]))[0])
    p = np.exp(one.labels[2, 5].astype(np.float64) / 20)
    np.testing.assert_allclose(label, p / p.sum(), rtol=1e-5)
    with pytest.raises(IndexError):
        items[48]
    again = crop_labels(synthetic(2), t, views, 3, seed=7)
    assert again.views.tobytes() == one.views.tobytes()
    assert again.labels.tobytes() == one.labels.tobytes()
    assert crop_labels(synthetic(2), t, views, 3, seed=8).views.tobytes() != one.views.tobytes()


def test_online_labels_cost_the_weights_of_who_gives_them(tmp_path):
    one = online_labels(synthetic(), teacher(), Views(), {"network": None, "epoch": 2}, 20.0)
    weights = (3 * 16 + 3) * 4
    assert one.info["online"] == {
        "network": None, "epoch": 2, "bytes": weights, "scale": [0.08, 1.0], "flips": False, "cutmix": 1.0,
    }  # fmt: skip
    assert one.nbytes == 4 * 64 + 4 + weights
    assert one.hard.tolist() == [0, 1, 2, 2]
    same_as_saved(one, tmp_path)
    with pytest.raises(ValueError, match=r"no one label; its hard ones are in \.hard"):
        one.of(None)


def test_going_back_to_hard_labels_leaves_nothing_behind():
    soft = crop_labels(synthetic(), teacher(), Views(), 2, seed=0, mix=0.5)
    hard = soft.with_labels(soft.hard, "hard")
    assert (hard.truth, hard.views, hard.mix, hard.temperature) == (None, None, 0.0, 1.0)
    assert hard.nbytes == synthetic().nbytes


def test_what_is_wrong_is_named():
    with pytest.raises(ValueError, match="same classes in another order"):
        fixed_labels(synthetic(), teacher(CLASSES[::-1]))
    with pytest.raises(ValueError, match="NaN or too large for float16 for 4 of 4 images"):
        fixed_labels(synthetic(), teacher(gain=1e9))
    with pytest.raises(ValueError, match="NaN"):
        crop_labels(synthetic(), teacher(gain=float("nan")), Views(), 1, seed=0)
    soft = crop_labels(synthetic(), teacher(), Views(), 2, seed=0)
    for change, words in (
        ({"truth": None}, "truth"),
        ({"views": None}, "views"),
        ({"labels": soft.labels[:, :3]}, r"\(crops, 4, 3\)"),
        ({"mix": 1.5}, "mix"),
        ({"kind": "logits", "labels": soft.labels[0]}, "views"),
    ):
        with pytest.raises(ValueError, match=words):
            replace(soft, **change)
    with pytest.raises(ValueError, match="mix"):
        replace(synthetic(), mix=0.5)
    with pytest.raises(ValueError, match="has hard labels already"):
        replace(synthetic(), truth=np.zeros(4, int))
    with pytest.raises(ValueError, match="describes the teacher"):
        synthetic().with_labels(np.zeros(4, int), "online")
    with pytest.raises(ValueError, match=r"\(4, 3\) or \(16, 3\)"):
        synthetic(2).with_labels(np.zeros((5, 3), np.float32), "logits")
