"""The probe against scikit-learn on the same indices, and as a Learner."""

import json

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.neighbors import KNeighborsClassifier

from coreset.core.learner import Learner
from coreset.trainers.learners.heads import Linear, Mlp, Neighbors, stratified_folds
from coreset.trainers.learners.probe import Probe, ProbeLearner

X, Y = load_digits(return_X_y=True)
X = X.astype(np.float32)
POOL, TEST = np.arange(1200), np.arange(1200, 1797)


def probe(head="linear", **options):
    return ProbeLearner(
        X[POOL], X[TEST], Y[TEST], [str(c) for c in range(10)], head=head, **options
    )


def masked(rows):
    """The column a loop hands over: labels known at `rows` alone."""
    labels = np.full(len(POOL), -1)
    labels[rows] = Y[rows]
    return labels


def by_hand(rows):
    """PCA, unit length and logistic regression tuned by cross-validation, in scikit-learn and
    numpy alone.
    """
    mean = X[POOL].astype(np.float64).mean(axis=0)
    axes = np.linalg.svd(X[POOL] - mean, full_matrices=False)[2]
    z = (X - mean) @ axes.T
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    fold = stratified_folds(Y[rows], 5, np.random.default_rng([7]))
    losses = {}
    for c in (1.0, 10.0, 100.0):
        total, n = 0.0, 0
        for number in range(5):
            train, held = rows[fold != number], rows[fold == number]
            held = held[np.isin(Y[held], Y[train])]
            head = LogisticRegression(C=c, tol=1e-8, max_iter=10000).fit(z[train], Y[train])
            p = head.predict_proba(z[held])[
                np.arange(len(held)), np.searchsorted(head.classes_, Y[held])
            ]
            total, n = total - np.log(p).sum(), n + len(held)
        losses[c] = total / n
    c = min(losses, key=losses.get)
    head = LogisticRegression(C=c, tol=1e-8, max_iter=10000).fit(z[rows], Y[rows])
    return c, losses, head.predict_proba(z[POOL]), head.score(z[TEST], Y[TEST])


@pytest.mark.parametrize("n", [60, 300])
def test_equals_a_loop_in_scikit_learn(n):
    rows = np.sort(np.random.default_rng(n).permutation(len(POOL))[:n])
    learner = probe(Linear(grid=(1.0, 10.0, 100.0)))
    c, losses, probs, accuracy = by_hand(rows)
    info = learner.fit(rows, masked(rows), seed=[7]).info
    assert info["c"] == c
    assert len(info["cross_entropy"]) >= 2
    for value, loss in info["cross_entropy"].items():
        assert loss == pytest.approx(losses[float(value)], rel=5e-3)
    assert np.abs(learner.signals(POOL, ["probs"])["probs"] - probs).max() < 2e-3
    assert learner.test()["accuracy"] == pytest.approx(accuracy, abs=2 / len(TEST))


@pytest.mark.parametrize("n", [10, 60, 300])
def test_equals_scikit_learn_with_the_same_penalty(n):
    rows = np.random.default_rng(n).permutation(len(POOL))[:n]
    learner = probe()
    info = learner.fit(rows, masked(rows), seed=[7]).info
    x = learner.signals(POOL, ["features"])["features"].astype(np.float64)
    head = LogisticRegression(C=info["c"], tol=1e-9, max_iter=20000).fit(x[rows], Y[rows])
    probs = learner.signals(POOL, ["probs"])["probs"]
    expected = np.zeros((len(POOL), 10))
    expected[:, head.classes_] = head.predict_proba(x)
    assert np.abs(probs - expected).max() < 1e-3
    assert learner.test()["accuracy"] == pytest.approx(
        head.score(learner.test_features.astype(np.float64), Y[TEST]), abs=2 / len(TEST)
    )


def test_weights_count_as_repetitions():
    rows = np.arange(40)
    weights = np.where(rows % 3 == 0, 3.0, 1.0)
    a, b = probe(Linear(grid=(10.0,), start=10.0)), probe(Linear(grid=(10.0,), start=10.0))
    a.fit(rows, masked(rows), weights=weights, seed=[0])
    x = a.signals(POOL, ["features"])["features"].astype(np.float64)
    w = weights / weights.mean()
    head = LogisticRegression(C=10.0, tol=1e-9, max_iter=20000).fit(x[rows], Y[rows], w)
    assert np.abs(a.signals(POOL, ["probs"])["probs"] - head.predict_proba(x)).max() < 1e-3
    b.fit(rows, masked(rows), seed=[0])
    assert (
        np.abs(a.signals(POOL, ["probs"])["probs"] - b.signals(POOL, ["probs"])["probs"]).max()
        > 0.01
    )


