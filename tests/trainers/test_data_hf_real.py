"""The `datasets` library itself, offline: what test_data_hf.py checks with a stand-in."""

import warnings

import numpy as np
import pytest
from PIL import Image

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    datasets = pytest.importorskip(
        "datasets", reason='needs the extra hf: pip install "coreset-lightning[hf]"'
    )

from coreset.trainers.data.hugging_face import hf_dataset


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (20, 24, 3), dtype=np.uint8) for _ in range(12)]


@pytest.mark.filterwarnings("ignore")
def test_saved_to_disk(tmp_path, pictures):
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    )
    splits = {
        name: datasets.Dataset.from_dict(
            {
                "image": [Image.fromarray(p) for p in pictures[a:b]],
                "label": [i % 2 for i in range(a, b)],
            },
            features=features,
        )
        for name, a, b in (("train", 0, 8), ("test", 8, 12))
    }
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "saved")
    data = hf_dataset(str(tmp_path / "saved"), size=16, cache=str(tmp_path / "cache"))
    assert data.images.shape == (8, 16, 16, 3)
    assert data.classes == ("cat", "dog")
    assert data.labels.tolist() == [0, 1] * 4
    assert data.test_labels.tolist() == [0, 1] * 2


@pytest.mark.filterwarnings("ignore")
def test_a_folder_of_images(tmp_path, pictures, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for i, p in enumerate(pictures):
        folder = tmp_path / "folder" / ("train" if i < 8 else "test") / ("cat", "dog")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(p).save(folder / f"{i:02d}.png")
    data = hf_dataset(str(tmp_path / "folder"), size=16, cache=str(tmp_path / "cache"))
    assert len(data.images) == 8
    assert sorted(data.labels.tolist()) == [0] * 4 + [1] * 4
