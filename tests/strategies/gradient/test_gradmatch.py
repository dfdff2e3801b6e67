"""GradMatch against a pursuit on gradients written out in float64."""

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

import coreset
import coreset.strategies.gradient.gradmatch as module
from coreset.numerics.gradients import LastLayerGradients
from coreset.strategies.gradient.gradmatch import GradMatch, matching_pursuit
from coreset.testing import check_strategy


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def written_out(x, p, y, bias):
    rows = []
    for h, q, label in zip(x.astype(np.float64), p.astype(np.float64), y, strict=True):
        r = q.copy()
        r[label] -= 1
        rows.append(np.outer(r, np.append(h, 1.0) if bias else h).ravel())
    return np.array(rows)


def pursuit(g, k, ridge):
    """The textbook loop: correlate, take the largest, fit again with w >= 0."""
    target = g.sum(axis=0)
    lam = ridge * (g**2).sum(axis=1).mean()
    picks, w = [], np.zeros(0)
    for _ in range(k):
        score = g @ (target - w @ g[picks]) if picks else g @ target
        score[picks] = -np.inf
        picks.append(int(score.argmax()))
        a = np.vstack([g[picks].T, np.sqrt(lam) * np.eye(len(picks))])
        w = nnls(a, np.append(target, np.zeros(len(picks))))[0]
    return np.array(picks), w


def released(g, k, ridge):
    """The released loop: correlate, take the largest, least squares with free weights; non-negative
    at last.
    """
    target = g.sum(axis=0)
    lam = ridge * (g**2).sum(axis=1).mean()
    picks, left = [], target
    for _ in range(k):
        score = g @ left
        score[picks] = -np.inf
        picks.append(int(score.argmax()))
        a = g[picks]
        left = target - np.linalg.solve(a @ a.T + lam * np.eye(len(picks)), a @ target) @ a
    stacked = np.vstack([g[picks].T, np.sqrt(lam) * np.eye(k)])
    return np.array(picks), nnls(stacked, np.append(target, np.zeros(k)))[0]


def case(n=60, seed=0, d=7, c=4):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, c, n)
    x = rng.normal(size=(n, d)) + 2 * np.eye(c, d)[y]
    return x, softmax(x[:, :c] + rng.normal(size=(n, c))), y


@pytest.mark.parametrize("per_class", [True, False])
def test_contract(per_class):
    check_strategy(GradMatch(per_class))


def test_contract_without_bias_and_ridge():
    check_strategy(GradMatch(False, ridge=0.0, bias=False))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("ridge", [0.01, 0.5])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("stored", [True, False])
def test_global_order_and_weights(bias, ridge, dtype, stored, monkeypatch):
    if not stored:
        monkeypatch.setattr(module, "_COLUMNS", 0)
    x, p, y = case()
    x, p = x.astype(dtype), p.astype(dtype)
    g = written_out(x, p, y, bias)
    picks, w = pursuit(g, 20, ridge)
    options = {"per_class": False, "ridge": ridge, "bias": bias}
    got = coreset.select("gradmatch", 20, features=x, probs=p, labels=y, options=options)
    assert got.indices.tolist() == picks.tolist()
    assert np.allclose(got.weights, w, rtol=1e-4, atol=1e-4)
    error = np.linalg.norm(w @ g[picks] - g.sum(axis=0)) / np.linalg.norm(g.sum(axis=0))
    assert got.info["matching_error"] == pytest.approx(error, abs=1e-5)


def test_the_released_variant_lets_weights_be_negative_on_the_way():
    x, p, y = case(200, 3)
    g = written_out(x, p, y, True)
    picks, w = released(g, 40, 0.01)
    options = {"per_class": False, "variant": "released_code"}
    got = coreset.select("gradmatch", 40, features=x, probs=p, labels=y, options=options)
    assert got.indices.tolist() == picks.tolist()
    assert np.allclose(got.weights, w, rtol=1e-5, atol=1e-5)
    assert picks.tolist() != pursuit(g, 40, 0.01)[0].tolist()
    with pytest.raises(ValueError, match="variant: expected nonnegative or released_code"):
        GradMatch(variant="free")


def test_order_of_200_in_float32():
    rng = np.random.default_rng(1)
    x, p, y = case(600, 4, d=40, c=8)
    x = np.maximum(x + rng.normal(size=x.shape), 0).astype(np.float32)
    p = p.astype(np.float32)
    picks, w = pursuit(written_out(x, p, y, True), 200, 0.01)
    got = coreset.select(
        "gradmatch", 200, features=x, probs=p, labels=y, options={"per_class": False}
    )
    assert got.indices.tolist() == picks.tolist()
    assert np.allclose(got.weights, w, rtol=1e-3, atol=1e-3)


