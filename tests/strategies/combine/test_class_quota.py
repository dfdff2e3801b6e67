import numpy as np
import pytest

from coreset import Pool, Signals, select
from coreset.registry import strategy
from coreset.strategies.baseline.random import Random
from coreset.strategies.baseline.top_k import TopK
from coreset.strategies.combine.class_quota import ClassQuota
from coreset.strategies.coverage.kcenter import KCenterGreedy
from coreset.testing import check_strategy

GROUPS = np.array(["b", "a", "b", "c", "a", "b", "b", "a", "b", "b"])
S = np.array([5.0, 1.0, 9.0, 3.0, 2.0, 7.0, 1.0, 8.0, 2.0, 4.0])


def ask(k, selected=(), **options):
    quota = ClassQuota(TopK("s"), column="g", **options)
    return quota(Pool(10, selected), Signals(10, s=S, g=GROUPS), k, np.random.default_rng(0))


def best(group, k, free=range(10)):
    return sorted((i for i in free if GROUPS[i] == group), key=lambda i: -S[i])[:k]


def test_shares_are_exact_and_the_best_of_each_group():
    chosen = ask(5)  # 3 a, 6 b, 1 c: 1.5, 3, 0.5 -> the remainders tie, the lowest group gets it
    assert chosen.info["quota"] == {"a": 2, "b": 3, "c": 0}
    assert set(chosen.indices.tolist()) == {*best("a", 2), *best("b", 3)}
    np.testing.assert_array_equal(chosen.scores, S[chosen.indices])
    assert chosen.indices[0] == best("b", 1)[0]  # the largest share starts
    assert ask(7, balance="equal").info["quota"] == {"a": 3, "b": 3, "c": 1}
    labels = np.repeat([0, 1, 2], [33, 33, 34])
    assert len(select("class_quota", 10, labels=labels, probs=np.full((100, 2), 0.5))) == 10


def test_caps_count_what_is_taken():
    chosen = ask(4, selected=[2, 5, 7], cap=3)
    assert chosen.info["quota"]["b"] == 1
    assert chosen.info["quota"]["a"] + chosen.info["quota"]["c"] == 3
    assert ask(3, selected=[2, 5, 0], cap=3).info["quota"]["b"] == 0
    with pytest.raises(ValueError, match="cap: 1 per g leaves 3 candidates, fewer than the 4"):
        ask(4, cap=1)
    signals = Signals(10, s=S)
    signals.put("g", range(9), GROUPS[:9])
    # the group of what is taken must be known
    with pytest.raises(ValueError, match="g: no value for 1"):
        ClassQuota(TopK("s"), "g", cap=3)(Pool(10, [9]), signals, 2, np.random.default_rng(0))


def test_the_groups_of_what_is_taken_are_read_where_they_matter():
    assert ClassQuota(TopK("s"), column="g").needs_selected == set()
    assert ClassQuota(TopK("s"), column="g", cap=2).needs_selected == {"g"}
    assert ClassQuota(KCenterGreedy(), column="g").needs_selected == {"features", "g"}


def test_what_is_taken_of_other_groups_counts_nowhere():
    x, g = np.array([[0.0], [1.0], [5.0], [0.0], [4.0]]), np.array([0, 0, 0, 1, 2])
    # by itself 5 is the farthest from 0, whatever 1 holds at 4
    got = select(
        "class_quota", 1, features=x, labels=g, selected=[0, 4], options={"base": "kcenter"}
    )
    assert got.indices.tolist() == [2]
    assert got.scores.tolist() == [5.0]


def test_one_example_groups_and_all_candidates():
    assert ask(10).info["quota"] == {"a": 3, "b": 6, "c": 1}
    alone = ClassQuota(TopK("s"), "g")(
        Pool(10), Signals(10, s=S, g=np.arange(10)), 4, np.random.default_rng(0)
    )
    assert alone.indices.tolist() == [0, 1, 2, 3]  # equal shares tie: the lowest groups


def test_contract_and_refusals():
    check_strategy(strategy("class_quota"))
    check_strategy(ClassQuota(Random(), balance="equal"))
    check_strategy(ClassQuota(KCenterGreedy()))
    for bad in ({"balance": "fair"}, {"cap": 0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            ClassQuota(**bad)
    with pytest.raises(ValueError, match="g: expected one value per example"):
        ClassQuota(TopK("s"), "g")(
            Pool(10), Signals(10, s=S, g=np.ones((10, 2), int)), 1, np.random.default_rng(0)
        )
