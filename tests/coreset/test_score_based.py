from dataclasses import dataclass

import numpy as np

from coreset import Pool, Signals
from coreset.score_based import ScoreBased, by_score


def test_by_score_is_a_stable_sort_over_the_candidates():
    pool = Pool(8, selected=[0], candidates=[2, 3, 5, 7])
    out = by_score(pool, np.array([0.5, 0.9, 0.5, 0.9]), 3, variant="v")
    assert out.indices.tolist() == [3, 7, 2]
    assert out.scores.tolist() == [0.9, 0.9, 0.5]
    assert out.info == {"variant": "v"}


def test_a_scored_strategy_takes_the_highest():
    @dataclass(frozen=True)
    class Loss(ScoreBased):
        needs = frozenset({"loss"})

        def score(self, pool, signals):
            return signals.at("loss", pool.candidates)

    out = Loss()(Pool(4, [1]), Signals(4, loss=[0.1, 9.0, 0.7, 0.7]), 2, np.random.default_rng(0))
    assert out.indices.tolist() == [2, 3]
    assert Loss.greedy
    assert not Loss.random
