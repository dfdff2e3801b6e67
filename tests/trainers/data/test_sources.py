from __future__ import annotations

import gzip
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torchvision
from sklearn.datasets import load_digits

from coreset.trainers.data import sources as data_sources
from coreset.trainers.data.sources import (
    DEBIAN_FASHION_MNIST,
    FASHION_FILES,
    cifar10,
    cifar100,
    digits,
    fashion_mnist,
    read_idx,
)

needs_debian = pytest.mark.skipif(
    not DEBIAN_FASHION_MNIST.is_dir(), reason="dataset-fashion-mnist is not installed"
)


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def write_mnist(folder, n=(12, 5), pack=False) -> list[np.ndarray]:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    arrays = []
    for count in n:
        arrays += [
            rng.integers(0, 256, (count, 28, 28), np.uint8),
            rng.integers(0, 10, count, np.uint8),
        ]
    for name, array in zip(FASHION_FILES, arrays, strict=True):
        if pack:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))
    return arrays


def test_digits_are_those_of_sklearn_split_once():
    d = digits()
    assert d.images.shape == (1297, 8, 8, 1)
    assert (np.bincount(d.test_labels) == 50).all()
    raw = load_digits()
    np.testing.assert_array_equal(np.rint(d.images[..., 0] / 255 * 16), raw.images[d.ids])
    np.testing.assert_array_equal(d.labels, raw.target[d.ids])
    rest = np.setdiff1d(np.arange(1797), d.ids)
    np.testing.assert_array_equal(d.test_labels, raw.target[rest])
    assert d.fingerprint == "d04924425145e9da"  # the split never moves
    assert d.augment == "none"


@pytest.mark.parametrize(("inside", "pack"), [("", False), ("", True), ("FashionMNIST/raw", False)])
def test_fashion_mnist_is_found_in_root_first(tmp_path, inside, pack):
    want = write_mnist(tmp_path / inside, pack=pack)
    d = fashion_mnist(str(tmp_path))
    np.testing.assert_array_equal(d.images[..., 0], want[0])
    np.testing.assert_array_equal(d.labels, want[1])
    np.testing.assert_array_equal(d.test_images[..., 0], want[2])
    np.testing.assert_array_equal(d.test_labels, want[3])
    assert d.augment == "crop"  # a shoe that looks the other way is not in the set


@needs_debian
def test_fashion_mnist_of_debian(tmp_path):
    d = fashion_mnist(str(tmp_path))
    assert (d.images.shape, d.test_images.shape) == ((60000, 28, 28, 1), (10000, 28, 28, 1))
    assert (np.bincount(d.labels) == 6000).all()
    np.testing.assert_allclose([*d.mean, *d.std], [0.2860, 0.3530], atol=1e-4)


def test_fashion_mnist_is_downloaded_last(tmp_path, monkeypatch):
    monkeypatch.setattr(data_sources, "DEBIAN_FASHION_MNIST", tmp_path / "none")
    calls = []

    def download(root, train, download):
        assert download
        if not calls:
            write_mnist(tmp_path / "FashionMNIST" / "raw")
        calls.append(train)

    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", download)
    assert len(fashion_mnist(str(tmp_path))) == 12
    assert calls == [True, False]


def test_fashion_mnist_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(data_sources, "DEBIAN_FASHION_MNIST", tmp_path / "none")

    def download(root, train, download):
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")

    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", download)
    with pytest.raises(
        FileNotFoundError,
        match=(
            r"Error downloading.*install the Debian package dataset-fashion-mnist, or set"
            r" data\.root"
        ),
    ):
        fashion_mnist(str(tmp_path))


def test_one_missing_file_is_not_found(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / FASHION_FILES[3]).unlink()
    assert data_sources._idx_files(tmp_path) is None


def test_idx_files_that_are_not_whole(tmp_path):
    path = tmp_path / "x"
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    path.write_bytes(idx(array))
    np.testing.assert_array_equal(read_idx(path), array)
    for bad in (idx(array)[:-1], idx(array) + b"1", idx(array)[:9], idx(array)[:4]):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match="header says shape"):
            read_idx(path)
    path.write_bytes(b"\0\0\x0d\x01" + bytes(8))
    with pytest.raises(ValueError, match="not an idx file"):
        read_idx(path)


@pytest.mark.parametrize(
    ("source", "name", "count"), [(cifar10, "CIFAR10", 10), (cifar100, "CIFAR100", 100)]
)
def test_cifar_through_torchvision(tmp_path, monkeypatch, source, name, count):
    rng = np.random.default_rng(0)

    def dataset(root, train, download):
        n = 30 if train else 10
        return SimpleNamespace(
            data=rng.integers(0, 256, (n, 32, 32, 3), np.uint8),
            targets=[i % count for i in range(n)],
            classes=[f"c{i}" for i in range(count)],
        )

    monkeypatch.setattr(torchvision.datasets, name, dataset)
    d = source(str(tmp_path))
    assert (d.name, len(d.classes), d.augment) == (name.lower(), count, "crop_flip")
    assert d.images.shape == (30, 32, 32, 3)
    assert d.test_labels.tolist() == list(range(10))


def test_cifar_without_network(tmp_path, monkeypatch):
    def refuse(root, train, download):
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", refuse)
    with pytest.raises(
        FileNotFoundError, match=r"CIFAR10: not found in .*no route to host.*data\.root"
    ):
        cifar10(str(tmp_path / "x"))


@needs_debian
def test_a_broken_copy_is_not_passed_over(tmp_path):
    for name in FASHION_FILES:
        shutil.copy(DEBIAN_FASHION_MNIST / f"{name}.gz", tmp_path / f"{name}.gz")
    path = tmp_path / f"{FASHION_FILES[1]}.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises((EOFError, ValueError)):
        fashion_mnist(str(tmp_path))
