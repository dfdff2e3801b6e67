import numpy as np
import pytest

from coreset import Pool, Signals, select
from coreset.strategies.submodular.gcmi import GCMI
from coreset.testing import check_strategy, example_signals


@pytest.mark.parametrize("kind", ["cosine", "dot", "rbf", "euclidean"])
def test_values_and_order(reference, kind):
    d = reference.data()
    gamma = 0.05 if kind == "rbf" else None
    s = reference.similarity(d.x, kind=kind, gamma=gamma)

    def f(chosen):
        return sum(s[i, j] for i in chosen for j in np.flatnonzero(d.query))

    answer = select(
        "gcmi",
        12,
        features=d.x,
        query=d.query,
        candidates=d.candidates,
        options={"similarity": kind, "gamma": gamma},
    )
    reference.same(answer, reference.greedy(f, d.candidates, 12), 1e-4)


def test_many_queries_are_summed_in_blocks(reference):
    x = np.random.default_rng(0).normal(size=(700, 3))
    query = np.arange(700) >= 100
    s = reference.similarity(x[:20], x[100:]).sum(axis=1)
    answer = select("gcmi", 20, features=x, query=query, candidates=np.arange(20))
    np.testing.assert_allclose(answer.scores, np.sort(s)[::-1], rtol=1e-6)


def test_contract():
    strategy = GCMI()
    check_strategy(
        strategy,
        {**example_signals(48, strategy.needs), "query": (np.arange(48) % 9 == 0).astype(np.int64)},
    )


def test_queries_of_another_scale_than_the_candidates_count_as_they_are():
    x = np.array([[1e184, 2e184], [3e30, 1e30], [1e-186, 4e-186]])
    marks = np.array([True, False, False])
    with np.errstate(all="raise"):
        answer = select(
            "gcmi", 2, candidates=[1, 2], options={"similarity": "dot"}, features=x, query=marks
        )
    assert answer.indices.tolist() == [1, 2]  # 5e214 and 9e-2
    known = Signals(3, query=marks)
    known.put("features", np.array([1, 2]), x[1:])
    pool, rng = Pool(3, candidates=[1, 2]), np.random.default_rng(0)
    with pytest.raises(ValueError, match="features: no value for 1 of the 1 examples"):
        GCMI()(pool, known, 1, rng)
