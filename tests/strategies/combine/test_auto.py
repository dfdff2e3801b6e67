import numpy as np
import pytest

from coreset import Pool, Signals, select
from coreset.registry import strategy
from coreset.strategies.baseline.top_k import TopK
from coreset.strategies.combine.auto import Auto
from coreset.strategies.coverage.kcenter import KCenterGreedy
from coreset.testing import check_strategy

RNG = np.random.default_rng(0)
P = RNG.dirichlet(np.ones(2), size=40)
X = RNG.normal(size=(40, 3))
AUTO = Auto(KCenterGreedy(), TopK("loss"), switch=7)


def ask(taken, k, auto=AUTO, **columns):
    return auto(Pool(40, range(taken)), Signals(40, **columns), k, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("taken", "k", "cold"), [(0, 14, True), (10, 4, True), (10, 5, False), (14, 1, False)]
)
def test_the_regime_is_labels_per_class_after_the_choice(taken, k, cold):
    loss = RNG.uniform(size=40)
    chosen = ask(taken, k, features=X, loss=loss, probs=P)
    alone = (KCenterGreedy() if cold else TopK("loss"))(
        Pool(40, range(taken)), Signals(40, features=X, loss=loss), k, np.random.default_rng(0)
    )
    assert chosen.indices.tolist() == alone.indices.tolist()
    name = "KCenterGreedy" if cold else "TopK"
    total = taken + k
    word = "at most" if cold else "more than"
    assert (
        chosen.info["why"]
        == f"{name}: {total} labels over 2 classes are {total / 2:.1f} per class, {word} 7"
    )
    assert chosen.info["variant"] == name


def test_the_number_of_classes():
    both = {"features": X, "loss": np.ones(40)}
    assert (
        "over 5 classes"
        in ask(4, 1, Auto(KCenterGreedy(), TopK("loss"), classes=5), **both).info["why"]
    )
    labels = np.r_[0, 3, 3, -1, np.full(36, 7)]
    assert "over 2 classes" in ask(4, 1, **both, labels=labels).info["why"]
    with pytest.raises(ValueError, match="classes: unknown"):
        ask(4, 1, **both)


def test_what_is_there_decides_when_partial():
    auto = Auto(KCenterGreedy(), TopK("loss"), partial=True)
    assert ask(3, 2, auto, features=X).info["why"] == "KCenterGreedy: loss for TopK are not there"
    assert ask(30, 2, auto, features=X).info["variant"] == "KCenterGreedy"
    assert ask(0, 2, auto, loss=np.ones(40)).info["variant"] == "TopK"
    with pytest.raises(
        KeyError, match="KCenterGreedy needs features and TopK needs loss; present: probs"
    ):
        ask(3, 2, auto, probs=P)
    with pytest.raises(KeyError, match="loss"):
        ask(3, 2, features=X, probs=P)
    with pytest.raises(ValueError, match="k: expected 1 to 40"):
        ask(0, 41, auto, features=X)
    with pytest.raises(ValueError, match="features: 1 examples have NaN"):
        ask(0, 4, auto, features=np.where(np.arange(40)[:, None] == 3, np.nan, X))


def test_contract_and_refusals():
    check_strategy(strategy("auto"))
    check_strategy(Auto(switch=0))
    assert select("auto", 2, features=X, probs=P).info["variant"] == "TypiClust"
    with pytest.raises(ValueError, match="switch"):
        Auto(switch=-1)
    with pytest.raises(ValueError, match="classes"):
        Auto(classes=0)
