import numpy as np
import pytest

from coreset import select
from coreset.strategies.submodular.flvmi import FLVMI
from coreset.testing import check_strategy, example_signals


@pytest.mark.parametrize("eta", [0.7, 1.0])
@pytest.mark.parametrize("kind", ["cosine", "rbf", "euclidean"])
def test_values_and_order(reference, kind, eta):
    d = reference.data()
    gamma = 0.05 if kind == "rbf" else None
    s = reference.similarity(d.x, kind=kind, gamma=gamma)
    query = np.flatnonzero(d.query)

    def f(chosen):
        return sum(
            min(max((s[i, j] for j in chosen), default=0.0), eta * max(s[i, j] for j in query))
            for i in d.ground
        )

    k = 4  # beyond, every example has what the query allows and only rounding is left
    expected = reference.greedy(f, d.candidates, k, d.selected)
    for optimizer in ("lazy", "naive"):
        options = {"similarity": kind, "gamma": gamma, "eta": eta, "optimizer": optimizer}
        answer = select(
            "flvmi",
            k,
            features=d.x,
            query=d.query,
            candidates=d.candidates,
            selected=d.selected,
            options=options,
        )
        reference.same(answer, expected, 5e-5)
        assert answer.info["value"] == pytest.approx(f([*d.selected, *expected[0]]), rel=1e-5)


def test_neighbors_and_precomputed(reference):
    d = reference.data()
    rest = {"query": d.query, "candidates": d.ground}
    s = reference.similarity(d.x).astype(np.float32)
    kept = s.copy()
    n = len(d.ground)
    answers = [
        select("flvmi", 5, features=d.x, **rest).indices.tolist(),
        select("flvmi", 5, features=d.x, options={"neighbors": n - 1}, **rest).indices.tolist(),
        select(
            "flvmi", 5, similarity=s, options={"similarity": "precomputed"}, **rest
        ).indices.tolist(),
    ]
    assert answers[0] == answers[2]
    assert len(set(answers[1])) == 5
    assert (s == kept).all()


@pytest.mark.parametrize("eta", [0.9, 1.0])
def test_nearest_neighbors_against_their_definition(reference, eta):
    d = reference.data(36)
    s, kept, floor = reference.neighbors(d.x[d.ground], 6)
    cap = eta * reference.similarity(d.x)[np.ix_(d.ground, np.flatnonzero(d.query))].max(axis=1)
    start = np.minimum(floor, cap)

    def f(chosen):
        best = [
            max([start[i], *(min(s[i, j], cap[i]) for j in chosen if kept[i, j])]) for i in d.ground
        ]
        return sum(best) - start.sum()

    assert (start < floor).any()
    options = {"neighbors": 6, "eta": eta}
    answer = select("flvmi", 6, features=d.x, query=d.query, candidates=d.ground, options=options)
    reference.same(answer, reference.greedy(f, d.ground, 6), 5e-5)
    assert answer.info["variant"] == "nearest neighbors"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_matrix_handed_in_whole_is_not_written_to(reference, dtype):
    d = reference.data(20)
    s = reference.similarity(d.x).astype(dtype)
    kept = s.copy()
    select(
        "flvmi", 5, similarity=s, query=d.query, options={"similarity": "precomputed", "eta": 0.5}
    )
    assert (s == kept).all()


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match="eta"):
        FLVMI(eta=-1.0)


@pytest.mark.parametrize("options", [{"eta": 1.2}, {"optimizer": "stochastic", "eta": 1.2}])
def test_contract(options):
    strategy = FLVMI(**options)
    check_strategy(
        strategy,
        {
            **example_signals(48, strategy.needs, 3),
            "query": (np.arange(48) % 9 == 0).astype(np.int64),
        },
    )
