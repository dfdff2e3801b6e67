from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import get_method, instantiate
from omegaconf import OmegaConf
from torch import nn

from coreset.distillation.nn.layers import last_linear
from coreset.trainers.data.sources import digits
from coreset.trainers.tasks.models import linear, mlp, small_cnn, timm_model

CONF = Path(__file__).parents[3] / "conf"


@pytest.mark.parametrize("path", sorted((CONF / "model").glob("*.yaml")), ids=lambda p: p.stem)
def test_configs_hold_the_parameters_and_their_defaults(path):
    conf = OmegaConf.to_container(OmegaConf.load(path))
    assert conf.pop("_partial_") is True
    own = list(inspect.signature(get_method(conf.pop("_target_"))).parameters.values())
    assert [p.name for p in own[:3]] == ["num_classes", "in_channels", "image_size"]
    assert conf == {p.name: p.default for p in own[3:]}


@pytest.mark.parametrize("path", sorted((CONF / "data").glob("*.yaml")), ids=lambda p: p.stem)
def test_data_configs_hold_the_parameters_and_their_defaults(path):
    conf = OmegaConf.to_container(OmegaConf.load(path))
    own = inspect.signature(get_method(conf.pop("_target_"))).parameters.values()
    assert conf == {p.name: "???" if p.default is p.empty else p.default for p in own}


@pytest.mark.parametrize("name", ["small_cnn", "mlp", "linear"])
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (1, 28), (3, 32), (3, 64)])
def test_every_size(name, channels, size):
    factory = instantiate(OmegaConf.load(CONF / "model" / f"{name}.yaml"), _convert_="all")
    model = factory(num_classes=7, in_channels=channels, image_size=size)
    out = model(torch.rand(2, channels, size, size))
    assert out.shape == (2, 7)
    assert last_linear(model).out_features == 7


@pytest.mark.parametrize("factory", [small_cnn, mlp])
def test_dropout_stands_before_the_last_layer(factory):
    model = factory(num_classes=3, in_channels=1, image_size=8, width=8, dropout=0.5).eval()
    x = torch.rand(4, 1, 8, 8)
    assert torch.equal(model(x), model(x))
    modules = list(model)
    assert isinstance(modules[-2], nn.Dropout)
    modules[-2].train()
    assert not torch.equal(model(x), model(x))


def test_last_linear():
    model = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 4)), nn.ReLU())
    assert last_linear(model) is model[1][0]
    with pytest.raises(
        ValueError, match=r"Sequential: expected a model that ends in an nn\.Linear"
    ):
        last_linear(nn.Sequential(nn.Conv2d(1, 1, 1)))


def test_small_cnn_refuses_tiny_images():
    with pytest.raises(ValueError, match="at least 4 pixels"):
        small_cnn(10, 1, 2)


def test_timm_with_the_stem_for_small_images():
    model = timm_model(5, 1, 8, "resnet18", drop_rate=0.3, stem="cifar")
    assert model.conv1.stride == (1, 1)
    assert model.conv1.in_channels == 1
    maps = []
    model.layer1.register_forward_hook(lambda *a: maps.append(a[-1].shape))
    assert model(torch.rand(2, 1, 8, 8)).shape == (2, 5)
    assert maps == [(2, 64, 8, 8)]  # as large as the image
    assert last_linear(model).in_features == 512


def test_timm_sizes_a_transformer():
    model = timm_model(4, 3, 32, "vit_tiny_patch16_224")
    assert model(torch.rand(1, 3, 32, 32)).shape == (1, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "resnet19"}, "timm has no model 'resnet19'"),
        ({"name": "resnet"}, "near: "),
        ({"stem": "small"}, "stem: expected default or cifar"),
        ({"name": "mobilenetv3_small_050", "stem": "cifar"}, "stem: cifar is for ResNets"),
    ],
)
def test_timm_errors(options, message):
    with pytest.raises(ValueError, match=message):
        timm_model(5, 3, 32, **options)


@pytest.fixture
def quiet():
    """Set a seed and one thread: small steps on many threads wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
    torch.set_num_threads(threads)


def accuracy(model: nn.Module, epochs: int) -> float:
    data = digits()
    x, tx = (
        torch.from_numpy(
            (im.transpose(0, 3, 1, 2).astype(np.float32) / 255 - data.mean[0]) / data.std[0]
        ).float()
        for im in (data.images, data.test_images)
    )
    y, ty = torch.from_numpy(data.labels), torch.from_numpy(data.test_labels)
    steps = epochs * (len(x) // 64)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(x))[: len(x) // 64 * 64].view(-1, 64):
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        return (model(tx).argmax(1) == ty).float().mean().item()


@pytest.mark.usefixtures("quiet")
def test_small_cnn_learns_digits():
    assert accuracy(small_cnn(10, 1, 8), 8) > 0.98


@pytest.mark.usefixtures("quiet")
def test_linear_learns_digits():
    assert accuracy(linear(10, 1, 8), 10) > 0.85


@pytest.mark.parametrize("channels", [1, 3])
def test_packaged_weights_are_found_without_a_network(channels, monkeypatch):
    from coreset.scorers.image.backbone import backbone

    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("asked the network"))
    model = timm_model(7, channels, 64, "tf_efficientnet_lite0", pretrained=True).eval()
    whole = backbone("tf_efficientnet_lite0")[0]
    x = torch.rand(2, channels, 64, 64)
    assert model(x).shape == (2, 7)
    expected = whole.conv_stem(x.expand(2, 3, 64, 64))
    with torch.no_grad():
        assert torch.allclose(model.conv_stem(x), expected, atol=1e-4)
        assert torch.equal(model.conv_head.weight, whole.conv_head.weight)
