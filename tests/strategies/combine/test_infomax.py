"""InfoMax against its objective over plain float64 matrices: all sets of small pools, greedy on
larger ones.
"""

import itertools

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from coreset import select
from coreset.registry import strategy
from coreset.strategies.baseline.top_k import TopK
from coreset.strategies.combine.infomax import InfoMax, redundancy
from coreset.strategies.combine.quadratic import relax, settle
from coreset.testing import check_strategy

SCORE = TopK(signal="score")


def similarities(x, neighbors):
    """Return K: row z holds the cosines, at least 0, to its nearest examples."""
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosine, k = unit @ unit.T, np.zeros((len(x), len(x)))
    for z in range(len(x)):
        others = sorted((s for s in range(len(x)) if s != z), key=lambda s: -cosine[z, s])
        for s in others[:neighbors]:
            k[z, s] = max(cosine[z, s], 0.0)
    return k


def objective(chosen, info, k, alpha):
    chosen = list(chosen)
    return sum(info[z] for z in chosen) - alpha * sum(k[z, s] for z in chosen for s in chosen)


def scaled(scores):
    return (scores - scores.min()) / (scores.max() - scores.min())


def clusters(seed, n):
    """Return examples in 10 clusters of different worth."""
    rng = np.random.default_rng(seed)
    where = rng.integers(10, size=n)
    x = rng.normal(size=(10, 8))[where] + 0.3 * rng.normal(size=(n, 8))
    return x, rng.uniform(size=n) + rng.uniform(size=10)[where]


def test_the_matrix():
    x = np.random.default_rng(0).normal(size=(40, 5))
    for neighbors in (1, 5, 100):
        k = similarities(x, neighbors)
        got = redundancy(torch.from_numpy(x), neighbors).toarray()
        np.testing.assert_allclose(got, k + k.T, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.1, 0.3, 1.0])
def test_near_the_best_of_all_sets(alpha):
    shortfall = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        x, s = rng.normal(size=(12, 2)), rng.uniform(size=12)
        options = {"base": SCORE, "alpha": alpha, "neighbors": 3}
        chosen = select("infomax", 5, features=x, score=s, options=options)
        info, k = scaled(s), similarities(x, 3)
        values = {c: objective(c, info, k, alpha) for c in itertools.combinations(range(12), 5)}
        got = objective(chosen.indices, info, k, alpha)
        assert chosen.info["value"] == pytest.approx(got, abs=1e-4)
        spread = max(values.values()) - np.mean(list(values.values()))
        shortfall.append((max(values.values()) - got) / spread)
    assert min(shortfall) > -1e-9
    assert max(shortfall) < 0.2
    assert np.mean(shortfall) < 0.05  # of the distance from a random set to the best


@pytest.mark.parametrize(("n", "k"), [(200, 20), (200, 100), (600, 60)])
@pytest.mark.parametrize("alpha", [0.1, 0.3, 1.0])
def test_no_worse_than_greedy_and_far_above_the_highest_scores(n, k, alpha):
    ours, theirs, highest = [], [], []
    for seed in range(4):
        x, s = clusters(seed, n)
        options = {"base": SCORE, "alpha": alpha}
        chosen = select("infomax", k, features=x, score=s, options=options).indices
        info, near = scaled(s), similarities(x, 5)
        gain, greedy = info.copy(), []
        for _ in range(k):
            greedy.append(int(gain.argmax()))
            gain -= alpha * (near[greedy[-1]] + near[:, greedy[-1]])
            gain[greedy] = -np.inf
        ours.append(objective(chosen, info, near, alpha))
        theirs.append(objective(greedy, info, near, alpha))
        highest.append(objective(np.argsort(-s)[:k], info, near, alpha))
    assert np.mean(ours) > np.mean(highest)
    assert np.mean(ours) > np.mean(theirs) - 0.02 * abs(np.mean(theirs))


