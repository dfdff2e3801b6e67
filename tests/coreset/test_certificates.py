"""Each certificate against its definition in plain loops, and where they appear."""

import math

import numpy as np
import pytest
import torch

import coreset
from coreset import Pool, Selection, Signals, certificates, certify, select
from coreset.certificates import (
    class_gap,
    class_shares,
    cover_radius,
    facility_value,
    in_words,
    kernel_discrepancy,
)


def case(n=60, d=5, c=4, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, c, n)
    x = rng.normal(size=(n, d)) + 2 * np.eye(c, d)[y]
    z = np.exp(x[:, :c] + rng.normal(size=(n, c)))
    return x, z / z.sum(axis=1, keepdims=True), y


def distance(a, b):
    return math.sqrt(math.fsum((float(p) - float(q)) ** 2 for p, q in zip(a, b, strict=True)))


def by_loops(x, chosen, weights=None):
    """Cover radius, facility value and squared MMD from their formulas."""
    n = len(x)
    radius = max(min(distance(x[i], x[j]) for j in chosen) for i in range(n))

    def similarity(a, b):
        length = math.sqrt(math.fsum(a * a) * math.fsum(b * b))
        return 0.5 + 0.5 * math.fsum(a * b) / length if length else 0.5

    facility = math.fsum(max(similarity(x[i], x[j]) for j in chosen) for i in range(n)) / n
    squares = [[distance(a, b) ** 2 for b in x] for a in x]
    gamma = n * n / math.fsum(s for row in squares for s in row)
    w = np.full(len(chosen), 1 / len(chosen)) if weights is None else weights / weights.sum()
    k = np.exp(-gamma * np.array(squares))
    return (
        radius,
        facility,
        k.mean() - 2 * (k[:, chosen] @ w).mean() + w @ k[np.ix_(chosen, chosen)] @ w,
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("block", [2**20, 100])
def test_what_features_say(dtype, weighted, block, monkeypatch):
    monkeypatch.setattr(certificates, "_BLOCK", block)
    x = case()[0].astype(dtype)
    chosen = np.array([40, 3, 17, 8])
    weights = np.array([1.0, 2.0, 0.0, 5.0]) if weighted else None
    want = by_loops(x.astype(np.float64), chosen, weights)
    t = torch.from_numpy(x)
    got = cover_radius(t, chosen), facility_value(t, chosen), kernel_discrepancy(t, chosen, weights)
    assert got == pytest.approx(want, rel=1e-10)


def test_certificates_of_everything_zeros_and_one_row():
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]])
    assert cover_radius(x, np.arange(3)) == 0
    assert kernel_discrepancy(x, np.arange(3)) == pytest.approx(0, abs=1e-15)
    assert facility_value(x, np.arange(3)) == pytest.approx((0.5 + 1 + 0.5) / 3)
    assert facility_value(x, np.array([0])) == 0.5
    assert (cover_radius(x[:1], np.array([0])), kernel_discrepancy(x[:1], np.array([0]))) == (0, 0)
    same = torch.ones(4, 2)
    assert (cover_radius(same, np.array([1])), kernel_discrepancy(same, np.array([1]))) == (0, 0)


def test_the_gradient_and_the_classes():
    x, p, y = case()
    got = select("craig", 12, features=x, probs=p, labels=y, certify=True)
    certificates = got.info["certificates"]
    g = np.array(
        [
            np.outer(q - np.eye(4)[c], np.append(h, 1)).ravel()
            for h, q, c in zip(x, p, y, strict=True)
        ]
    )
    full = g.sum(axis=0)
    error = np.linalg.norm(got.weights @ g[got.indices] - full) / np.linalg.norm(full)
    assert certificates["matching_error"] == pytest.approx(error)
    assert certificates["matching_error"] == pytest.approx(got.info["matching_error"])
    shares = np.bincount(y[got.indices], minlength=4) / 12
    assert certificates["class_shares"] == {str(c): s for c, s in enumerate(shares) if s}
    assert certificates["class_gap"] == pytest.approx(
        np.abs(shares - np.bincount(y, minlength=4) / 60).sum() / 2
    )
    plain = certify(got.indices, features=x, probs=p, labels=y)  # positions alone: equal weights
    error = np.linalg.norm(5 * g[got.indices].sum(axis=0) - full) / np.linalg.norm(full)
    assert plain["matching_error"] == pytest.approx(error)
    assert plain["cover_radius"] == certificates["cover_radius"]


