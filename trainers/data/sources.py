"""Known image data sets: digits (inside scikit-learn), Fashion-MNIST, CIFAR-10, CIFAR-100."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.numerics.random import keyed_uniform
from coreset.trainers.data.base import ImageData

DEBIAN_FASHION_MNIST = Path(
    "/usr/share/datasets/fashion-mnist"
)  # where the Debian package dataset-fashion-mnist puts it
FASHION_CLASSES = (
    "T-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
FASHION_FILES = tuple(
    f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
)


def digits() -> ImageData:
    """Return the 1,797 handwritten 8 x 8 digits of scikit-learn: a pool of 1,297 and a test set of
    500, 50 of each class, always the same ones.

    E. Alpaydin & C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
    Repository, 1998. Their 0 .. 16 becomes 0 .. 255; ids are scikit-learn's positions.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.int64)
    key = keyed_uniform(0, np.arange(len(labels)))
    test = np.zeros(len(labels), bool)
    for label in range(10):
        rows = np.flatnonzero(labels == label)
        test[rows[key[rows].argsort(kind="stable")[:50]]] = True
    return ImageData(
        "digits",
        images[~test],
        labels[~test],
        images[test],
        labels[test],
        tuple("0123456789"),
        ids=np.flatnonzero(~test),
    )


def fashion_mnist(root: str = "data") -> ImageData:
    """Return Fashion-MNIST: 60,000 gray 28 x 28 photos of clothing in 10 classes, 10,000 more for
    the test.

    Xiao, Rasul & Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
    Algorithms", 2017 (arXiv:1708.07747). Taken from `root` (the four idx files, plain or .gz, there
    or in FashionMNIST/raw), else from the Debian package dataset-fashion-mnist, else downloaded
    into `root`.
    """
    folders = [Path(root), Path(root) / "FashionMNIST" / "raw", DEBIAN_FASHION_MNIST]
    idx = next((files for folder in folders if (files := _idx_files(folder))), None)
    if idx is None:
        advice = (
            "install the Debian package dataset-fashion-mnist, or set data.root to a folder with"
            " its four idx files"
        )
        _torchvision("FashionMNIST", root, advice)
        idx = _idx_files(folders[1])
        assert idx is not None, "torchvision has checked the files"
    images, test_images = (read_idx(idx[i])[..., None] for i in (0, 2))
    labels, test_labels = (read_idx(idx[i]).astype(np.int64) for i in (1, 3))
    return ImageData(
        "fashion_mnist", images, labels, test_images, test_labels, FASHION_CLASSES, augment="crop"
    )


def cifar10(root: str = "data") -> ImageData:
    """Return CIFAR-10: 50,000 color 32 x 32 photos in 10 classes, 10,000 more for the test; read by
    torchvision from `root`, downloaded when not there.

    Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """
    return _cifar("CIFAR10", root)


def cifar100(root: str = "data") -> ImageData:
    """Return CIFAR-100: as CIFAR-10, with 100 classes of 500 photos."""
    return _cifar("CIFAR100", root)


def _cifar(name: str, root: str) -> ImageData:
    train, test = _torchvision(
        name, root, f"set data.root to a folder where torchvision finds {name}"
    )
    labels, test_labels = np.array(train.targets, np.int64), np.array(test.targets, np.int64)
    return ImageData(
        name.lower(),
        train.data,
        labels,
        test.data,
        test_labels,
        tuple(train.classes),
        augment="crop_flip",
    )


def _torchvision(name: str, root: str, advice: str) -> tuple[Any, Any]:
    """Return torchvision's train and test part, downloaded into `root` when not there;
    FileNotFoundError with `advice` when that fails.
    """
    from torchvision import datasets

    try:
        train, test = (
            getattr(datasets, name)(root, train=part, download=True) for part in (True, False)
        )
    # no network, a wrong checksum, a folder that cannot be written
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"{name}: not found in {root!r} and the download failed ({error}); {advice}"
        ) from error
    return train, test


def _idx_files(folder: Path) -> list[Path] | None:
    """Return the four files of a data set in MNIST's format, plain before .gz, or None when one is
    missing.
    """
    choices = [
        [p for p in (folder / name, folder / f"{name}.gz") if p.is_file()] for name in FASHION_FILES
    ]
    return [c[0] for c in choices] if all(choices) else None


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Return the array in an idx file of bytes (MNIST's format; .gz is unpacked). Raises ValueError
    when the file is not one, or not whole.

    Four bytes say: 0, 0, 8 (unsigned bytes), number of axes; then the length of each axis, four
    bytes big-endian; then the values.
    """
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise ValueError(f"{path}: not an idx file of unsigned bytes")
    axes = data[3]
    shape = tuple(np.frombuffer(data, ">u4", axes, 4).tolist()) if len(data) >= 4 + 4 * axes else ()
    if not shape or len(data) != 4 + 4 * axes + int(np.prod(shape)):
        raise ValueError(
            f"{path}: the header says shape {shape}, but the file holds {len(data)} bytes"
        )
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)
