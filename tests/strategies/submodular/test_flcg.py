import numpy as np
import pytest

from coreset import select
from coreset.strategies.submodular.flcg import FLCG
from coreset.testing import check_strategy, example_signals


@pytest.mark.parametrize("nu", [0.0, 0.8, 1.0])
@pytest.mark.parametrize("kind", ["cosine", "rbf", "euclidean"])
def test_values_and_order(reference, kind, nu):
    d = reference.data()
    gamma = 0.05 if kind == "rbf" else None
    s = reference.similarity(d.x, kind=kind, gamma=gamma)
    private = np.flatnonzero(d.private)

    def f(chosen):
        return sum(
            max(
                max((s[i, j] for j in chosen), default=0.0) - nu * max(s[i, j] for j in private),
                0.0,
            )
            for i in d.ground
        )

    expected = reference.greedy(f, d.candidates, 9, d.selected)
    for optimizer in ("lazy", "naive"):
        options = {"similarity": kind, "gamma": gamma, "nu": nu, "optimizer": optimizer}
        answer = select(
            "flcg",
            9,
            features=d.x,
            private=d.private,
            candidates=d.candidates,
            selected=d.selected,
            options=options,
        )
        reference.same(answer, expected, 5e-5)
        assert answer.info["value"] == pytest.approx(f([*d.selected, *expected[0]]), rel=1e-4)


def test_nearest_neighbors_against_their_definition(reference):
    d = reference.data(36)
    s, kept, floor = reference.neighbors(d.x[d.ground], 6)
    private = reference.similarity(d.x)[np.ix_(d.ground, np.flatnonzero(d.private))].max(axis=1)
    for nu in (0.5, 1.0):
        start = np.maximum(nu * private, floor)

        def f(chosen, start=start):
            return (
                sum(max([start[i], *(s[i, j] for j in chosen if kept[i, j])]) for i in d.ground)
                - start.sum()
            )

        options = {"neighbors": 6, "nu": nu}
        answer = select(
            "flcg", 6, features=d.x, private=d.private, candidates=d.ground, options=options
        )
        reference.same(answer, reference.greedy(f, d.ground, 6), 5e-5)
    assert (private > floor).any()
    assert (private < floor).any()


def test_neighbors_leave_out_what_is_private(reference):
    d = reference.data()
    private = d.labels == 1
    answer = select(
        "flcg", 3, features=d.x, private=private, candidates=d.ground, options={"neighbors": 6}
    )
    assert (d.labels[answer.indices] != 1).all()


def test_the_private_column_and_wrong_options():
    with pytest.raises(ValueError, match="private"):
        select("flcg", 1, features=np.eye(3), private=[0, 0, 0])
    with pytest.raises(ValueError, match="nu"):
        FLCG(nu=-1.0)


@pytest.mark.parametrize("options", [{}, {"optimizer": "stochastic"}])
def test_contract(options):
    strategy = FLCG(**options)
    columns = example_signals(48, strategy.needs, 3)
    check_strategy(strategy, {**columns, "private": (np.arange(48) == 5).astype(np.int64)})
