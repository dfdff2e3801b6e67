"""The curve of the bands against its definition in plain float64: every band by itself, and areas
as sums over fine steps.
"""

import itertools

import numpy as np
import pytest

from coreset.numerics.text.lsh import areas, best_bands, lsh_probability, lsh_threshold
from coreset.numerics.text.minhash import band_keys


def plain_curve(s, bands, rows):
    """Return 1 - P(no band agrees), multiplied out band by band."""
    none = np.ones_like(s)
    for _ in range(bands):
        whole = np.ones_like(s)
        for _ in range(rows):
            whole = whole * s
        none = none * (1 - whole)
    return 1 - none


def plain_areas(threshold, bands, rows, steps=200_000):
    """Return both areas by the midpoint rule."""
    low = (np.arange(steps) + 0.5) / steps * threshold
    high = threshold + (np.arange(steps) + 0.5) / steps * (1 - threshold)
    return (
        plain_curve(low, bands, rows).mean() * threshold,
        (1 - plain_curve(high, bands, rows)).mean() * (1 - threshold),
    )


@pytest.mark.parametrize(("bands", "rows"), [(1, 1), (14, 8), (9, 13), (200, 1), (1, 64)])
def test_the_curve_and_its_areas(bands, rows):
    s = np.linspace(0, 1, 101)
    np.testing.assert_allclose(
        lsh_probability(s, bands, rows), plain_curve(s, bands, rows), atol=1e-12
    )
    assert lsh_probability(s.reshape(1, 101), bands, rows).shape == (1, 101)
    for threshold in (0.2, 0.7, 0.95):
        np.testing.assert_allclose(
            areas(threshold, bands, rows), plain_areas(threshold, bands, rows), rtol=1e-6, atol=1e-9
        )


@pytest.mark.parametrize(("bands", "rows"), [(1, 1), (14, 8), (9, 13)])
def test_the_threshold_is_where_the_curve_passes(bands, rows):
    for probability in (0.05, 0.5, 0.99):
        s = np.linspace(0, 1, 200_001)
        crossing = s[np.argmax(plain_curve(s, bands, rows) >= probability)]
        assert lsh_threshold(bands, rows, probability) == pytest.approx(crossing, abs=1e-5)
    assert lsh_threshold(14, 8) < (1 / 14) ** (1 / 8) - 0.03  # what is often called the threshold


@pytest.mark.parametrize(
    ("threshold", "positions", "weights"),
    [(0.5, 30, (0.5, 0.5)), (0.8, 40, (0.5, 0.5)), (0.7, 36, (0.1, 0.9))],
)
def test_the_best_bands_are_the_best_of_all(threshold, positions, weights):
    cost = {
        (b, r): np.dot(weights, plain_areas(threshold, b, r, 4000))
        for b, r in itertools.product(range(1, positions + 1), repeat=2)
        if b * r <= positions
    }
    assert best_bands(threshold, positions, *weights) == min(cost, key=cost.get)


def test_the_choice_of_data_juicer():
    module = pytest.importorskip("data_juicer.ops.deduplicator.document_minhash_deduplicator")
    for threshold in (0.5, 0.7, 0.8):
        assert best_bands(threshold, 128) == tuple(module.optimal_param(threshold, 128, 0.5, 0.5))


def test_a_larger_weight_of_misses_finds_more():
    even, careful = (
        best_bands(0.7, 112),
        best_bands(0.7, 112, false_positive=0.1, false_negative=0.9),
    )
    assert lsh_probability(0.75, *careful) > lsh_probability(0.75, *even) + 0.1


def test_the_bands_of_texts_keep_to_the_curve():
    """Two texts of 150 words, 100 in common: a similarity of 1/2."""
    a = " ".join(f"{w}x" for w in range(150))
    b = " ".join(f"{w}x" for w in range(50, 200))
    hits = 0
    for seed in range(600):
        keys, _ = band_keys([a, b], 1, 12, 3, seed)
        hits += (keys[0] == keys[1]).any()
    want = float(lsh_probability(0.5, 12, 3))
    assert abs(hits / 600 - want) < 4 * np.sqrt(want * (1 - want) / 600) + 0.02


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lsh_probability(1.1, 2, 2), "similarity: expected Jaccard similarities in"),
        (lambda: lsh_probability(np.nan, 2, 2), "similarity: expected"),
        (
            lambda: lsh_probability(0.5, 0, 2),
            "bands, rows: expected whole numbers of at least 1, got 0 and 2",
        ),
        (
            lambda: lsh_threshold(2, 0),
            "bands, rows: expected whole numbers of at least 1, got 2 and 0",
        ),
        (lambda: lsh_threshold(2, 2, 1.0), "probability: expected a number in"),
        (lambda: areas(1.0, 2, 2), "threshold: expected a Jaccard similarity in"),
        (lambda: best_bands(0.0), "threshold: expected a Jaccard similarity in"),
        (lambda: best_bands(0.5, 0), "positions: expected a whole number from 1 to 16384, got 0"),
        (lambda: best_bands(0.5, 9, -1.0, 1.0), "false_positive, false_negative: expected weights"),
        (lambda: best_bands(0.5, 9, 0.0, 0.0), "false_positive, false_negative: expected weights"),
    ],
)
def test_wrong_parameters(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: lsh_probability(0.5, 1.5, 8),
        lambda: lsh_threshold(3, 2.5),
        lambda: best_bands(0.7, 112.5),
        lambda: best_bands(0.7, 20, float("nan"), 0.5),
        lambda: best_bands(0.7, 20, 0.5, float("inf")),
    ],
)
def test_fractions_of_bands_and_weights_that_are_none(call):
    with pytest.raises(ValueError, match="expected"):
        call()
