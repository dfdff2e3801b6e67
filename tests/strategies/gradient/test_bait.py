"""BAIT against information matrices written out, the trace inverted anew for every example."""

import numpy as np
import pytest

import coreset
import coreset.strategies.gradient.bait as module
from coreset.strategies.gradient.bait import Bait
from coreset.testing import check_strategy


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def information(h, p, fisher):
    """One example's: the expectation over its classes of the gradient's outer product."""
    h, p = h.astype(np.float64), p.astype(np.float64)
    if fisher == "binary":
        top = p.max()
        # Bernoulli: label 1 with probability top, gradient (top - label) h
        return sum(
            q * np.outer((top - label) * h, (top - label) * h)
            for label, q in ((1, top), (0, 1 - top))
        )
    total = 0
    for c in range(len(p)):
        g = np.outer(p - np.eye(len(p))[c], h).ravel()
        total = total + p[c] * np.outer(g, g)
    return total


def reference(x, p, k, selected, ridge, fisher):
    partitions = np.array([information(h, q, fisher) for h, q in zip(x, p, strict=True)])
    m = len(selected)
    f = partitions.mean(axis=0)
    mat = ridge * np.eye(len(f)) + (m / (m + k) * partitions[selected].mean(axis=0) if m else 0)
    partitions = partitions * k / (m + k)
    trace = [np.trace(np.linalg.inv(mat) @ f)]
    left = [i for i in range(len(x)) if i not in selected]
    chosen = []
    for _ in range(min(2 * k, len(left))):
        after = [np.trace(np.linalg.inv(mat + partitions[i]) @ f) for i in left]
        chosen.append(left.pop(int(np.argmin(after))))
        mat = mat + partitions[chosen[-1]]
    while len(chosen) > k:
        after = [np.trace(np.linalg.inv(mat - partitions[i]) @ f) for i in chosen]
        mat = mat - partitions[chosen.pop(int(np.argmin(after)))]
    return chosen, [*trace, np.trace(np.linalg.inv(mat) @ f)]


def case(n=24, seed=0, d=4, c=3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), softmax(2 * rng.normal(size=(n, c)))


@pytest.mark.parametrize("fisher", ["exact", "binary"])
def test_contract(fisher):
    check_strategy(Bait(fisher))


@pytest.mark.parametrize("fisher", ["exact", "binary"])
@pytest.mark.parametrize("ridge", [1.0, 0.01])
@pytest.mark.parametrize("selected", [[], [3, 17, 8]])
@pytest.mark.parametrize("k", [1, 5, 16, 21])
def test_choice_and_trace(fisher, ridge, selected, k):
    x, p = case()
    chosen, trace = reference(x, p, k, selected, ridge, fisher)
    got = coreset.select(
        "bait",
        k,
        features=x,
        probs=p,
        selected=selected,
        options={"fisher": fisher, "ridge": ridge},
    )
    assert got.indices.tolist() == chosen
    assert got.info["trace"] == pytest.approx(trace, rel=1e-8)


@pytest.mark.parametrize("fisher", ["exact", "binary"])
@pytest.mark.parametrize(("n", "d", "k"), [(2, 3, 1), (10, 20, 3), (40, 6, 8), (24, 4, 15)])
@pytest.mark.parametrize("seed", [0, 1])
def test_large_features(fisher, n, d, k, seed):
    """Information millions of times the prior, also with fewer rows than directions; beyond that
    the choice no longer changes.
    """
    x, p = case(n, seed, d)
    chosen, trace = reference(x * 1000, p, k, [], 1.0, fisher)
    for scale in (1e3, 1e4, 1e5):
        got = coreset.select("bait", k, features=x * scale, probs=p, options={"fisher": fisher})
        assert sorted(got.indices.tolist()) == sorted(chosen)
        if scale == 1e3:
            assert got.info["trace"] == pytest.approx(trace, rel=1e-6)


def test_float16_columns():
    x, p = case(seed=4)
    x, p = x.astype(np.float16), p.astype(np.float16)
    q = p.astype(np.float64)
    q /= q.sum(axis=1, keepdims=True)
    got = coreset.select("bait", 4, features=x, probs=p)
    chosen, trace = reference(x, q, 4, [], 1.0, "exact")
    assert got.indices.tolist() == chosen
    assert got.info["trace"] == pytest.approx(trace, rel=1e-6)


def test_backward_pruning_matters():
    """The choice differs from the first k of a forward pass, and is no worse."""
    differing = 0
    for seed in range(3):
        x, p = case(30, seed)
        partitions = np.array([information(h, q, "exact") for h, q in zip(x, p, strict=True)])
        got = coreset.select("bait", 6, features=x, probs=p, options={"ridge": 0.01})
        mat, forward = 0.01 * np.eye(12), []
        for _ in range(6):
            after = [
                (
                    np.trace(np.linalg.inv(mat + q) @ partitions.mean(axis=0))
                    if i not in forward
                    else np.inf
                )
                for i, q in enumerate(partitions)
            ]
            forward.append(int(np.argmin(after)))
            mat = mat + partitions[forward[-1]]
        differing += set(forward) != set(got.indices.tolist())
    assert differing


def test_no_information_at_all():
    x = np.random.default_rng(0).normal(size=(6, 3))
    saturated = coreset.select("bait", 6, features=x, probs=np.tile([1.0, 0.0], (6, 1)))
    assert sorted(saturated.indices) == list(range(6))
    assert saturated.scores.tolist() == [0.0] * 6
    same = coreset.select("bait", 2, features=np.ones((5, 3)), probs=np.full((5, 2), 0.5))
    assert len(set(same.indices)) == 2


def test_too_large_is_refused_in_words(monkeypatch):
    x, p = np.ones((4, 5000), np.float32), np.full((4, 10), 0.1, np.float32)
    with pytest.raises(
        ValueError,
        match=(
            "features: the exact Fisher information for 4 examples, 10 classes and 5000 features"
            " needs 112 GB; use fisher=binary"
        ),
    ):
        coreset.select("bait", 1, features=x, probs=p)
    monkeypatch.setattr(module, "LIMIT", 10)
    with pytest.raises(ValueError, match="use fewer candidates or projected features"):
        coreset.select("bait", 1, features=x, probs=p, options={"fisher": "binary"})
    for wrong in ({"fisher": "top"}, {"ridge": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Bait(**wrong)
