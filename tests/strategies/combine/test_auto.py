"""Which part answers, and the sentence that says why."""

import numpy as np
import pytest

from coreset import Pool, Signals, list_strategies, select
from coreset.registry import strategy
from coreset.strategies.combine.auto import Auto
from coreset.strategies.coverage.kcenter import KCenterGreedy
from coreset.strategies.coverage.maxherding import MaxHerding
from coreset.strategies.coverage.uherding import UHerding
from coreset.strategies.uncertainty.margin import Margin
from coreset.testing import check_strategy

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
P = RNG.dirichlet(np.ones(4), 40)
AUTO = Auto(switch=3, partial=True)


def ask(taken, k, auto=AUTO, **columns):
    return auto(Pool(40, range(taken)), Signals(40, **columns), k, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("taken", "k", "expected", "why"),
    [
        (0, 4, MaxHerding(), "MaxHerding: nothing is labeled yet"),
        (4, 8, UHerding(), "UHerding: 12 labels over 4 classes are 3.0 per class, at most 3"),
        (4, 9, Margin(), "Margin: 13 labels over 4 classes are 3.2 per class, more than 3"),
    ],
)
def test_the_stage_decides(taken, k, expected, why):
    answer = ask(taken, k, features=X, probs=P)
    assert answer.info["why"] == why
    assert answer.info["variant"] == type(expected).__name__
    plain = expected(
        Pool(40, range(taken)), Signals(40, features=X, probs=P), k, np.random.default_rng(0)
    )
    assert answer.indices.tolist() == plain.indices.tolist()


def test_what_is_missing_is_named_and_the_next_answers():
    assert ask(4, 2, features=X).info["why"] == "MaxHerding: probs for UHerding are not there"
    assert ask(4, 2, probs=P).info["why"] == "Margin: features for UHerding are not there"
    assert ask(0, 2, probs=P).info["why"] == "Margin: features for MaxHerding are not there"
    assert ask(30, 2, features=X, labels=np.arange(40) % 4).info["variant"] == "MaxHerding"
    with pytest.raises(KeyError, match="UHerding needs features, probs, Margin needs probs"):
        ask(4, 2, loss=np.ones(40))


def test_the_number_of_classes():
    assert (
        ask(4, 9, Auto(switch=3, classes=8, partial=True), features=X, probs=P).info["variant"]
        == "UHerding"
    )
    labels = np.where(np.arange(40) < 20, np.arange(40) % 2, -1)
    why = ask(
        20, 2, Auto(switch=3, many=KCenterGreedy(), partial=True), features=X, labels=labels
    ).info["why"]
    assert why == "KCenterGreedy: 22 labels over 2 classes are 11.0 per class, more than 3"
    with pytest.raises(ValueError, match="expected switch of at least 0"):
        Auto(switch=-1)


def test_it_is_what_select_does_without_a_name():
    chosen = select(budget=3, features=X, probs=P, selected=[0, 1])
    assert chosen.info["strategy"] == "Auto"
    assert chosen.info["why"].startswith("UHerding: 5 labels over 4 classes")
    assert select(budget=2, features=X).info["variant"] == "MaxHerding"
    with pytest.raises(TypeError, match="budget: expected how many examples"):
        select("margin", probs=P)


def test_questions_are_checked_by_the_part_that_answers():
    with pytest.raises(ValueError, match="k: expected 1 to 40"):
        ask(0, 41, features=X)
    with pytest.raises(ValueError, match="features"):
        ask(0, 4, features=np.where(np.arange(40)[:, None] == 3, np.nan, X))


def test_all_must_be_there_unless_partial():
    with pytest.raises(KeyError, match="features"):
        ask(4, 2, Auto(), probs=P)


def test_contract():
    assert "auto" in list_strategies()
    check_strategy(strategy("auto"))
