import numpy as np
import pytest

from coreset import select
from coreset.numerics.random import keyed_order
from coreset.registry import strategy
from coreset.strategies.learned.learning_loss import LearningLoss
from coreset.testing import check_strategy


def test_highest_predicted_loss_ties_to_the_lowest_position():
    loss = np.array([0.1, 2.0, 0.5, 2.0, -1.0])
    chosen = select("learning_loss", 3, predicted_loss=loss)
    assert chosen.indices.tolist() == [1, 3, 2]
    assert chosen.scores.tolist() == [2.0, 2.0, 0.5]


def test_only_a_random_part_is_looked_at_and_more_comes_from_the_others():
    loss = np.random.default_rng(0).gamma(1.0, size=30)
    order = keyed_order(np.random.default_rng(4), np.arange(30))
    drawn, rest = order[:10], order[10:]
    want = sorted(drawn.tolist(), key=lambda i: -loss[i]) + sorted(
        rest.tolist(), key=lambda i: -loss[i]
    )
    for k in (1, 6, 10, 17, 30):
        chosen = select("learning_loss", k, predicted_loss=loss, seed=4, options={"subset": 10})
        assert chosen.indices.tolist() == want[:k]
        assert chosen.info["looked_at"] == 10


def test_contract_and_refusals():
    check_strategy(strategy("learning_loss"))
    check_strategy(LearningLoss(subset=7))
    check_strategy(LearningLoss(subset=None))
    for wrong in (0, True):
        with pytest.raises(ValueError, match="subset"):
            LearningLoss(wrong)
