import numpy as np
import pytest

from coreset import Pool, Signals
from coreset.registry import strategy
from coreset.strategies.baseline.random import Random
from coreset.strategies.baseline.top_k import TopK
from coreset.strategies.combine.mixture import Mixture
from coreset.strategies.coverage.kcenter import KCenterGreedy
from coreset.testing import check_strategy


def test_shares_are_exact_and_none_is_taken_twice():
    a, b = np.arange(20.0), np.arange(20.0) + 0.5
    mixture = Mixture([TopK("a"), TopK("b"), TopK("a", False)], [2, 1, 1])
    chosen = mixture(Pool(20), Signals(20, a=a, b=b), 7, np.random.default_rng(0))
    assert chosen.reasons.count("TopK") == 7
    # 3.5, 1.75, 1.75 of 7 -> 3, 2, 2, in turns
    assert chosen.indices.tolist() == [19, 16, 0, 18, 15, 1, 17]


def test_later_parts_keep_away_from_earlier_choices():
    x = np.array([[0.0], [10.0], [10.1], [5.0]])
    mixture = Mixture([TopK("s"), KCenterGreedy()], [1, 1])
    chosen = mixture(
        Pool(4, [0]), Signals(4, s=[0.0, 9.0, 1.0, 1.0], features=x), 2, np.random.default_rng(0)
    )
    # without the first choice the farthest from 0 would be 2
    assert chosen.indices.tolist() == [1, 3]
    assert chosen.reasons == ["TopK", "KCenterGreedy"]
    assert chosen.scores is None


def test_a_share_may_come_to_nothing():
    mixture = Mixture([TopK("s"), Random()], [1, 1])
    assert mixture(
        Pool(3), Signals(3, s=[1.0, 2.0, 3.0]), 1, np.random.default_rng(0)
    ).indices.tolist() == [2]


def test_contract_and_refusals():
    check_strategy(strategy("mixture"))
    check_strategy(Mixture([TopK("loss"), KCenterGreedy(), Random()], [0.2, 0.3, 0.5]))
    with pytest.raises(ValueError, match="shares: expected one per strategy, got 1 for 2"):
        Mixture(shares=[1.0])
    with pytest.raises(TypeError, match=r"got \['int'\]"):
        Mixture([3, Random()])
    with pytest.raises(ValueError, match="shares: expected positive"):
        Mixture(shares=[1.0, 0.0])
    with pytest.raises(ValueError, match="got 0 for 0"):
        Mixture([], [])