def test_each_class_is_matched_by_itself():
    x, p, y = case(90, 2)
    y[:3] = 9  # a class of three
    p = np.hstack([p * 0.9, np.full((90, 6), 0.1 / 6)])
    g = written_out(x, p, y, True)
    got = coreset.select("gradmatch", 30, features=x, probs=p, labels=y)
    assert (
        np.bincount(y[got.indices], minlength=10).tolist()
        == np.round(np.bincount(y, minlength=10) / 3).astype(int).tolist()
    )
    for c in np.unique(y):
        rows = np.flatnonzero(y == c)
        mine = np.flatnonzero(y[got.indices] == c)
        picks, w = pursuit(g[rows], len(mine), 0.01)
        assert got.indices[mine].tolist() == rows[picks].tolist()
        assert np.allclose(got.weights[mine], w, atol=1e-6)


def test_weights_reach_the_gradient_when_all_are_taken():
    x, p, y = case(40)
    got = coreset.select("gradmatch", 40, features=x, probs=p, labels=y, options={"ridge": 0.0})
    assert got.info["matching_error"] < 1e-6


def test_scale_of_the_features_changes_nothing_without_bias():
    x, p, y = case(50)
    a, b = (
        coreset.select("gradmatch", 12, features=x * s, probs=p, labels=y, options={"bias": False})
        for s in (1, 1e3)
    )
    assert a.indices.tolist() == b.indices.tolist()
    assert np.allclose(a.weights, b.weights)


def test_duplicates_share_their_weight_under_a_ridge():
    x, p, y = np.ones((10, 2)), np.full((10, 2), 0.5), np.zeros(10, int)
    got = coreset.select("gradmatch", 4, features=x, probs=p, labels=y)
    assert got.indices.tolist() == [0, 1, 2, 3]
    assert np.allclose(got.weights, 10 / 4.01)
    plain = coreset.select("gradmatch", 4, features=x, probs=p, labels=y, options={"ridge": 0.0})
    assert plain.weights == pytest.approx([10, 0, 0, 0])
    assert plain.info["unused"] == 3
    assert plain.info["matching_error"] < 1e-12


def test_zero_gradients():
    x, y = np.random.default_rng(0).normal(size=(6, 3)), np.array([0, 0, 0, 1, 1, 2])
    # saturated and right
    got = coreset.select("gradmatch", 6, features=x, probs=np.eye(3)[y], labels=y)
    assert sorted(got.indices) == list(range(6))
    assert got.weights.tolist() == [1.0] * 6
    few = coreset.select(
        "gradmatch", 4, features=x, probs=np.eye(3)[y], labels=y, options={"per_class": False}
    )
    assert few.weights.tolist() == [1.5] * 4
    p = np.eye(3)[y]
    p[1] = [0.2, 0.5, 0.3]
    got = coreset.select(
        "gradmatch", 1, features=x, probs=p, labels=y, options={"per_class": False}
    )
    assert got.indices.tolist() == [1]


def test_no_helpful_row_left_is_taken_with_weight_zero():
    r, h = torch.tensor([[1.0], [1.0], [-0.5], [-0.2]]), torch.ones(4, 1)
    picks, w = matching_pursuit(LastLayerGradients(r, h, False), 4)
    assert picks.tolist()[:2] == [0, 1]
    assert w.tolist() == [pytest.approx(1.3), 0, 0, 0]


def test_unknown_labels_are_refused():
    x, p, y = case(10)
    y[4] = -1
    with pytest.raises(
        ValueError,
        match=r"labels: this strategy reads the true labels, but 1 of 10 are unknown.*position 4",
    ):
        coreset.select("gradmatch", 2, features=x, probs=p, labels=y)
    with pytest.raises(ValueError, match="ridge"):
        GradMatch(ridge=-1.0)


def test_gradients_that_cancel_are_matched_by_opposite_ones():
    """No weights at all match a sum of zero: the weights also have to add up to the number of rows."""
    x, p, y = np.ones((4, 1)), np.full((4, 2), 0.5), np.array([0, 0, 1, 1])
    got = coreset.select(
        "gradmatch", 2, features=x, probs=p, labels=y, options={"per_class": False}
    )
    assert got.indices.tolist() == [0, 2]
    assert got.weights[0] == pytest.approx(got.weights[1])
    assert got.info["matching_error"] == 0.0
    options = {"source": "gradients", "per_class": False, "ridge": 0.0}
    for seed in range(5):
        g = np.random.default_rng(seed).normal(size=(20, 9))
        g -= g.mean(axis=0)
        more = np.hstack([g, np.full((20, 1), np.sqrt((g**2).sum(axis=1).mean()))])
        target, picks, w = np.append(np.zeros(9), more[:, -1].sum()), [], np.zeros(0)
        for t in range(6):
            score = more @ (target - w @ more[picks])
            score[picks] = -np.inf
            picks.append(int(score.argmax()) if t else 0)  # at first all tie
            w = nnls(more[picks].T, target)[0]
        got = coreset.select("gradmatch", 6, gradients=g, options=options)
        assert got.indices.tolist() == picks
        np.testing.assert_allclose(got.weights, w, rtol=1e-6, atol=1e-9)
    whole = coreset.select("gradmatch", 20, gradients=g, options=options)
    assert np.linalg.norm(whole.weights @ g[whole.indices]) < 1e-9
    assert whole.weights.sum() == pytest.approx(20)