def test_nearest_neighbors_vote_as_scikit_learns():
    rows = np.random.default_rng(0).permutation(len(POOL))[:200]
    learner = probe(Neighbors(grid=(5,), start=5))
    learner.fit(rows, masked(rows), seed=[0])
    x = learner.signals(POOL, ["features"])["features"]
    share = KNeighborsClassifier(5).fit(x[rows], Y[rows]).predict_proba(x)
    prior = np.bincount(Y[rows], minlength=10) / 200
    assert np.allclose(
        learner.signals(POOL, ["probs"])["probs"], (5 * share + prior) / 6, atol=1e-6
    )
    assert learner.test()["accuracy"] > 0.85


@pytest.mark.parametrize("head", ["linear", "mlp", "knn"])
def test_is_a_learner(head, tmp_path):
    learner = probe(Mlp(width=16, steps=50) if head == "mlp" else head, members=3)
    assert isinstance(learner, Learner)
    with pytest.raises(RuntimeError, match="call fit"):
        learner.test()
    rows = np.random.default_rng(1).permutation(len(POOL))[:80]
    info = learner.fit(rows, masked(rows), seed=[1, 2]).info
    json.dumps(info)
    everything = learner.signals(POOL, learner.available)
    assert {k: v.shape for k, v in everything.items()} == {
        "features": (1200, 64),
        "logits": (1200, 10),
        "probs": (1200, 10),
        "member_probs": (1200, 3, 10),
    }
    part = learner.signals(POOL[100:107], learner.available)
    for name, column in part.items():
        assert np.allclose(column, everything[name][100:107], atol=1e-6), name
    assert np.allclose(everything["probs"].sum(axis=1), 1, atol=1e-5)
    assert np.ptp(everything["member_probs"], axis=1).max() > 0.01
    learner.save(tmp_path / "head.safetensors")
    other = probe(Mlp(width=16, steps=50) if head == "mlp" else head)
    other.load(tmp_path / "head.safetensors")
    assert other.test() == learner.test()
    # the order of picks is not read, the same seed gives the same head
    again = probe(Mlp(width=16, steps=50) if head == "mlp" else head, members=3)
    again.fit(rows[::-1], masked(rows), seed=[1, 2])
    same = again.signals(POOL, ["probs", "member_probs"])
    assert all(np.array_equal(same[name], everything[name]) for name in same)


def test_labels_of_others_are_never_read():
    rows = np.random.default_rng(3).permutation(len(POOL))[:100]
    a, b = probe(), probe()
    a.fit(rows, masked(rows), seed=[0])
    b.fit(rows, Y[POOL], seed=[0])
    assert a.test() == b.test()


def test_one_class_and_absent_classes():
    learner = probe()
    rows = np.flatnonzero(Y[POOL] == 4)[:3]
    learner.fit(rows, masked(rows), seed=[0])
    assert learner.confusion is None
    assert learner.test()["balanced_accuracy"] == pytest.approx(0.1)
    assert np.array_equal(
        learner.confusion, confusion_matrix(Y[TEST], np.full(len(TEST), 4), labels=range(10))
    )
    logits = learner.signals(POOL, ["logits"])["logits"]
    assert (logits[:, [0, 1, 2, 3, 5, 6, 7, 8, 9]] == logits[:, [4]] - 30).all()


def test_the_confusion_matrix_is_that_of_the_last_test():
    learner, rows = probe(), np.random.default_rng(3).permutation(len(POOL))[:100]
    learner.fit(rows, masked(rows), seed=[0])
    value = learner.test()["accuracy"]
    assert np.trace(learner.confusion) / len(TEST) == value
    assert learner.confusion.sum(axis=1).tolist() == np.bincount(Y[TEST]).tolist()


def test_words_for_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match="head: expected one of linear, mlp, knn, got 'svm'"):
        probe("svm")
    with pytest.raises(TypeError, match="options: .*trees"):
        Probe(options={"trees": 3})
    with pytest.raises(ValueError, match="grid: expected positive values, start=7"):
        Linear(start=7.0)
    with pytest.raises(ValueError, match="features: expected floating numbers"):
        ProbeLearner(X[POOL].astype(int), X[TEST], Y[TEST], "0123456789")
    bad = X[POOL].copy()
    bad[5, 1] = np.nan
    with pytest.raises(ValueError, match="features: expected finite numbers, row 5"):
        ProbeLearner(bad, X[TEST], Y[TEST], "0123456789", components=None)
    learner = probe()
    with pytest.raises(ValueError, match=r"labels: expected 0 to 9 .* got -1"):
        learner.fit(np.arange(3), masked(np.arange(2)), seed=[0])
    with pytest.raises(ValueError, match="weights: expected finite numbers"):
        learner.fit(np.arange(2), Y[POOL], weights=np.zeros(2), seed=[0])
    learner.fit(np.arange(20), Y[POOL], seed=[0])
    with pytest.raises(ValueError, match="a probe gives"):
        learner.signals(POOL, ["predicted_loss"])
    learner.save(tmp_path / "h")
    with pytest.raises(ValueError, match="expected a head of kind Neighbors, got Linear"):
        probe("knn").load(tmp_path / "h")
