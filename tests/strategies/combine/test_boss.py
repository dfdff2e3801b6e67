"""The oracle against every batch fitted anew by another solver, and that it reads what it may."""

import numpy as np
import pytest
from scipy.optimize import minimize

from coreset import Pool, Signals
from coreset.registry import strategy
from coreset.strategies.baseline.random import Random
from coreset.strategies.combine.boss import Boss, head_loss
from coreset.strategies.coverage.maxherding import MaxHerding
from coreset.strategies.uncertainty.entropy import Entropy
from coreset.strategies.uncertainty.margin import Margin
from coreset.trainers.loops.plan import make_plan


def case(n=160, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    x = rng.normal(size=(n, 4)) + 1.5 * np.eye(classes, 4)[labels]
    e = np.exp(x[:, :classes] + rng.normal(size=(n, classes)))
    probs = e / e.sum(axis=1, keepdims=True)
    return {"features": x, "labels": labels, "probs": probs, "validation": np.arange(n) >= n - 60}


def reference(x, y, test_x, test_y, c):
    """Return zero-one loss and cross-entropy of softmax regression by a general minimizer, float64."""
    classes = sorted(set(y.tolist()))
    target = np.array([[float(v == k) for k in classes] for v in y])

    def split(w):
        w = w.reshape(len(classes), -1)
        return w[:, :-1], w[:, -1]

    def logp(w, x):
        z = x @ split(w)[0].T + split(w)[1]
        return (
            z
            - np.log(np.exp(z - z.max(1, keepdims=True)).sum(1, keepdims=True))
            - z.max(1, keepdims=True)
        )

    def goal(w):
        r = np.exp(logp(w, x)) - target
        grad = np.c_[r.T @ x + split(w)[0] / c, r.sum(axis=0)]
        return -(target * logp(w, x)).sum() + (split(w)[0] ** 2).sum() / (2 * c), grad.ravel()

    best = minimize(goal, np.zeros(len(classes) * (x.shape[1] + 1)), jac=True, tol=1e-12).x
    p = np.exp(logp(best, test_x))
    right = [p[i, classes.index(v)] if v in classes else 1e-12 for i, v in enumerate(test_y)]
    return np.mean([classes[j] != v for j, v in zip(p.argmax(1), test_y, strict=True)]), -np.mean(
        np.log(right)
    )


@pytest.mark.parametrize("loss", ["zero_one", "cross_entropy"])
@pytest.mark.parametrize("c", [0.1, 10.0])
def test_the_batch_that_teaches_most(loss, c):
    columns = case()
    pool = Pool(160, selected=[0, 1, 2, 3], candidates=np.arange(4, 100))
    members = (Margin(), Entropy(), MaxHerding())
    boss = Boss(members, batches=30, c=c, loss=loss)
    got = boss(pool, Signals(160, **columns), 8, np.random.default_rng(0))
    x, y, test = columns["features"], columns["labels"], np.arange(100, 160)
    value, answers = {}, {}
    # each gives one and the same batch whenever it is drawn: the part is the whole pool
    for member in members:
        answer = member(pool, Signals(160, **columns), 8, np.random.default_rng(1)).indices
        at = np.r_[pool.selected, answer]
        name = type(member).__name__
        answers[name] = answer.tolist()
        value[name] = reference(x[at], y[at], x[test], y[test], c)[loss == "cross_entropy"]
    best = min(value, key=value.get)
    assert sorted(value.values())[1] > value[best] + 1e-3  # one is clearly best
    assert got.info["member"] == best
    assert got.indices.tolist() == answers[best]
    assert got.info["loss"] == pytest.approx(value[best], abs=1e-4)
    assert {round(v, 3) for v in got.info["losses"]} == {round(v, 3) for v in value.values()}
    assert len(got.info["losses"]) == 30


def test_more_batches_never_are_worse_and_it_beats_its_members():
    columns, pool = case(seed=3), Pool(160, selected=[0, 1, 2], candidates=np.arange(3, 100))
    few, many = (
        Boss([Random()], batches=n)(pool, Signals(160, **columns), 6, np.random.default_rng(5))
        for n in (5, 60)
    )
    assert many.info["losses"][:5] == few.info["losses"]
    assert (
        many.info["loss"]
        == min(many.info["losses"])
        <= few.info["loss"]
        < np.mean(many.info["losses"])
    )


def test_labels_outside_do_not_matter_and_classes_may_be_missing():
    columns, pool = case(), Pool(160, selected=[0], candidates=np.arange(1, 80))
    boss = Boss([Random()], batches=5)
    one = boss(pool, Signals(160, **columns), 4, np.random.default_rng(0))
    columns["labels"] = np.where(
        (np.arange(160) >= 80) & ~columns["validation"], -1, columns["labels"]
    )
    assert (
        boss(pool, Signals(160, **columns), 4, np.random.default_rng(0)).indices.tolist()
        == one.indices.tolist()
    )
    x = np.array([[0.0], [1.0], [2.0]])
    assert head_loss(x[:2], np.array([1, 1]), x, np.array([1, 0, 2])) == pytest.approx(2 / 3)
    got = head_loss(x[:2], np.array([1, 1]), x, np.array([1, 1, 2]), loss="cross_entropy")
    assert got == pytest.approx(-np.log(1e-12) / 3)


def test_refusals():
    columns, pool = case(), Pool(160, candidates=np.arange(100))

    def ask(**change):
        return Boss([Random()], batches=2)(
            pool, Signals(160, **{**columns, **change}), 4, np.random.default_rng(0)
        )

    with pytest.raises(ValueError, match="validation"):
        ask(validation=np.arange(160) >= 90)
    with pytest.raises(ValueError, match="validation"):
        ask(validation=np.zeros(160, bool))
    with pytest.raises(
        ValueError, match=r"labels: .* 1 of 160 are unknown \(-1\), first position 150"
    ):
        ask(labels=np.where(np.arange(160) == 150, -1, columns["labels"]))
    for wrong, words in (
        ({"batches": 0}, "batches: expected a whole number from 1 on, got 0"),
        ({"c": 0}, "c: expected a positive number, got 0"),
        ({"loss": "brier"}, "loss: expected zero_one or cross_entropy, got 'brier'"),
        ({"members": []}, "members: expected at least one"),
    ):
        with pytest.raises(ValueError, match=words):
            Boss(**wrong)
    with pytest.raises(
        ValueError, match="Boss needs labels of the candidates, which active mode cannot know"
    ):
        make_plan(strategy("boss"), [20], 100, "active", 10, ["validation"])
