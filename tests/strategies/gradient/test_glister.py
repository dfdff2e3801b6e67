"""GLISTER against a last layer that is really stepped, gradients written out in float64."""

import numpy as np
import pytest

import coreset
from coreset.strategies.gradient.glister import Glister
from coreset.testing import check_strategy, example_signals


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def reference(h, w, y, k, hv, yv, eta, step="sum", refresh=1):
    """Step the weights (C, D + 1) by the gradients of the choice and take the row that points most
    along the validation gradient there.
    """

    def gradients(weights, x, labels):
        r = softmax(x @ weights.T) - np.eye(len(weights))[labels]
        return r[:, :, None] * x[:, None]

    def loss(weights):
        return -np.log(softmax(hv @ weights.T)[np.arange(len(yv)), yv]).mean()

    g = gradients(w, h, y)
    picks, gains = [], []
    for t in range(k):
        if t % refresh == 0:
            total = g[picks].sum(axis=0) / (max(len(picks), 1) if step == "mean" else 1)
            direction = gradients(w - eta * total, hv, yv).mean(axis=0)
        score = eta * (g * direction).sum(axis=(1, 2))
        score[picks] = -np.inf
        picks.append(int(score.argmax()))
        gains.append(score[picks[-1]])
    total = g[picks].sum(axis=0) / (k if step == "mean" else 1)
    return picks, gains, loss(w), loss(w - eta * total)


def case(n=60, seed=0, d=5, c=3):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, c, n)
    x = rng.normal(size=(n, d)) + np.eye(c, d)[y]
    w = rng.normal(size=(c, d + 1)) * 0.5
    h = np.hstack([x, np.ones((n, 1))])
    return x, h, w, softmax(h @ w.T), y


def columns(size=48):
    signals = example_signals(size, frozenset({"features", "probs", "labels"}))
    signals["validation"] = np.zeros(size, bool)
    # the four that may not be chosen
    signals["validation"][np.random.default_rng(1).permutation(size)[-4:]] = True
    return signals


@pytest.mark.parametrize("per_class", [True, False])
@pytest.mark.parametrize("validation", ["self", "selected", "column"])
def test_contract(per_class, validation):
    check_strategy(Glister(validation, per_class), columns() if validation == "column" else None)


@pytest.mark.parametrize("step", ["sum", "mean"])
@pytest.mark.parametrize("refresh", [1, 4])
@pytest.mark.parametrize("eta", [0.01, 0.5])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_global_order_gains_and_losses(step, refresh, eta, dtype):
    x, h, w, p, y = case()
    hv = np.arange(60) < 15
    options = {
        "validation": "column",
        "per_class": False,
        "eta": eta,
        "step": step,
        "refresh": refresh,
    }
    got = coreset.select(
        "glister",
        20,
        features=x.astype(dtype),
        probs=p.astype(dtype),
        labels=y,
        validation=hv,
        candidates=np.arange(15, 60),
        options=options,
    )
    picks, gains, before, after = reference(h[~hv], w, y[~hv], 20, h[hv], y[hv], eta, step, refresh)
    assert (got.indices - 15).tolist() == picks
    assert np.allclose(got.scores, gains, atol=1e-6)
    assert got.info["validation_loss"] == pytest.approx([before, after], abs=1e-5)
    g = ((p - np.eye(3)[y])[:, :, None] * h[:, None]).reshape(60, -1)
    full = g[~hv].sum(axis=0)
    error = np.linalg.norm(45 / 20 * g[got.indices].sum(axis=0) - full) / np.linalg.norm(full)
    assert got.info["matching_error"] == pytest.approx(error, rel=1e-4)


@pytest.mark.parametrize("per_class", [True, False])
@pytest.mark.parametrize("validation", ["self", "selected"])
def test_validated_on_the_candidates_or_on_what_is_taken(validation, per_class):
    x, h, w, p, y = case(70, 5)
    taken, free = np.arange(0, 70, 7), np.array([i for i in range(3, 70) if i % 7])
    options = {"validation": validation, "per_class": per_class, "eta": 0.1}
    got = coreset.select(
        "glister",
        21,
        features=x,
        probs=p,
        labels=y,
        selected=taken,
        candidates=free,
        options=options,
    )
    held = free if validation == "self" else taken
    for c in range(3) if per_class else [None]:
        rows, part = (r if c is None else r[y[r] == c] for r in (free, held))
        mine = got.indices if c is None else got.indices[y[got.indices] == c]
        assert (
            mine.tolist()
            == rows[reference(h[rows], w, y[rows], len(mine), h[part], y[part], 0.1)[0]].tolist()
        )


def test_the_update_changes_the_choice_and_lowers_the_loss():
    x, h, w, p, y = case(200, 4)
    x, h = x * 3, np.hstack([x * 3, np.ones((200, 1))])
    p = softmax(h @ w.T)
    options = {"per_class": False, "eta": 0.05}
    moving = coreset.select("glister", 40, features=x, probs=p, labels=y, options=options)
    static = coreset.select(
        "glister", 40, features=x, probs=p, labels=y, options={**options, "refresh": 1000}
    )
    assert set(moving.indices) != set(static.indices)
    assert moving.info["validation_loss"][1] < static.info["validation_loss"][1]
    assert moving.info["validation_loss"][1] < moving.info["validation_loss"][0]


