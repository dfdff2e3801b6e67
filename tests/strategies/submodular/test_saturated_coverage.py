import numpy as np
import pytest

from coreset import select
from coreset.strategies.submodular.saturated_coverage import SaturatedCoverage
from coreset.testing import check_strategy, example_signals


def saturated(s, alpha):
    return lambda chosen: sum(
        min(sum(s[i, j] for j in chosen), alpha * s[i].sum()) for i in range(len(s))
    )


@pytest.mark.parametrize("alpha", [0.1, 0.3])
@pytest.mark.parametrize("kind", ["cosine", "rbf", "euclidean"])
def test_values_and_order(reference, kind, alpha):
    d = reference.data()
    s = reference.similarity(d.x[d.ground], kind=kind)
    k = 3 if alpha == 0.1 else 8  # beyond, everything is satisfied and only rounding is left
    expected = reference.greedy(saturated(s, alpha), d.candidates, k, d.selected)
    for optimizer in ("lazy", "naive"):
        options = {"similarity": kind, "alpha": alpha, "optimizer": optimizer}
        answer = select(
            "saturated_coverage",
            k,
            features=d.x,
            candidates=d.candidates,
            selected=d.selected,
            options=options,
        )
        reference.same(answer, expected, 5e-5)
        assert answer.info["value"] == pytest.approx(
            saturated(s, alpha)([*d.selected, *expected[0]]), rel=1e-5
        )


def test_neighbors(reference):
    d = reference.data(30)
    s = reference.similarity(d.x)
    listed = np.eye(30, dtype=bool)
    for i in range(30):
        listed[i, [j for j in np.argsort(-s[i], kind="stable") if j != i][:5]] = True
    expected = reference.greedy(saturated(np.where(listed, s, 0), 0.6), range(30), 8)
    reference.same(
        select("saturated_coverage", 8, features=d.x, options={"alpha": 0.6, "neighbors": 5}),
        expected,
        5e-5,
    )


def test_negative_similarities_and_wrong_options_are_refused():
    with pytest.raises(ValueError, match="similarity"):
        select(
            "saturated_coverage",
            1,
            features=np.array([[1.0], [-1.0]]),
            options={"similarity": "dot"},
        )
    with pytest.raises(ValueError, match="alpha"):
        SaturatedCoverage(alpha=0.0)


@pytest.mark.parametrize(
    ("options", "seed"),
    [
        ({"alpha": 0.5}, 0),
        ({"alpha": 0.5, "optimizer": "stochastic"}, 0),
        ({"alpha": 0.9, "neighbors": 8}, 1),
    ],
)
def test_contract(options, seed):
    strategy = SaturatedCoverage(**options)
    check_strategy(strategy, example_signals(48, strategy.needs, seed))
