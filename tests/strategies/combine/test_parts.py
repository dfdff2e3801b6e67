from dataclasses import dataclass

import numpy as np
import pytest

from coreset import Pool, Selection, Signals
from coreset.score_based import ScoreBased
from coreset.strategies.baseline.random import Random
from coreset.strategies.combine.ccs import Ccs
from coreset.strategies.combine.parts import base_scores, column_at, interleave, narrow
from coreset.strategies.combine.two_stage import TwoStage
from coreset.strategies.coverage.kcenter import KCenterGreedy
from coreset.strategies.dynamics.aum import Aum
from coreset.strategies.uncertainty.margin import Margin


def test_needs_are_joined():
    both = TwoStage(Margin(), KCenterGreedy())
    assert both.needs == {"probs", "features"}
    assert both.needs_selected == {"features"}
    assert both.random  # k-center's first pick
    assert not TwoStage(Margin(), Margin()).random
    assert TwoStage(Margin(), TwoStage(Random(), KCenterGreedy())).needs == {"probs", "features"}


def test_narrow_shares_and_leaves_the_pool_alone():
    pool = Pool(5, [0], ids=np.array(list("abcde")))
    other = narrow(pool, np.array([2, 3]), np.array([0, 1]))
    assert other.ids is pool.ids
    assert pool.candidates.tolist() == [1, 2, 3, 4]
    assert (other.candidates.tolist(), other.selected.tolist()) == ([2, 3], [0, 1])
    assert pool.selected.tolist() == [0]


def test_interleave_joins_only_what_all_have():
    a = Selection([1, 2], weights=[1, 1], scores=[9, 8])
    b = Selection([3, 4, 5, 6], scores=[5, 4, 3, 2])
    joined = interleave([a, b])
    assert joined.indices.tolist() == [3, 1, 4, 5, 2, 6]
    assert joined.scores.tolist() == [5, 9, 4, 3, 8, 2]
    assert joined.weights is None


def test_interleave_puts_the_only_one_in_the_middle():
    assert interleave([Selection([9]), Selection([1, 2, 3])]).indices.tolist() == [1, 9, 2, 3]


@dataclass(frozen=True)
class Endless(ScoreBased):
    needs = frozenset({"aum"})

    def score(self, pool, signals):
        return np.where(pool.candidates == 1, np.inf, 0.0)


def test_base_scores_checks_columns_and_scores():
    pool = Pool(3)
    with pytest.raises(ValueError, match="Endless: 1 scores are not finite"):
        base_scores(Endless(), pool, Signals(3, aum=np.zeros(3)))
    with pytest.raises(ValueError, match="aum: 1 examples have NaN"):
        base_scores(Aum(), pool, Signals(3, aum=np.array([0.0, np.nan, 1.0])))
    with pytest.raises(KeyError, match="signal .*aum.* is missing"):
        base_scores(Aum(), pool, Signals(3, loss=np.zeros(3)))
    assert base_scores(Aum(), Pool(3, [0]), Signals(3, aum=[9.0, 1.0, 2.0])).tolist() == [
        -1.0,
        -2.0,
    ]


def test_base_scores_refuses():
    pool, signals = Pool(3), Signals(3, features=np.eye(3), aum=np.array([0.0, np.nan, 1.0]))
    with pytest.raises(TypeError, match="got KCenterGreedy"):
        base_scores(KCenterGreedy(), pool, signals)
    with pytest.raises(TypeError, match="got KCenterGreedy"):
        Ccs(KCenterGreedy())(pool, signals, 1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="aum: 1 examples have NaN"):
        Ccs()(pool, signals, 1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="features: expected one value per example"):
        column_at(signals, "features", pool.candidates)
