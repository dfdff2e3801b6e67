import numpy as np
import pytest
import torch

from coreset import select
from coreset.numerics.random import keyed_order
from coreset.registry import strategy
from coreset.strategies.uncertainty import discriminative
from coreset.strategies.uncertainty.discriminative import Discriminative, mlp_score
from coreset.testing import check_strategy


def log_odds(x, labeled, train):
    """Balanced, L2-penalized logistic regression by Newton's method on standardized features."""
    a = np.c_[(x - x.mean(0)) / x.std(0), np.ones(len(x))]
    y = np.where(labeled, -1.0, 1.0)[train]
    weight = np.where(y < 0, len(y) / (2 * (y < 0).sum()), len(y) / (2 * (y > 0).sum()))
    ridge = np.diag([1.0] * x.shape[1] + [0.0])
    w, b = np.zeros(a.shape[1]), a[train]
    for _ in range(50):
        s = 1 / (1 + np.exp(y * (b @ w)))
        w = w - np.linalg.solve(
            b.T @ (b * (weight * s * (1 - s))[:, None]) + ridge, ridge @ w - b.T @ (weight * y * s)
        )
    return a @ w


@pytest.mark.parametrize("ratio", [10, 2])
@pytest.mark.parametrize(
    ("k", "rounds", "sizes"), [(6, 1, [6]), (6, 3, [2, 2, 2]), (5, 2, [3, 2]), (3, 10, [1, 1, 1])]
)
def test_turns_of_fit_and_take(k, rounds, sizes, ratio):
    x = np.random.default_rng(0).normal(size=(40, 3)) + np.linspace(0, 3, 40)[:, None]
    labeled = np.arange(40) < 8
    picks, scores = [], []
    rng = np.random.default_rng(0)
    order = keyed_order(rng, np.arange(40))
    for size in sizes:
        free = order[~labeled[order]]
        shown = free[keyed_order(rng, free)[: ratio * labeled.sum()]]
        odds = log_odds(x, labeled, np.r_[np.flatnonzero(labeled), shown])
        best = sorted(free, key=lambda i: -odds[i])[:size]
        picks += best
        scores += [odds[i] for i in best]
        labeled[best] = True
    options = {"classifier": "logistic", "rounds": rounds, "ratio": ratio}
    chosen = select("discriminative", k, features=x, selected=range(8), options=options)
    assert chosen.indices.tolist() == picks
    np.testing.assert_allclose(chosen.scores, scores, rtol=1e-4, atol=1e-5)