@pytest.mark.parametrize("ridge", [0.0, 0.01])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_column_of_gradients_is_what_the_last_layer_writes_out(ridge, dtype):
    rng = np.random.default_rng(2)
    y = rng.integers(0, 3, 50)
    x, p = rng.normal(size=(50, 6)).astype(dtype), softmax(rng.normal(size=(50, 3))).astype(dtype)
    g = written_out(x, p, y, True)
    options = {"per_class": False, "ridge": ridge}
    got = coreset.select("gradmatch", 9, gradients=g, options={**options, "source": "gradients"})
    want, weights = pursuit(g, 9, ridge)
    assert got.indices.tolist() == want.tolist()
    np.testing.assert_allclose(got.weights, weights, rtol=1e-6, atol=1e-9)
    for name in ("craig", "gradmatch"):
        for apart in (True, False):
            one = coreset.select(
                name, 9, features=x, probs=p, labels=y, options={"per_class": apart}
            )
            other = coreset.select(
                name, 9, gradients=g, labels=y, options={"per_class": apart, "source": "gradients"}
            )
            assert one.indices.tolist() == other.indices.tolist()
            np.testing.assert_allclose(one.weights, other.weights, rtol=1e-4)
    with pytest.raises(ValueError, match=r"gradients: expected .* shape \(N, P\)"):
        coreset.select(
            "gradmatch", 2, gradients=g[:, 0], options={**options, "source": "gradients"}
        )


@pytest.mark.parametrize("apart", [True, False])
def test_validation_gradients_are_the_target(apart):
    """The pursuit written out, towards n / m times the summed gradients of the validation examples
    (of the class).
    """
    rng = np.random.default_rng(4)
    g, y, mark = rng.normal(size=(60, 8)), rng.integers(0, 2, 60), np.arange(60) >= 48
    y[mark] = np.arange(12) % 2
    options = {"source": "gradients", "validation": "column", "per_class": apart, "ridge": 0.0}
    free = np.flatnonzero(~mark)
    got = coreset.select(
        "gradmatch", 8, gradients=g, labels=y, validation=mark, candidates=free, options=options
    )
    want = {}
    for c in (0, 1) if apart else (None,):
        mine = free if c is None else free[y[free] == c]
        theirs = np.flatnonzero(mark if c is None else mark & (y == c))
        share = 8 if c is None else int((y[got.indices] == c).sum())
        target, picks = g[theirs].sum(axis=0) * len(mine) / len(theirs), []
        w = np.zeros(0)
        for _ in range(share):
            score = g[mine] @ (target - w @ g[picks])
            score[np.isin(mine, picks)] = -np.inf
            picks.append(int(mine[score.argmax()]))
            w = nnls(g[picks].T, target)[0]
        want.update(zip(picks, w, strict=True))
    assert set(got.indices.tolist()) == set(want)
    np.testing.assert_allclose(
        got.weights, [want[i] for i in got.indices.tolist()], rtol=1e-6, atol=1e-9
    )
    whole = g[mark].sum(axis=0) * 48 / 12
    error = np.linalg.norm(got.weights @ g[got.indices] - whole) / np.linalg.norm(whole)
    assert got.info["matching_error"] == pytest.approx(error)
    assert matching_pursuit(
        LastLayerGradients(torch.ones(2, 1), torch.eye(2), False),
        1,
        target=torch.tensor([[0.0, 3.0]]),
    )[0] == [1]


def test_validation_rows_out_of_scale_are_refused_by_name():
    features = np.array([[1e-238], [1e202], [1e194], [1e150]])
    columns = {
        "features": features,
        "probs": np.full((4, 2), 0.5),
        "labels": np.array([0, 1, 0, 1]),
        "validation": np.array([False, True, True, False]),
    }
    options = {"per_class": False, "validation": "column"}
    with pytest.raises(ValueError, match=r"features: values up to 1e\+202 are too large"):
        coreset.select("gradmatch", 1, candidates=[0], options=options, **columns)
