import numpy as np
import pytest

from coreset import select
from coreset.strategies.submodular.gccg import GCCG
from coreset.testing import check_strategy, example_signals


@pytest.mark.parametrize("nu", [0.0, 1.0, 4.0])
@pytest.mark.parametrize(
    ("kind", "neighbors"),
    [("cosine", "auto"), ("cosine", 0), ("rbf", "auto"), ("euclidean", "auto")],
)
def test_values_and_order(reference, kind, neighbors, nu):
    d = reference.data()
    gamma, lam = (0.05 if kind == "rbf" else None), 0.6
    s = reference.similarity(d.x, kind=kind, gamma=gamma)
    private = np.flatnonzero(d.private)

    def f(chosen):
        cut = sum(s[i, j] for i in d.ground for j in chosen) - lam * sum(
            s[i, j] for i in chosen for j in chosen
        )
        return cut - 2 * lam * nu * sum(s[i, j] for i in chosen for j in private)

    expected = reference.greedy(f, d.candidates, 12, d.selected)
    options = {"similarity": kind, "gamma": gamma, "neighbors": neighbors, "nu": nu, "lam": lam}
    answer = select(
        "gccg",
        12,
        features=d.x,
        private=d.private,
        candidates=d.candidates,
        selected=d.selected,
        options=options,
    )
    reference.same(answer, expected, 1e-4)
    assert answer.info["value"] == pytest.approx(f([*d.selected, *expected[0]]), rel=1e-4)
    assert "bound" not in answer.info


@pytest.mark.parametrize("neighbors", ["auto", 0])
def test_what_is_private_may_cost_more_than_it_brings(neighbors):
    x = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    options = {"lam": 0.4, "nu": 9.0, "neighbors": neighbors}
    answer = select(
        "gccg", 1, features=x, private=[True, False, False], candidates=[1, 2], options=options
    )
    assert answer.scores[0] < 0
    assert "bound" not in answer.info


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match="nu"):
        GCCG(nu=-1.0)


@pytest.mark.parametrize("options", [{}, {"optimizer": "stochastic"}])
def test_contract(options):
    strategy = GCCG(**options)
    check_strategy(
        strategy,
        {
            **example_signals(48, strategy.needs),
            "private": (np.arange(48) % 9 == 0).astype(np.int64),
        },
    )
