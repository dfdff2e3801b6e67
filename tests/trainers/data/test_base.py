from __future__ import annotations

import numpy as np
import pytest

from coreset.trainers.data.base import ImageData, channel_stats, split_test


def data_of(n: int = 6, **changed):
    rng = np.random.default_rng(0)
    fields = {
        "name": "d",
        "images": rng.integers(0, 256, (n, 4, 4, 3), np.uint8),
        "labels": np.arange(n) % 2,
        "test_images": rng.integers(0, 256, (2, 4, 4, 3), np.uint8),
        "test_labels": np.array([0, 1]),
        "classes": ("a", "b"),
    }
    return ImageData(**{**fields, **changed})


def test_stats_are_those_of_float64():
    x = np.random.default_rng(1).integers(0, 256, (50, 5, 5, 2), np.uint8)
    x[..., 1] = 7
    mean, std = channel_stats(x)
    want = x.astype(np.float64) / 255
    np.testing.assert_allclose(mean, want.mean(axis=(0, 1, 2)))
    # a constant channel is not divided by zero
    np.testing.assert_allclose(std, [want[..., 0].std(), 1.0])


def test_stats_of_blocks(tmp_path):
    # more than one block
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.uint8, (70, 256, 256, 1))
    x[:] = np.random.default_rng(1).integers(0, 256, x.shape, np.uint8)
    np.testing.assert_allclose(channel_stats(x)[1][0], (np.asarray(x) / 255).std())


def test_defaults():
    d = data_of()
    assert len(d) == 6
    assert d.ids.tolist() == list(range(6))
    assert d.labels.dtype == np.int64
    np.testing.assert_allclose(d.mean, (d.images / 255).mean(axis=(0, 1, 2)))
    assert data_of(labels=[0, -1, 1, 0, -1, 1]).labels[1] == -1


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        (
            {"labels": [0, 1, 2, 0, 9, 1]},
            ValueError,
            "labels: 2 lie outside -1 .. 1, first 2 at position 2",
        ),
        (
            {"test_labels": [0, -1]},
            ValueError,
            "test_labels: 1 lie outside 0 .. 1, first -1 at position 1",
        ),
        ({"labels": np.zeros(6)}, TypeError, "labels: expected whole numbers, got float64"),
        ({"labels": [0, 1]}, ValueError, r"labels: expected shape \(6,\)"),
        ({"images": np.zeros((6, 4, 4, 3))}, TypeError, "images: expected uint8"),
        (
            {"images": np.zeros((6, 4, 4), np.uint8)},
            ValueError,
            "images: expected at least one image",
        ),
        (
            {"images": np.zeros((6, 4, 5, 3), np.uint8)},
            ValueError,
            "expected square images, got 4 x 5",
        ),
        (
            {"test_images": np.zeros((0, 4, 4, 3), np.uint8)},
            ValueError,
            r"test_labels: expected shape \(0,\)",
        ),
        (
            {"test_images": np.zeros((2, 8, 8, 3), np.uint8)},
            ValueError,
            r"test_images: shape \(8, 8, 3\)",
        ),
        ({"classes": ("a",)}, ValueError, "classes: expected at least two"),
        ({"classes": ("a", "a")}, ValueError, "classes: expected at least two different"),
        ({"mean": (0.5,), "std": (1.0,)}, ValueError, "expected 3 of each"),
        ({"mean": (0.5,) * 3, "std": (1.0, 0.0, 1.0)}, ValueError, "std above 0"),
        ({"ids": np.arange(5)}, ValueError, r"ids: expected shape \(6,\)"),
        ({"augment": "flip"}, ValueError, "augment: expected one of none, crop, crop_flip"),
    ],
)
def test_errors_name_the_field(changed, error, message):
    with pytest.raises(error, match=message):
        data_of(**changed)


def test_fingerprint_is_of_the_content():
    d = data_of()
    assert d.fingerprint == data_of(name="other").fingerprint
    other = d.images.copy()
    other[3, 0, 0, 0] ^= 1
    stats = {"mean": d.mean, "std": d.std}
    differ = [
        data_of(images=other, **stats),
        data_of(labels=[1, 1, 0, 1, 0, 1]),
        data_of(classes=("b", "a")),
        data_of(ids=np.arange(6) + 1),
    ]
    assert len({d.fingerprint, *(x.fingerprint for x in differ)}) == 5
    # not read again
    assert (
        data_of(content="abc").fingerprint
        == data_of(content="abc", images=other, **stats).fingerprint
    )


def test_split_does_not_move_when_examples_are_added():
    rng = np.random.default_rng(0)
    ids = np.array([f"a/{i}.png" for i in range(3000)])
    labels = rng.integers(0, 3, 3000)
    before = split_test(labels[:2000], ids[:2000], 0.2)
    shuffled = rng.permutation(3000)
    after = split_test(labels[shuffled], ids[shuffled], 0.2)
    assert set(ids[:2000][before]) == set(ids[shuffled][after]) & set(ids[:2000])
    for label in range(3):
        assert abs(before[labels[:2000] == label].mean() - 0.2) < 0.05


def test_split_gives_every_class_both_sides():
    labels = np.repeat(np.arange(50), 2)
    test = split_test(labels, np.arange(100), 0.01)
    assert (np.bincount(labels[test], minlength=50) == 1).all()
    test = split_test(labels, np.arange(100), 0.99)
    assert (np.bincount(labels[~test], minlength=50) == 1).all()
    with pytest.raises(ValueError, match="test_share"):
        split_test(labels, np.arange(100), 1.0)
