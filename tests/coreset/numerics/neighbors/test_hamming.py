"""Verified pairs of hashes against all pairs, compared plainly."""

import time

import numpy as np
import pytest

from coreset.numerics.neighbors import hamming
from coreset.numerics.neighbors.hamming import bits_apart, linked


def plain(bits, colors, start, radius, tolerance):
    """Components of all pairs of a bucket, by the definition; the first row of each."""
    label = np.arange(len(bits))
    for a, b in zip(start, start[1:], strict=False):
        for i in range(a, b):
            near = np.bitwise_count(bits[a:b] ^ bits[i]) <= radius
            if colors.shape[1]:
                near &= (np.abs(colors[a:b].astype(int) - colors[i].astype(int)) <= tolerance).all(
                    axis=1
                )
            for j in np.flatnonzero(near) + a:
                one, two = label[i], label[j]
                if one != two:
                    label[label == max(one, two)] = min(one, two)
    return label


def clusters(rng, n, centers, flips):
    """Hashes a few bits from few centers, with colors a little from few colors."""
    base = rng.integers(0, 2**63, centers, dtype=np.uint64)[rng.integers(0, centers, n)]
    for _ in range(flips):
        base = np.where(
            rng.random(n) < 0.7,
            base ^ (np.uint64(1) << rng.integers(0, 64, n).astype(np.uint64)),
            base,
        )
    hues = rng.integers(0, 256, (5, 6))[rng.integers(0, 5, n)] + rng.integers(-9, 10, (n, 6))
    return base, hues.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("small", [2, 512])
@pytest.mark.parametrize("radius", [0, 1, 4, 9, 15])
@pytest.mark.parametrize(("centers", "flips"), [(1, 12), (40, 4), (3000, 2)])
def test_the_components_of_all_pairs(monkeypatch, small, radius, centers, flips):
    monkeypatch.setattr(hamming, "_SMALL", small)
    rng = np.random.default_rng(centers + radius)
    n = 900
    bits, colors = clusters(rng, n, centers, flips)
    for width, tolerance in ((6, 12), (0, 0)):
        for start in ([0, n], [0, 1, 400, 405, n]):
            labels = linked(bits, colors[:, :width], np.array(start), radius, tolerance)
            assert np.array_equal(labels, plain(bits, colors[:, :width], start, radius, tolerance))


def test_a_few_thousand_random_hashes():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**64, 4000, dtype=np.uint64)
    bits[3000:] = bits[:1000] ^ (np.uint64(1) << rng.integers(0, 64, 1000).astype(np.uint64))
    none = np.zeros((4000, 0), np.uint8)
    labels = linked(bits, none, np.array([0, 4000]), 4)
    assert np.array_equal(labels, plain(bits, none, [0, 4000], 4, 0))
    assert labels[3000:].tolist() == list(range(1000))


def test_bits_apart():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 2**64, (2, 500), dtype=np.uint64)
    assert [bits_apart(x, y) for x, y in zip(a, b, strict=True)] == np.bitwise_count(a ^ b).tolist()
    assert (
        linked(np.zeros(0, np.uint64), np.zeros((0, 3), np.uint8), np.array([0]), 4).tolist() == []
    )


@pytest.mark.parametrize("kind", ["random", "copies", "shapes", "near"])
def test_a_bucket_of_100000_takes_seconds(kind):
    """All pairs are 5e9: nothing alike, all the same, one shape in any color, and hashes about one
    center.
    """
    rng, n = np.random.default_rng(2), 100_000
    bits, colors = (
        rng.integers(0, 2**64, n, dtype=np.uint64),
        rng.integers(0, 256, (n, 48)).astype(np.uint8),
    )
    if kind == "copies":
        bits[:], colors[:] = bits[0], colors[0]
    elif kind == "shapes":
        bits[:] = bits[0]
    elif kind == "near":
        bits = clusters(rng, n, 1, 10)[0]
    linked(bits[:2000], colors[:2000], np.array([0, 2000]), 4, 32)  # compiled
    start = time.process_time()
    labels = linked(bits, colors, np.array([0, n]), 4, 32)
    assert time.process_time() - start < 60
    if kind != "near":
        assert len(np.unique(labels)) == (1 if kind == "copies" else n)
