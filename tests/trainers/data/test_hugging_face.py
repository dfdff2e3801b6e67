from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from coreset.trainers.data.hugging_face import hf_dataset


class Split:
    """What `datasets.Dataset` offers of it here: columns by name, rows by position, images decoded
    when read.
    """

    def __init__(self, columns: dict, names: list[str] | None):
        self.columns = columns
        self.features = {name: SimpleNamespace() for name in columns}
        if names:
            self.features["label"] = SimpleNamespace(names=names)
        self._fingerprint = repr(
            {
                k: [str(getattr(x, "getdata", lambda x=x: x)()) for x in v]
                for k, v in columns.items()
                if k == "label"
            }
        )

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, what):
        if isinstance(what, str):
            return self.columns[what]
        row = {name: values[what] for name, values in self.columns.items()}
        for value in row.values():
            if isinstance(value, Exception):
                raise value
        return row

    def select_columns(self, names):
        return Split({name: self.columns[name] for name in names}, None)


def split(n: int, first: int = 0, names=("cat", "dog"), labels=None) -> Split:
    images = [Image.new("RGB", (12, 10), (first + i, 0, 0)) for i in range(n)]
    labels = [i % 2 for i in range(n)] if labels is None else labels
    return Split(
        {"image": images, "label": labels, "text": [ValueError("never read")] * n}, list(names)
    )


@pytest.fixture
def hub(monkeypatch):
    """Return a dictionary of paths that stands in for the `datasets` library."""
    known: dict = {}
    module = ModuleType("datasets")
    module.load_dataset = lambda path: known[path]
    module.load_from_disk = lambda path: known["disk " + path]
    monkeypatch.setitem(sys.modules, "datasets", module)
    return known


def load(tmp_path, path="someone/pets", **options):
    return hf_dataset(path, size=8, cache=str(tmp_path / "cache"), **options)


def test_splits_of_the_hub(tmp_path, hub):
    hub["someone/pets"] = {"train": split(6), "test": split(4, 100)}
    d = load(tmp_path)
    assert (d.name, d.classes) == ("pets", ("cat", "dog"))
    assert d.images.shape == (6, 8, 8, 3)
    assert d.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert d.test_images[:, 0, 0, 0].tolist() == [100, 101, 102, 103]
    assert d.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert d.ids.tolist() == list(range(6))


def test_a_share_of_train_is_the_test_set(tmp_path, hub):
    labels = [i % 2 for i in range(99)] + [None]
    hub["someone/pets"] = {"train": split(100, labels=labels)}
    d = load(tmp_path, test=None)
    assert len(d.images) + len(d.test_images) == 100
    assert 8 <= len(d.test_images) <= 32
    assert d.images[:, 0, 0, 0].tolist() == d.ids.tolist()
    # the unlabeled one stays in the pool
    assert d.labels.tolist() == [-1 if i == 99 else i % 2 for i in d.ids]
    assert not set(d.test_images[:, 0, 0, 0].tolist()) & set(d.ids.tolist())


def test_saved_to_disk(tmp_path, hub):
    folder = tmp_path / "pets"
    folder.mkdir()
    (folder / "state.json").write_text("{}")
    hub[f"disk {folder}"] = split(40)  # a single split
    d = load(tmp_path, str(folder), test=None)
    assert (d.name, len(d.images) + len(d.test_images)) == ("pets", 40)


def test_broken_images(tmp_path, hub):
    train = split(6)
    train.columns["image"][2] = OSError("cut short")
    hub["someone/pets"] = {"train": train, "test": split(4)}
    with pytest.raises(
        ValueError, match=r"1 of 10 images cannot be read, first: train\[2\] \(OSError: cut short\)"
    ):
        load(tmp_path)
    with pytest.warns(UserWarning, match=r"train\[2\]"):
        d = load(tmp_path, on_corrupt="skip")
    assert d.ids.tolist() == [0, 1, 3, 4, 5]
    assert d.images[:, 0, 0, 0].tolist() == [0, 1, 3, 4, 5]
    assert d.labels.tolist() == [0, 1, 1, 0, 1]
    assert len(d.test_images) == 4


def test_plain_numbers_as_labels(tmp_path, hub):
    parts = {"train": split(6, labels=[0, 1, 2] * 2), "test": split(3, labels=[0, 1, 2])}
    for part in parts.values():
        part.features["label"] = SimpleNamespace(dtype="int64")
    hub["someone/pets"] = parts
    assert load(tmp_path).classes == ("0", "1", "2")


def test_errors(tmp_path, hub):
    hub["someone/pets"] = {"train": split(6), "validation": split(4)}
    with pytest.raises(KeyError, match="no split 'test'; present: train, validation"):
        load(tmp_path)
    with pytest.raises(KeyError, match="no column 'img'; present: image, label, text"):
        load(tmp_path, test="validation", image="img")
    hub["someone/pets"] = {"train": split(2, labels=["cat", "dog"]), "test": split(2)}
    with pytest.raises(TypeError, match="label: expected whole numbers"):
        load(tmp_path)


def test_without_the_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r'pip install "coreset-lightning\[hf\]"'):
        load(tmp_path)


def test_nothing_is_in_the_wrong_row(tmp_path, hub):
    hub["someone/pets"] = {"train": split(50)}
    d = load(tmp_path, test=None, test_share=0.5)
    np.testing.assert_array_equal(d.images[:, 0, 0, 0] % 2, d.labels)
    np.testing.assert_array_equal(d.test_images[:, 0, 0, 0] % 2, d.test_labels)
