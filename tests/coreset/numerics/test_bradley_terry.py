"""Against the definition: the slope of the penalized likelihood is zero, and shares made from
ratings give these back.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset.numerics.bradley_terry import bradley_terry


def comparisons(seed, n=12, m=60):
    rng = np.random.default_rng(seed)
    pairs = np.array([rng.choice(n, 2, replace=False) for _ in range(m)])
    return rng, pairs, rng.choice([0.0, 0.25, 0.5, 1.0], m)


def slope(pairs, share, ridge, r, x):
    """d/dw of -sum y log s(d) + (1 - y) log s(-d) + ridge / 2 |w|^2, d = (x_a - x_b) w; pair by
    pair.
    """
    out = ridge * r
    for (a, b), y in zip(pairs, share, strict=True):
        d = (x[a] - x[b]) @ r
        out = out + (1 / (1 + np.exp(-d)) - y) * (x[a] - x[b])
    return out


@given(seed=st.integers(0, 10**6), ridge=st.sampled_from([1e-3, 0.01, 1.0]))
@settings(max_examples=30, deadline=None)
def test_the_minimum(seed, ridge):
    rng, pairs, share = comparisons(seed)
    r = bradley_terry(pairs, share, 12, ridge)
    assert np.abs(slope(pairs, share, ridge, r, np.eye(12))).max() < 1e-9
    assert abs(r.sum()) < 1e-8
    x = rng.normal(size=(12, 4))
    w = bradley_terry(pairs, share, 12, ridge, x)
    assert w.shape == (4,)
    assert np.abs(slope(pairs, share, ridge, w, x)).max() < 1e-9


def test_ratings_come_back():
    rng = np.random.default_rng(0)
    r = rng.normal(size=8)
    pairs = np.array([(a, b) for a in range(8) for b in range(a)])
    share = 1 / (1 + np.exp(-(r[pairs[:, 0]] - r[pairs[:, 1]])))
    np.testing.assert_allclose(bradley_terry(pairs, share, 8, 1e-10), r - r.mean(), atol=1e-6)
    x = rng.normal(size=(8, 3))
    w = rng.normal(size=3)
    share = 1 / (1 + np.exp(-((x @ w)[pairs[:, 0]] - (x @ w)[pairs[:, 1]])))
    np.testing.assert_allclose(bradley_terry(pairs, share, 8, 1e-10, x), w, atol=1e-6)


def test_what_wins_always_stays_finite():
    r = bradley_terry(np.array([[0, 1], [1, 2]]), np.array([1.0, 1.0]), 3, 0.01)
    assert np.isfinite(r).all()
    assert r[0] > r[1] > r[2]


@pytest.mark.parametrize(
    ("pairs", "share", "ridge", "match"),
    [
        ([[0, 1]], [1.5], 0.1, "comparisons: expected shares in"),
        ([[0, 1]], [np.nan], 0.1, "comparisons: expected shares in"),
        ([[1, 1]], [0.5], 0.1, "pairs of two different things"),
        ([[0, 1]], [0.5], 0.0, r"ridge: expected a number in \(0, inf\)"),
    ],
)
def test_bad_input(pairs, share, ridge, match):
    with pytest.raises(ValueError, match=match):
        bradley_terry(np.array(pairs), np.array(share), 2, ridge)