def test_neither_steps_nor_rounding_lower_the_objective():
    x, s = clusters(3, 80)
    info, k = scaled(s), similarities(x, 5)
    pairs, last = redundancy(torch.from_numpy(x), 5), -np.inf
    for iterations in range(1, 30):
        shares = relax(info, pairs, 30, 0.7, iterations)
        assert shares.sum() == pytest.approx(30, abs=1e-6)
        assert 0 <= shares.min() <= shares.max() <= 1
        value = info @ shares - 0.7 * shares @ k @ shares
        assert value >= last - 1e-6
        last = value
        rounded = settle(info, pairs, shares, 30, 0.7)
        assert len(set(rounded.tolist())) == 30
        assert objective(rounded, info, k, 0.7) >= value - 1e-4
    for seed in range(20):  # any shares, not only those of an ascent
        shares = np.random.default_rng(seed).dirichlet(np.ones(80)) * 30
        while (over := shares > 1).any():
            shares[~over] *= (30 - over.sum()) / shares[~over].sum()
            shares[over] = 1
        value = info @ shares - 0.7 * shares @ k @ shares
        assert objective(settle(info, pairs, shares, 30, 0.7), info, k, 0.7) >= value - 1e-4


def test_the_steps_are_short_enough_for_two_cliques():
    """All in a half are alike: longer steps swing from one half to the other."""
    pairs = csr_matrix(np.kron(np.eye(2), np.ones((10, 10)) - np.eye(10)))
    info = np.linspace(0, 0.5, 20)
    values = []
    for iterations in range(1, 30):
        shares = relax(info, pairs, 10, 1.0, iterations)
        values.append(info @ shares - shares @ (pairs @ shares) / 2)
    assert (np.diff(values) >= -1e-9).all()
    rounded = settle(info, pairs, shares, 10, 1.0)
    assert rounded.tolist() == [5, 6, 7, 8, 9, 15, 16, 17, 18, 19]  # the best of both


def test_scores_alone_and_copies():
    x, s = clusters(0, 50)
    columns = {"features": x, "score": s}
    alone = select("infomax", 10, **columns, options={"base": SCORE, "alpha": 0.0})
    assert alone.indices.tolist() == np.argsort(-s)[:10].tolist()
    same = select(
        "infomax", 10, features=x, score=1e6 * s - 7, options={"base": SCORE, "neighbors": 3}
    )
    more = select("infomax", 10, **columns, options={"base": SCORE, "neighbors": 3})
    assert same.indices.tolist() == more.indices.tolist()
    # ten pairs of copies: one of each
    x = np.repeat(np.linalg.qr(np.random.default_rng(0).normal(size=(10, 10)))[0], 2, axis=0)
    options = {"base": SCORE, "neighbors": 1, "alpha": 1.0}
    s = np.repeat(np.linspace(1, 1.2, 10), 2)
    chosen = select("infomax", 10, features=x, score=s, options=options).indices
    assert sorted(chosen // 2) == list(range(10))
    equal = select("infomax", 4, features=np.ones((6, 2)), score=np.ones(6), options=options)
    assert len(equal) == 4


def test_what_is_selected_counts_and_the_order():
    x = np.array([[1.0, 0.0], [1.0, 0.01], [0.0, 1.0], [0.1, 1.0]])
    s = np.array([1.0, 0.9, 0.5, 0.0])
    options = {"base": SCORE, "neighbors": 1, "alpha": 1.0}
    assert select("infomax", 1, features=x, score=s, options=options).indices.tolist() == [0]
    given = select("infomax", 1, selected=[0], features=x, score=s, options=options)
    assert given.indices.tolist() == [2]
    x, s = clusters(1, 60)
    chosen = select("infomax", 20, features=x, score=s, options={"base": SCORE})
    info, k = scaled(s), similarities(x, 5)
    whole = objective(chosen.indices, info, k, 0.3)
    loss = [whole - objective(np.delete(chosen.indices, t), info, k, 0.3) for t in range(20)]
    np.testing.assert_allclose(chosen.scores, loss, atol=1e-4)
    assert (np.diff(chosen.scores) <= 0).all()


def test_contract_and_refusals():
    check_strategy(strategy("infomax"))
    check_strategy(InfoMax(SCORE, alpha=1.0, neighbors=3))
    with pytest.raises(ValueError, match="alpha: expected a number of at least 0, got -1"):
        InfoMax(alpha=-1)
    with pytest.raises(ValueError, match="neighbors: expected a whole number from 1 on, got 0"):
        InfoMax(neighbors=0)
    with pytest.raises(ValueError, match=r"iterations: expected a whole number from 1 on, got 2.5"):
        InfoMax(iterations=2.5)
