"""SubZeroCore against its formulas in plain float64 loops."""

import itertools
from math import comb

import numpy as np
import pytest

from coreset import select
from coreset.registry import strategy
from coreset.strategies.submodular.subzerocore import SubZeroCore, rank_for, usual
from coreset.testing import check_strategy


def cosines(x):
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    return unit @ unit.T


def weights(x, rank):
    c = cosines(x)
    radius = np.array([sorted(1 - np.delete(c[i], i))[rank - 1] for i in range(len(x))])
    return np.exp(-((radius - radius.mean()) ** 2) / (2 * radius.std() ** 2))


def objective(chosen, s, c):
    return sum(max((s[j] * max(c[i, j], 0.0) for j in chosen), default=0.0) for i in range(len(c)))


def shortfalls(picks, s, c, taken=()):
    """Return how far the gain of each pick stays below the best of its step: two mutual nearest
    neighbors of the same radius tie exactly.
    """
    have, out = list(taken), []
    for pick in picks:
        now = objective(have, s, c)
        gain = {j: objective([*have, j], s, c) - now for j in range(len(c)) if j not in have}
        out.append(max(gain.values()) - gain[pick])
        have.append(pick)
    return out


def missed(n, m, rank):
    """Return the chance that none of `rank` given others of n is among m: hypergeometric."""
    return comb(n - 1 - rank, m) / comb(n - 1, m)


@pytest.mark.parametrize(("n", "m"), [(500, 112), (50, 5), (50, 25), (1000, 10)])
@pytest.mark.parametrize("coverage", [0.1, 0.6, 0.95])
def test_the_fewest_neighbors_of_which_one_is_taken(n, m, coverage):
    rank = rank_for(n, m, coverage)
    assert 1 - missed(n, m, rank) >= coverage - 1e-12
    assert rank == 1 or 1 - missed(n, m, rank - 1) < coverage
    rng = np.random.default_rng(0)  # and by draws
    hits = [(rng.permutation(n - 1)[:rank] < m).any() for _ in range(2000)]
    assert np.mean(hits) == pytest.approx(1 - missed(n, m, rank), abs=0.04)


def test_the_rank_at_the_ends():
    assert rank_for(10, 10, 0.6) == rank_for(10, 9, 0.6) == rank_for(1, 1, 0.6) == 1
    assert rank_for(10, 1, 0.999) == 8  # no more than n - m - 1


@pytest.mark.parametrize("coverage", [0.2, 0.6, 0.9])
@pytest.mark.parametrize("taken", [(), (3, 8)])
def test_the_greedy_choice(coverage, taken):
    for seed in range(3):
        x = np.random.default_rng(seed).normal(size=(30, 4)) + 0.5
        rank = rank_for(30, 6 + len(taken), coverage)
        s, c = weights(x, rank), cosines(x)
        chosen = select(
            "subzerocore", 6, selected=list(taken), features=x, options={"coverage": coverage}
        )
        assert chosen.info["neighbor"] == rank
        assert max(shortfalls(chosen.indices.tolist(), s, c, taken)) < 1e-4
        value = objective([*taken, *chosen.indices], s, c) - objective(taken, s, c)
        assert chosen.info["value"] == pytest.approx(value, abs=1e-3)
        assert sum(chosen.scores) == pytest.approx(value, abs=1e-3)


def test_greedy_reaches_its_share_of_the_best():
    for seed in range(5):
        x = np.random.default_rng(seed).normal(size=(10, 3))
        s, c = weights(x, rank_for(10, 3, 0.6)), cosines(x)
        got = objective(select("subzerocore", 3, features=x).indices, s, c)
        best = max(objective(t, s, c) for t in itertools.combinations(range(10), 3))
        assert (1 - np.exp(-1)) * best <= got <= best + 1e-6


def test_all_neighbors_give_the_answer_of_all_pairs():
    """With n - 1 neighbors the sparse form holds every pair."""
    x = np.random.default_rng(0).normal(size=(40, 5)) + 0.5
    dense = select("subzerocore", 12, features=x, options={"neighbors": 0})
    sparse = select("subzerocore", 12, features=x, options={"neighbors": 39})
    assert dense.indices.tolist() == sparse.indices.tolist()
    np.testing.assert_allclose(dense.scores, sparse.scores, atol=1e-4)


def test_neither_a_lone_point_nor_a_knot_of_copies_stands_for_others():
    """Its weight tells it from facility location, which weighs all alike."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 6)) + 1
    x[0], x[50:] = -x[1:50].mean(axis=0), x[50]
    s = weights(x, rank_for(60, 5, 0.6))
    assert s[0] < 0.2
    assert s[50:].max() < np.median(s[1:50])
    assert usual(np.full(4, 0.3)).tolist() == [1.0] * 4
    ours = select("subzerocore", 8, features=x).indices.tolist()
    assert ours != select("facility_location", 8, features=x).indices.tolist()


def test_copies_zeros_and_all():
    for x in (np.ones((6, 3)), np.zeros((6, 3)), np.eye(6)):
        for k in (1, 4, 6):
            assert len(set(select("subzerocore", k, features=x).indices.tolist())) == k
    assert select("subzerocore", 1, features=np.ones((1, 2))).indices.tolist() == [0]
    x = np.random.default_rng(0).normal(size=(20, 3))
    assert (
        select("subzerocore", 5, features=x).indices.tolist()
        == select("subzerocore", 5, features=1e9 * x).indices.tolist()
    )


def test_contract_and_refusals():
    check_strategy(strategy("subzerocore"))
    check_strategy(SubZeroCore(coverage=0.8, neighbors=9))
    for coverage in (0.0, 1.0):
        with pytest.raises(ValueError, match=r"coverage: expected a number in \(0, 1\)"):
            SubZeroCore(coverage=coverage)
    with pytest.raises(ValueError, match="neighbors: expected 'auto' or a whole number"):
        SubZeroCore(neighbors=-1)
