import numpy as np
import pytest
import torch

from coreset import Pool, Signals, select
from coreset.registry import strategy
from coreset.strategies.coverage.contextual_diversity import farthest_by_divergence
from coreset.testing import check_strategy


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def divergence(p, q):
    return 0.5 * (p * np.log(p / q)).sum(axis=-1) + 0.5 * (q * np.log(q / p)).sum(axis=-1)


def test_contract():
    check_strategy(strategy("contextual_diversity"))


def test_the_plain_greedy_on_the_formula():
    p = softmax(np.random.default_rng(0).normal(size=(90, 6)))
    got = select("contextual_diversity", 30, probs=p, selected=[2, 70])
    near, picks = np.minimum(divergence(p, p[2]), divergence(p, p[70])), []
    for i in range(30):
        near[[2, 70, *picks]] = -1
        picks.append(int(near.argmax()))
        assert np.isclose(got.scores[i], near.max())
        near = np.minimum(near, divergence(p, p[picks[-1]]))
    assert got.indices.tolist() == picks
    near[[2, 70, *picks]] = 0
    assert np.isclose(got.info["cover_radius"], near.max())


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_saturated_probabilities_are_finite(dtype):
    p = np.eye(3, dtype=dtype)[np.arange(9) % 3]
    got = select("contextual_diversity", 8, probs=p, selected=[0])
    assert np.isfinite(got.scores).all()
    assert {int(i) % 3 for i in got.indices[:2]} == {1, 2}
    assert (got.scores[2:] == 0).all()
    assert np.isclose(got.scores[0], np.log(1e12), rtol=1e-6)


def test_half_precision_rows_are_made_to_sum_to_one():
    p = np.random.default_rng(0).dirichlet(np.full(40, 0.3), size=30).astype(np.float16)
    exact = np.maximum(p.astype(np.float64), 1e-12)
    assert np.abs(exact.sum(axis=1) - 1).max() > 1e-4
    exact /= exact.sum(axis=1, keepdims=True)
    got = select("contextual_diversity", 1, probs=p, selected=[3])
    want = divergence(exact, exact[3])
    assert got.indices[0] == want.argmax()
    assert got.scores[0] == pytest.approx(want.max(), rel=1e-12)


@pytest.mark.parametrize("selected", [[0], [5], [9, 2]])
def test_ties_go_to_the_lowest(selected):
    same = select("contextual_diversity", 7, probs=np.full((10, 4), 0.25), selected=selected)
    assert same.indices.tolist() == [i for i in range(10) if i not in selected][:7]
    two = np.array([[0.9, 0.1], [0.1, 0.9]])[np.arange(10) % 2]
    got = select("contextual_diversity", 8, probs=two, selected=[4])
    assert got.indices.tolist() == [1, 0, 2, 3, 5, 6, 7, 8]


def test_all_picked_and_the_random_first():
    p = softmax(np.random.default_rng(1).normal(size=(20, 3)))
    assert (
        len({int(select("contextual_diversity", 1, probs=p, seed=s).indices[0]) for s in range(20)})
        > 5
    )
    got = select("contextual_diversity", 20, probs=p)
    assert np.isinf(got.scores[0])
    assert got.info["cover_radius"] == 0
    assert farthest_by_divergence(torch.from_numpy(p), 0, np.array([0]))[0].tolist() == []


def test_the_random_first_goes_by_id():
    p, ids = (
        softmax(np.random.default_rng(1).normal(size=(20, 3))),
        np.random.default_rng(2).permutation(20),
    )
    diversity = strategy("contextual_diversity")
    for seed in range(5):
        one = diversity(Pool(20), Signals(20, probs=p), 1, np.random.default_rng(seed)).indices[0]
        other = diversity(
            Pool(20, ids=ids), Signals(20, probs=p[ids]), 1, np.random.default_rng(seed)
        ).indices[0]
        assert ids[other] == one