def test_each_class_sees_its_own_validation_examples_or_all():
    x, h, w, p, y = case(80, 2)
    held = np.arange(80) < 20
    y[:20][y[:20] == 2] = 0  # class 2 has no validation examples
    got = coreset.select(
        "glister",
        24,
        features=x,
        probs=p,
        labels=y,
        validation=held,
        candidates=np.arange(20, 80),
        options={"validation": "column"},
    )
    for c in range(3):
        rows, mine = np.flatnonzero((y == c) & ~held), got.indices[y[got.indices] == c]
        part = held & (y == c) if c < 2 else held
        picks = reference(h[rows], w, y[rows], len(mine), h[part], y[part], 0.01)[0]
        assert mine.tolist() == rows[picks].tolist()


def test_zero_gradients_one_example_classes_and_duplicates():
    x, y = np.random.default_rng(0).normal(size=(5, 3)), np.array([0, 0, 0, 1, 2])
    got = coreset.select("glister", 5, features=x, probs=np.eye(3)[y], labels=y)
    assert sorted(got.indices) == list(range(5))
    assert (got.scores == 0).all()
    wrong = coreset.select(
        "glister",
        5,
        features=x,
        probs=np.eye(3)[[1, 0, 0, 1, 2]],
        labels=y,
        options={"per_class": False},
    )
    assert wrong.indices[0] == 0
    assert np.isfinite(wrong.info["validation_loss"]).all()
    same = coreset.select(
        "glister", 3, features=np.ones((5, 2)), probs=np.full((5, 2), 0.5), labels=np.zeros(5, int)
    )
    assert same.indices.tolist() == [0, 1, 2]


def test_what_is_read_of_what_is_taken():
    assert Glister("selected").needs_selected == {"features", "labels", "probs"}
    assert Glister().needs_selected == Glister("column").needs_selected == frozenset()
    x, _, _, p, y = case(10)
    x[3, 0] = np.nan
    with pytest.raises(
        ValueError, match="features: 1 examples have NaN or infinite values, first position 3"
    ):
        coreset.select(
            "glister", 2, features=x, probs=p, labels=y, validation=np.arange(10) == 3, candidates=[0, 1, 2],
            options={"validation": "column"},
        )  # fmt: skip


def test_refused():
    x, _, _, p, y = case(10)
    column = {"validation": "column"}
    with pytest.raises(ValueError, match="nothing is selected yet"):
        coreset.select(
            "glister", 2, features=x, probs=p, labels=y, options={"validation": "selected"}
        )
    with pytest.raises(ValueError, match="1 validation examples are candidates, first position 3"):
        coreset.select(
            "glister",
            2,
            features=x,
            probs=p,
            labels=y,
            validation=np.arange(10) == 3,
            options=column,
        )
    with pytest.raises(ValueError, match="validation: expected one boolean per example"):
        coreset.select(
            "glister", 2, features=x, probs=p, labels=y, validation=np.arange(10), options=column
        )
    with pytest.raises(ValueError, match="marks no example"):
        coreset.select(
            "glister",
            2,
            features=x,
            probs=p,
            labels=y,
            validation=np.zeros(10, bool),
            options=column,
        )
    unknown = y.copy()
    unknown[3] = -1
    with pytest.raises(ValueError, match=r"labels: .*position 3"):
        coreset.select(
            "glister",
            2,
            features=x,
            probs=p,
            labels=unknown,
            validation=np.arange(10) == 3,
            candidates=[0, 1, 2],
            options=column,
        )
    for wrong in ({"validation": "test"}, {"step": "max"}, {"eta": 0.0}, {"refresh": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Glister(**wrong)


@pytest.mark.parametrize("apart", [True, False])
def test_with_a_column_of_gradients_the_gain_is_the_product_with_the_mean_validation_gradient(
    apart,
):
    rng = np.random.default_rng(5)
    g, y, mark = rng.normal(size=(40, 6)), np.arange(40) % 2, np.arange(40) >= 34
    options = {"source": "gradients", "validation": "column", "per_class": apart, "eta": 0.5}
    free = np.flatnonzero(~mark)
    got = coreset.select(
        "glister", 6, gradients=g, labels=y, validation=mark, candidates=free, options=options
    )
    for c in (0, 1) if apart else (None,):
        mine, theirs = (part if c is None else part & (y == c) for part in (~mark, mark))
        value = np.where(mine, g @ g[theirs].mean(axis=0), -np.inf)
        picks = got.indices if c is None else got.indices[y[got.indices] == c]
        assert picks.tolist() == np.argsort(-value)[: len(picks)].tolist()
        np.testing.assert_allclose(
            got.scores[np.isin(got.indices, picks)], 0.5 * value[picks], rtol=1e-9
        )
