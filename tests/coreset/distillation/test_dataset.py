import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from coreset.distillation import Synthetic

CLASSES = ("cat", "dog", "T-shirt/top")
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)


def synthetic(kind="hard", dtype=np.float32, decode=1, **rest):
    rng = np.random.default_rng(0)
    images = (
        rng.normal(size=(6, 3, 8, 8)).astype(dtype)
        if dtype != np.uint8
        else rng.integers(0, 256, (6, 3, 8, 8), np.uint8)
    )
    labels = np.repeat([0, 1, 2], 2)
    if kind != "hard":
        labels = (
            rng.normal(size=(6, 3)).astype(np.float32) + 4 * np.eye(3, dtype=np.float32)[labels]
        )
    if kind == "probs":
        labels = np.exp(labels) / np.exp(labels).sum(1, keepdims=True)
    space = "pixels" if dtype == np.uint8 else "normalized"
    info = {
        "method": "Dm",
        "configuration": {"steps": 3},
        "seed": 4,
        "data": {"name": "x", "fingerprint": "ab"},
        "recipe": {"lr": 0.1},
        "variant": "fresh",
    }
    return Synthetic(images, labels, CLASSES, MEAN, STD, space, decode, kind, info=info, **rest)


@pytest.mark.parametrize("kind", ["hard", "probs", "logits"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8])
def test_comes_back_as_it_was(tmp_path, kind, dtype):
    one = synthetic(kind, dtype, 2, temperature=4.0)
    two = Synthetic.load(one.save(tmp_path / "set"))
    assert sorted(p.name for p in (tmp_path / "set").iterdir()) == [
        "images.safetensors",
        "labels.safetensors",
        "manifest.json",
    ]
    assert one.images.dtype == two.images.dtype
    np.testing.assert_array_equal(one.images, two.images)
    np.testing.assert_array_equal(one.labels, two.labels)
    assert one.labels.dtype == two.labels.dtype
    for name in ("classes", "mean", "std", "space", "decode", "kind", "temperature", "info"):
        assert getattr(one, name) == getattr(two, name), name


