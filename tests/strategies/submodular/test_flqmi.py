import numpy as np
import pytest

from coreset import select
from coreset.strategies.submodular.flqmi import FLQMI
from coreset.testing import check_strategy, example_signals


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("kind", ["cosine", "rbf", "euclidean"])
def test_values_and_order(reference, kind, eta):
    d = reference.data()
    gamma = 0.05 if kind == "rbf" else None
    s = reference.similarity(d.x, kind=kind, gamma=gamma)
    query = np.flatnonzero(d.query)

    def f(chosen):
        cover = sum(max((s[i, j] for j in chosen), default=0.0) for i in query)
        return cover + eta * sum(max(s[i, j] for i in query) for j in chosen)

    k = 3 if eta == 0 else 12  # without eta only rounding is left once the queries are covered
    expected = reference.greedy(f, d.candidates, k, d.selected)
    for optimizer in ("lazy", "naive"):
        options = {"similarity": kind, "gamma": gamma, "eta": eta, "optimizer": optimizer}
        answer = select(
            "flqmi",
            k,
            features=d.x,
            query=d.query,
            candidates=d.candidates,
            selected=d.selected,
            options=options,
        )
        reference.same(answer, expected)
        assert answer.info["value"] == pytest.approx(f([*d.selected, *expected[0]]), rel=1e-5)


def test_the_query_column():
    x = np.eye(4)
    for query in ([0, 0, 0, 1], np.array([False, False, False, True])):
        assert len(select("flqmi", 1, features=x, query=query)) == 1
    for query, word in (
        ([0, 0, 0, 0], "no example"),
        ([0, 0, 0, 2], "true or false"),
        (np.eye(4), "true or false"),
    ):
        with pytest.raises(ValueError, match=f"query.*{word}"):
            select("flqmi", 1, features=x, query=query)
    holed = x.copy()
    holed[3] = np.nan
    with pytest.raises(ValueError, match="features"):
        select("flqmi", 1, features=holed, query=[0, 0, 0, 1], candidates=[0, 1, 2])
    with pytest.raises(ValueError, match="eta"):
        FLQMI(eta=-1.0)


def test_a_bound_needs_relevances_of_at_least_zero(reference):
    x = np.array([[1.0, 0.0], [0.9, 0.1], [-1.0, 0.2], [0.0, 1.0]])
    options = {"similarity": "dot"}
    mixed = select(
        "flqmi", 2, features=x, query=[1, 0, 0, 0], candidates=[1, 2, 3], options=options
    )
    assert "bound" not in mixed.info
    good = select(
        "flqmi", 2, features=np.abs(x), query=[1, 0, 0, 0], candidates=[1, 2, 3], options=options
    )
    assert good.info["ratio"] > 0.6
    apart = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, -0.5], [-0.5, 1.0]])
    either = select(
        "flqmi", 1, features=apart, query=[1, 1, 0, 0], candidates=[2, 3], options=options
    )
    assert "bound" in either.info  # one query is unlike it, the other like it


def test_precomputed(reference):
    d = reference.data()
    s = reference.similarity(d.x)
    rest = {"query": d.query, "candidates": d.candidates}
    one = select("flqmi", 9, features=d.x, **rest)
    assert (
        select(
            "flqmi", 9, similarity=s, options={"similarity": "precomputed"}, **rest
        ).indices.tolist()
        == one.indices.tolist()
    )
    rest = {"query": d.query}
    every = select("flqmi", 9, features=d.x, **rest).indices.tolist()
    assert (
        select(
            "flqmi", 9, similarity=s, options={"similarity": "precomputed"}, **rest
        ).indices.tolist()
        == every
    )


@pytest.mark.parametrize("options", [{}, {"optimizer": "stochastic"}, {"optimizer": "greedi"}])
def test_contract(options):
    strategy = FLQMI(**options)
    check_strategy(
        strategy,
        {**example_signals(48, strategy.needs), "query": (np.arange(48) % 9 == 0).astype(np.int64)},
    )