def by_hand(z, labeled, train, seed, epochs, batch):
    """The network, its gradients and Adam written out; returns the odds and the epochs it took."""
    draw = torch.Generator().manual_seed(int(np.random.default_rng(seed).integers(2**63)))
    width = 256 if z.shape[1] >= 30 else 20
    sizes = [z.shape[1], width, width, width, 1]
    p = []
    for a, b in zip(sizes, sizes[1:], strict=False):
        p += [
            (2 * torch.rand(a, b, generator=draw, dtype=torch.float64).numpy() - 1)
            * np.sqrt(6 / (a + b)),
            np.zeros(b),
        ]
    x, y = z[train], 1.0 - labeled[train]
    m, v, step = [0 * q for q in p], [0 * q for q in p], 0

    def forward(h):
        layers = [h]
        for i in range(0, 6, 2):
            layers.append(np.maximum(layers[-1] @ p[i] + p[i + 1], 0))
        return layers, (layers[-1] @ p[6] + p[7])[:, 0]

    for epoch in range(epochs):  # noqa: B007
        right = 0
        order = torch.randperm(len(x), generator=draw).numpy()
        for start in range(0, len(x), batch):
            part = order[start : start + batch]
            layers, odds = forward(x[part])
            right += ((odds > 0) == (y[part] > 0)).sum()
            back = ((1 / (1 + np.exp(-odds)) - y[part]) / len(part))[:, None]
            grads = [None] * 8
            for i in (6, 4, 2, 0):
                h = layers[i // 2]
                grads[i], grads[i + 1] = h.T @ back, back.sum(axis=0)
                back = (back @ p[i].T) * (h > 0)
            step += 1
            for i, g in enumerate(grads):
                m[i], v[i] = 0.9 * m[i] + 0.1 * g, 0.999 * v[i] + 0.001 * g * g
                p[i] = p[i] - 3e-4 * (m[i] / (1 - 0.9**step)) / (
                    np.sqrt(v[i] / (1 - 0.999**step)) + 1e-8
                )
        if right > 0.98 * len(x):
            break
    return forward(z)[1], epoch + 1


@pytest.mark.parametrize(
    ("width", "epochs", "batch"), [(4, 1, 1024), (29, 3, 10), (30, 2, 1024), (4, 500, 1024)]
)
def test_the_network_by_hand(width, epochs, batch, monkeypatch):
    monkeypatch.setattr(discriminative, "BATCH", batch)
    rng = np.random.default_rng(1)
    labeled = np.arange(30) < 6
    z = rng.normal(size=(30, width)) - 1.5 * labeled[:, None]
    train = rng.permutation(30)[:25]
    want, took = by_hand(z, labeled, train, 7, epochs, batch)
    if epochs == 500:
        assert 10 < took < 500  # it stops early
    np.testing.assert_allclose(
        mlp_score(z, labeled, train, np.random.default_rng(7), epochs), want, rtol=1e-6, atol=1e-9
    )


def test_the_network_s_picks_in_turns():
    x = np.random.default_rng(0).normal(size=(30, 3))
    chosen = select(
        "discriminative", 5, features=x, selected=range(6), options={"rounds": 2}, seed=3
    )
    rng = np.random.default_rng(3)
    order = keyed_order(rng, np.arange(30))
    z, labeled, want = ((x - x.mean(0)) / x.std(0))[order], order < 6, []
    for size in (3, 2):
        free, known = np.flatnonzero(~labeled), np.flatnonzero(labeled)
        train = np.r_[known, free[keyed_order(rng, order[free])[: 10 * len(known)]]]
        odds = mlp_score(z, labeled, train, rng)
        best = sorted(free, key=lambda i: -odds[i])[:size]
        want += order[best].tolist()
        labeled[best] = True
    assert chosen.indices.tolist() == want
    assert chosen.info["variant"] == "mlp"


@pytest.mark.parametrize("classifier", ["mlp", "logistic"])
def test_a_part_of_the_pool_without_labels_is_found(classifier):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 4)) + 6 * (np.arange(120) >= 100)[:, None]
    options = {"classifier": classifier, "rounds": 1}
    chosen = select("discriminative", 10, features=x, selected=range(20), options=options)
    assert (chosen.indices >= 100).all()
    # once one of them is taken in every turn, the others look like it: later turns go back to the
    # rest
    assert (np.diff(chosen.scores) <= 0).all()


def test_few_labeled_see_a_sample_of_the_rest():
    x = np.random.default_rng(0).normal(size=(100, 3))
    options = {"ratio": 3, "classifier": "logistic"}
    a, b = (
        select("discriminative", 5, features=x, selected=[0], options=options, seed=s)
        for s in (0, 1)
    )
    assert a.indices.tolist() != b.indices.tolist()


@pytest.mark.parametrize("classifier", ["mlp", "logistic"])
def test_duplicates_and_constant_features(classifier):
    options = {"classifier": classifier}
    chosen = select(
        "discriminative", 4, features=np.ones((6, 3), np.float16), selected=[0, 1], options=options
    )
    assert sorted(chosen.indices.tolist()) == [2, 3, 4, 5]
    x = np.random.default_rng(0).normal(size=(40, 3)) + np.linspace(0, 3, 40)[:, None]
    wide = np.c_[x, np.full((40, 1), 7.0)]  # a feature without spread changes nothing
    one, other = (
        select(
            "discriminative", 6, features=v, selected=range(8), options={"classifier": "logistic"}
        )
        for v in (x, wide)
    )
    assert one.indices.tolist() == other.indices.tolist()


def test_contract_and_refusals():
    check_strategy(Discriminative(epochs=5))
    check_strategy(Discriminative("logistic"))
    check_strategy(strategy("discriminative", {"rounds": 2, "ratio": 2, "epochs": 20}))
    with pytest.raises(ValueError, match="selected: the classifier needs"):
        select("discriminative", 1, features=np.eye(3))
    for bad in ({"rounds": 0}, {"ratio": 0}, {"epochs": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(bad))}: expected at least 1, got 0"):
            Discriminative(**bad)
    with pytest.raises(ValueError, match="classifier: expected mlp or logistic, got 'svm'"):
        Discriminative("svm")
