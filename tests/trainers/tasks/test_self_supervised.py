"""Networks that the pool itself teaches, on the digits of scikit-learn."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from coreset.core.store import Store
from coreset.trainers.data.base import ImageData, exchanged
from coreset.trainers.data.sources import digits
from coreset.trainers.learners.probe import Probe
from coreset.trainers.tasks import self_supervised
from coreset.trainers.tasks.features import Pixels
from coreset.trainers.tasks.self_supervised import SelfSupervised, embed, pool_and_test

pytest.importorskip("lightly")
DATA = digits()
FEW = SelfSupervised(steps=6, batch_size=32, width=8, projection=32, save_every=2)


def accuracy(pool, test, per_class=10):
    """Return the accuracies of a linear probe and of 5 nearest neighbors, both of scikit-learn, of
    a few labels.
    """
    rng = np.random.default_rng(0)
    rows = np.concatenate(
        [rng.choice(np.flatnonzero(DATA.labels == c), per_class, replace=False) for c in range(10)]
    )
    scale = pool.std(axis=0) + 1e-6
    x, z, y = pool[rows] / scale, test / scale, DATA.labels[rows]
    models = LogisticRegression(max_iter=2000), KNeighborsClassifier(5)
    return [m.fit(x, y).score(z, DATA.test_labels) for m in models]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["vicreg", "simclr"])
def test_training_beats_the_untrained_network(method, tmp_path):
    views = {"hf_prob": 0.0, "min_scale": 0.4}
    size = {"steps": 60, "batch_size": 96, "width": 32, "projection": 512}
    network = SelfSupervised(method, transform=views, **size)
    store = Store(tmp_path)
    trained = accuracy(*pool_and_test(network, DATA, store, exchanged(DATA)))
    raw = network.untrained(DATA)
    untrained = accuracy(
        *(embed(raw, x, DATA, torch.device("cpu")) for x in (DATA.images, DATA.test_images))
    )
    pixels = accuracy(*pool_and_test(Pixels(), DATA, store, exchanged(DATA)))
    print(method, "linear, 5-NN:", trained, "untrained", untrained, "pixels", pixels)
    assert trained[0] > untrained[0] + 0.02
    assert trained[1] > untrained[1] + 0.02
    assert trained[1] > pixels[1]


def test_what_is_there_is_not_trained_again_and_labels_play_no_part(tmp_path, monkeypatch):
    store = Store(tmp_path)
    first = np.array(FEW(DATA, store))
    assert first.shape == (len(DATA), 32)
    monkeypatch.setattr(SelfSupervised, "_step", None)
    hidden = replace(DATA, labels=np.full(len(DATA), -1))
    np.testing.assert_array_equal(FEW(hidden, store), first)
    test = FEW.test(DATA, store)  # of the same network
    assert test.shape == (len(DATA.test_images), 32)
    model = FEW._trained(DATA, store, FEW.key(DATA), torch.device("cpu"))
    np.testing.assert_array_equal(test, embed(model, DATA.test_images, DATA, torch.device("cpu")))
    assert replace(FEW, workers=2, save_every=9, device="cpu").key(DATA) == FEW.key(DATA)
    assert replace(FEW, seed=1).key(DATA) != FEW.key(DATA)


@pytest.mark.parametrize("method", ["vicreg", "simclr"])
def test_a_killed_training_goes_on_to_the_same_bytes(method, tmp_path, monkeypatch):
    network = replace(FEW, method=method)
    whole = np.array(network(DATA, Store(tmp_path / "whole")))
    step, done = SelfSupervised._step, []

    def killed(self, *arguments):
        done.append(arguments[4])
        if len(done) == 4:
            raise KeyboardInterrupt
        step(self, *arguments)

    monkeypatch.setattr(SelfSupervised, "_step", killed)
    with pytest.raises(KeyboardInterrupt):
        network(DATA, Store(tmp_path / "cut"))
    np.testing.assert_array_equal(network(DATA, Store(tmp_path / "cut")), whole)
    assert done == [0, 1, 2, 3, 2, 3, 4, 5]  # from the last state on
    assert not np.array_equal(replace(network, seed=1)(DATA, Store(tmp_path / "other")), whole)


def test_the_answer_knows_nothing_of_workers_or_of_other_random_numbers(tmp_path):
    torch.manual_seed(3)
    before = torch.random.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    first = np.array(FEW(DATA, Store(tmp_path / "a")))
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002
    np.random.seed(7)  # noqa: NPY002
    second = replace(FEW, workers=1)(DATA, Store(tmp_path / "b"))
    np.testing.assert_array_equal(first, second)


def test_every_image_is_seen_once_a_pass():
    plan = list(self_supervised._Plan(10, 3, 0, 0, 7))
    assert [len(b) for b in plan] == [3] * 7
    assert [number for b in plan for number, _ in b] == [0] * 9 + [1] * 9 + [2] * 3
    assert len({row for b in plan[:3] for _, row in b}) == 9
    assert list(self_supervised._Plan(10, 3, 0, 4, 7)) == plan[4:]


def test_a_probe_reads_them(tmp_path):
    learner = Probe().learner(DATA, FEW, Store(tmp_path))
    learner.fit(np.arange(100), DATA.labels, seed=(0,))
    assert learner.test()["accuracy"] > 0.3


def test_colors_and_networks_of_timm(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
    data = ImageData("noise", images, np.zeros(8, np.int64), images[:2], np.zeros(2, np.int64), ("a", "b"))  # fmt: skip
    network = replace(FEW, encoder="resnet10t", steps=1)
    assert network(data, Store(tmp_path)).shape == (8, 512)


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"method": "byol"}, ValueError, "method: expected vicreg or simclr, got 'byol'"),
        ({"batch_size": 1}, ValueError, "batch_size: expected a whole number from 2, got 1"),
        ({"steps": 0}, ValueError, "steps: expected a whole number from 1"),
        ({"lr": 0}, ValueError, "expected lr above 0"),
        ({"encoder": "resnet"}, ValueError, "encoder: 'resnet' is neither small_cnn nor in timm"),
        ({"transform": {"flip": 1}}, ValueError, "transform: lightly's SimCLRTransform refuses"),
    ],
)
def test_bad_settings_are_named(changed, error, words):
    with pytest.raises(error, match=words):
        replace(FEW, **changed).check(DATA)


def test_images_that_cannot_work_are_named_before_training(tmp_path, monkeypatch):
    def of(shape):
        images = np.zeros(shape, np.uint8)
        return ImageData("x", images, np.zeros(shape[0], np.int64), images[:0], np.zeros(0, np.int64), ("a", "b"))  # fmt: skip

    for shape, words in (
        ((4, 16, 16, 2), "expected images of 1 or 3 channels, got 2"),
        ((1, 16, 16, 1), "at least two images, got 1"),
        ((4, 96, 96, 3), "from 8 x 8 to 64 x 64 pixels, these have 96 x 96; name a model of timm"),
    ):
        with pytest.raises(ValueError, match=words):
            FEW(of(shape), Store(tmp_path))
    monkeypatch.setattr(self_supervised, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'coreset-lightning\[ssl\]'"):
        FEW.check(DATA)
    assert not list(tmp_path.iterdir())


def test_a_loss_that_explodes_stops_in_words(tmp_path, monkeypatch):
    class Broken(torch.nn.Module):
        def forward(self, a, b):
            return (a - b).sum() * float("inf")

    monkeypatch.setattr(SelfSupervised, "_loss", lambda self: Broken())
    with pytest.raises(ValueError, match="lr: the loss is .* at step 0; lower 0.001"):
        FEW(DATA, Store(tmp_path))
