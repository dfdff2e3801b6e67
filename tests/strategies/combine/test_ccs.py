import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset import Pool, Signals, select
from coreset.registry import strategy
from coreset.strategies.combine.ccs import Ccs, even_budgets, strata, without_hardest
from coreset.strategies.combine.class_quota import ClassQuota
from coreset.strategies.dynamics.forgetting import Forgetting
from coreset.testing import check_strategy


def stratum_counts(difficulty, beta, bins, k):
    """Algorithm 1 in plain loops: how many each stratum gives, over the examples that stay."""
    n = len(difficulty)
    order = sorted(range(n), key=lambda i: (-difficulty[i], i))
    stay = sorted(order[int(beta * n) :])
    low, high = min(difficulty[i] for i in stay), max(difficulty[i] for i in stay)
    members = [[] for _ in range(bins)]
    for i in stay:
        b = 0 if high == low else min(int((difficulty[i] - low) / (high - low) * bins), bins - 1)
        members[b].append(i)
    left, rest = sorted(range(bins), key=lambda b: len(members[b])), k
    given_ = [0] * bins
    while left:
        b = left.pop(0)
        given_[b] = min(len(members[b]), rest // (len(left) + 1))
        rest -= given_[b]
    return members, given_


@pytest.mark.parametrize("k", [1, 30, 60, 140])
def test_algorithm_one(k):
    difficulty = np.random.default_rng(0).gamma(1.5, size=200)
    members, wanted = stratum_counts(difficulty, 0.3, 10, k)
    chosen = select("ccs", k, aum=-difficulty, options={"beta": 0.3, "bins": 10}, seed=4)
    assert [sum(i in m for i in chosen.indices) for m in members] == wanted
    assert chosen.info["dropped"] == 60
    assert len(chosen) == k
    np.testing.assert_array_equal(chosen.scores, difficulty[chosen.indices])


def test_uniform_inside_a_stratum():
    counts = np.zeros(40)
    for seed in range(400):
        counts[
            select(
                "ccs", 10, aum=np.arange(40.0), options={"beta": 0.0, "bins": 2}, seed=seed
            ).indices
        ] += 1
    assert abs(counts - 100).max() < 45  # 5 sd


def test_the_highest_stays_in_the_last_stratum_also_when_all_scores_are_negative():
    scores = -np.linspace(1, 100, 60)
    assert strata(scores, 50).max() == 49
    assert strata(scores, 50)[0] == 49  # the published max * 1.0001 loses it
    assert len(select("ccs", 60, aum=-scores, options={"beta": 0.0})) == 60


def test_balanced_classes_keep_their_shares():
    labels = np.repeat([0, 1], [90, 10])
    aum = np.random.default_rng(0).normal(size=100)
    chosen = ClassQuota(Ccs(beta=0.0))(
        Pool(100), Signals(100, labels=labels, aum=aum), 50, np.random.default_rng(0)
    )
    assert np.bincount(labels[chosen.indices]).tolist() == [45, 5]


def test_fewer_are_dropped_when_the_budget_needs_them():
    assert without_hardest(np.array([3.0, 2.0, 1.0]), 0.7, 2).tolist() == [1, 2]
    chosen = select("ccs", 10, aum=np.arange(10.0), options={"beta": 0.5})
    assert (len(chosen), chosen.info["dropped"]) == (10, 0)


def test_ties_and_equal_scores():
    assert without_hardest(np.ones(4), 0.5, 1).tolist() == [2, 3]
    assert strata(np.ones(4), 5).tolist() == [0, 0, 0, 0]
    assert len(select("ccs", 3, aum=np.ones(4))) == 3


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(0, 40))
def test_budgets_are_exact_and_fit(sizes, k):
    k = min(k, sum(sizes))
    budget = even_budgets(np.array(sizes), k)
    assert budget.sum() == k
    assert (budget <= sizes).all()
    cut = [b for b, s in zip(budget, sizes, strict=True) if b < s]
    assert max(cut, default=0) - min(cut, default=0) <= 1


def test_contract_and_refusals():
    check_strategy(strategy("ccs"))
    check_strategy(Ccs(Forgetting(), beta=0.3, bins=7))
    for bad in ({"beta": 1.0}, {"beta": -0.1}, {"bins": 0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            Ccs(**bad)