def test_the_manifest_says_what_it_takes_to_train_on_it(tmp_path):
    one = synthetic("logits", decode=2, temperature=20.0)
    one.save(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["format"] == 1
    assert manifest["method"] == "Dm"
    assert manifest["configuration"] == {"steps": 3}
    assert manifest["seed"] == 4
    assert manifest["data"]["fingerprint"] == "ab"
    assert manifest["recipe"] == {"lr": 0.1}
    assert manifest["classes"] == list(CLASSES)
    assert manifest["image"] == {
        "count": 6, "channels": 3, "size": 8, "dtype": "float32", "space": "normalized", "mean": list(MEAN), "std": list(STD), "decode": 2,
    }  # fmt: skip
    assert manifest["label"] == {
        "kind": "logits",
        "dtype": "float32",
        "temperature": 20.0,
        "mix": 0.0,
    }
    stored = sum(
        v.nbytes
        for n in ("images", "labels")
        for v in load_file(tmp_path / f"{n}.safetensors").values()
    )
    assert manifest["bytes"] == stored == one.nbytes == one.budget["bytes"]


def test_a_hard_label_costs_one_byte_of_few_classes(tmp_path):
    one = synthetic()
    one.save(tmp_path)
    assert load_file(tmp_path / "labels.safetensors")["labels"].dtype == np.uint8
    assert one.nbytes == 6 * 3 * 64 * 4 + 6
    assert one.budget == {"ipc": 2, "images": 6, "bytes": one.nbytes, "trained_images": 6}


def test_another_format_a_hole_and_a_lie_are_refused(tmp_path):
    synthetic().save(tmp_path)
    path = tmp_path / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "format": 2}))
    with pytest.raises(ValueError, match="format 2, this version reads format 1"):
        Synthetic.load(tmp_path)
    path.write_text(json.dumps({**manifest, "image": {**manifest["image"], "size": 9}}))
    with pytest.raises(ValueError, match=r"manifest says float32 images \(6, 3, 9, 9\)"):
        Synthetic.load(tmp_path)
    path.write_text(json.dumps(manifest))
    save_file({"other": np.zeros(1)}, tmp_path / "labels.safetensors")
    with pytest.raises(ValueError, match="not a readable distilled set"):
        Synthetic.load(tmp_path)
    (tmp_path / "labels.safetensors").unlink()
    with pytest.raises(ValueError, match=r"labels.safetensors is missing"):
        Synthetic.load(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no manifest.json"):
        Synthetic.load(tmp_path / "nowhere")
    path.write_text("[1")
    with pytest.raises(ValueError, match="not a manifest"):
        Synthetic.load(tmp_path)


def test_pixels_and_normalized_are_one_scale():
    one = synthetic(dtype=np.uint8)
    np.testing.assert_allclose(one.pixels(), one.images.transpose(0, 2, 3, 1), atol=1e-3)
    x = (one.images / 255 - np.reshape(MEAN, (1, 3, 1, 1))) / np.reshape(STD, (1, 3, 1, 1))
    np.testing.assert_allclose(one.normalized(), x, rtol=1e-5, atol=1e-5)


def test_targets_are_softened_by_the_temperature_and_shared_by_the_cells():
    one = synthetic("logits", decode=2, temperature=2.0)
    z = one.labels.astype(np.float64) / 2
    want = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    got = one.targets()
    assert got.shape == (24, 3)
    for i in range(24):
        np.testing.assert_allclose(got[i], want[i // 4], rtol=1e-6)
    assert one.hard.tolist() == [0, 0, 1, 1, 2, 2]


def test_stands_in_for_a_dataset():
    one = synthetic("probs", decode=2)

    class Real(torch.utils.data.Dataset):
        classes = CLASSES

        def __init__(self, shape=(3, 8, 8)):
            self.shape = shape

        def __getitem__(self, index):
            return torch.zeros(self.shape), 0

    got = one.of(Real())
    assert len(got) == 24
    image, label = got[5]
    assert image.shape == (3, 8, 8)
    assert label.shape == (3,)
    assert synthetic().of(Real((8, 8, 3)))[2][1] == 1
    with pytest.raises(ValueError, match=r"\(1, 8, 8\)"):
        one.of(Real((1, 8, 8)))
    Real.classes = ("dog", "cat", "T-shirt/top")
    with pytest.raises(ValueError, match="in this order"):
        one.of(Real())


def test_image_folder_keeps_the_label_order(tmp_path):
    from PIL import Image

    one = synthetic(decode=2)
    one.export(tmp_path / "out")
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["0_cat", "1_dog", "2_T-shirt_top"]
    files = sorted((tmp_path / "out" / "1_dog").iterdir())
    assert len(files) == 8
    want = np.clip(np.rint(one.pixels()[8]), 0, 255)
    np.testing.assert_array_equal(np.asarray(Image.open(files[0])), want)
    with pytest.raises(ValueError, match="not empty"):
        one.export(tmp_path / "out")


WRONG = [
    ({"images": np.zeros((2, 3, 4, 5), np.float32)}, "square"),
    ({"images": np.full((6, 3, 8, 8), np.nan, np.float32)}, "NaN"),
    ({"labels": np.array([0, 1])}, "6 whole numbers"),
    ({"labels": np.full(6, 3)}, r"0 \.\. 2"),
    ({"classes": ("a", "a", "b")}, "different names"),
    ({"std": (0.0, 1.0, 1.0)}, "std"),
    ({"decode": 9}, "decode"),
    ({"temperature": 0.0}, "temperature"),
    ({"space": "raw"}, "space"),
    ({"kind": "probs", "labels": np.full((6, 3), 0.5, np.float32)}, "summing to 1"),
    ({"kind": "logits", "labels": np.zeros((6, 2), np.float32)}, r"\(6, 3\)"),
    ({"images": np.zeros((6, 3, 8, 8), np.uint8)}, "uint8"),
]


@pytest.mark.parametrize(("change", "words"), WRONG)
def test_what_is_wrong_is_named(change, words):
    from dataclasses import replace

    with pytest.raises(ValueError, match=words):
        replace(synthetic(), **change)
