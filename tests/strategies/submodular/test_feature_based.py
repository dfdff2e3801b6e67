import numpy as np
import pytest

from coreset import select
from coreset.strategies.submodular.feature_based import FeatureBased
from coreset.testing import check_strategy, example_signals

G = {"sqrt": np.sqrt, "log": np.log1p, "ratio": lambda z: z / (1 + z)}


@pytest.mark.parametrize("optimizer", ["lazy", "naive"])
@pytest.mark.parametrize("concave", list(G))
def test_values_and_order(reference, concave, optimizer):
    d = reference.data()
    x = np.abs(d.x)

    def f(chosen):
        return float(G[concave](x[list(chosen)].sum(axis=0)).sum())

    expected = reference.greedy(f, d.candidates, 12, d.selected)
    options = {"concave": concave, "optimizer": optimizer}
    answer = select(
        "feature_based",
        12,
        features=x,
        candidates=d.candidates,
        selected=d.selected,
        options=options,
    )
    reference.same(answer, expected, 1e-9)
    assert answer.info["value"] == pytest.approx(f([*d.selected, *expected[0]]))
    assert answer.info["ratio"] > 1 - 1 / np.e


def test_half_precision_zeros_and_duplicates():
    x = np.abs(np.random.default_rng(0).normal(size=(20, 3))).astype(np.float16)
    one, other = (
        select("feature_based", 9, features=v).indices.tolist() for v in (x, x.astype(np.float64))
    )
    assert one == other
    for value in (np.zeros((4, 2)), np.ones((4, 2))):
        assert select("feature_based", 4, features=value).indices.tolist() == [0, 1, 2, 3]


def test_negative_features_are_refused():
    with pytest.raises(ValueError, match=r"features.*first position 1"):
        select("feature_based", 1, features=np.array([[1.0], [-1.0]]))
    with pytest.raises(ValueError, match="concave"):
        FeatureBased(concave="square")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"concave": "log"},
        {"concave": "ratio"},
        {"optimizer": "stochastic"},
        {"optimizer": "greedi"},
    ],
)
def test_contract(options):
    strategy = FeatureBased(**options)
    columns = example_signals(48, strategy.needs)
    check_strategy(strategy, {**columns, "features": np.abs(columns["features"])})