def test_what_is_selected_stands_for_the_pool_too_and_other_rows_do_not_count():
    x, p, y = case()
    candidates = np.arange(5, 50)
    got = certify([20, 9], selected=[0, 1], candidates=candidates, features=x, probs=p, labels=y)
    rows = np.r_[0, 1, candidates]
    radius, facility, discrepancy = by_loops(
        x[rows], [int(np.flatnonzero(rows == i)[0]) for i in (0, 1, 20, 9)]
    )
    assert got["cover_radius"] == pytest.approx(radius)
    assert got["facility_value"] == pytest.approx(facility)
    assert got["kernel_discrepancy"] == pytest.approx(discrepancy)
    assert got["class_shares"] == {str(k): v for k, v in class_shares(y[[0, 1, 20, 9]]).items()}
    broken = x.copy()
    broken[55] = np.nan
    again = certify(
        [20, 9], selected=[0, 1], candidates=candidates, features=broken, probs=p, labels=y
    )
    assert again == got


def test_a_strategy_s_own_radius_is_the_certified_one():
    x = case(200, 8)[0]
    got = select("kcenter", 20, features=x, selected=[3, 4], certify=True)
    assert got.info["certificates"]["cover_radius"] == pytest.approx(
        got.info["cover_radius"], rel=1e-12
    )


def test_only_what_is_known_is_certified_and_nothing_by_default():
    x, p, y = case()
    assert "certificates" not in select("margin", 5, probs=p).info
    assert select("margin", 5, probs=p, certify=True).info["certificates"] == {}
    hidden = y.copy()
    hidden[30:] = -1
    got = certify([2, 40], features=x, probs=p, labels=hidden)
    assert set(got) == {"cover_radius", "facility_value", "kernel_discrepancy"}
    # all that is taken is labeled, not all there is
    got = certify([2], features=x, probs=p, labels=hidden)
    assert set(got) == {"cover_radius", "facility_value", "kernel_discrepancy", "class_shares"}
    assert got["class_shares"] == {str(y[2]): 1.0}
    signals = Signals(60)
    signals.put("features", range(50), x[:50])
    assert certificates.certificates(Pool(60), signals, Selection([1])) == {}
    assert set(certificates.certificates(Pool(60, candidates=range(50)), signals, Selection([1]))) == {
        "cover_radius", "facility_value", "kernel_discrepancy",
    }  # fmt: skip
    assert "kernel_discrepancy" not in certificates.certificates(
        Pool(60), Signals(60, features=x), Selection([1]), 400
    )
    assert certificates.certificates(Pool(60), Signals(60, features=x), Selection([1]), 10) == {}


def test_refused():
    x = case()[0]
    with pytest.raises(ValueError, match="chosen: expected candidates, 1 are none, first 3"):
        certify([2, 3], selected=[3], features=x)
    with pytest.raises(ValueError, match="chosen: expected candidates, got none"):
        certify([], features=x)
    with pytest.raises(ValueError, match="chosen: 1 positions occur more than once"):
        certify([2, 2], features=x)
    x[7] = np.inf
    with pytest.raises(
        ValueError, match="features: 1 examples have NaN or infinite values, first position 7"
    ):
        certify([2], features=x)
    with pytest.raises(ValueError, match="expected at least one column"):
        certify([2])


def test_shares_gap_and_words():
    assert class_gap({0: 1.0}, {1: 1.0}) == 1
    assert in_words({}) == ""
    assert coreset.certify is certify
