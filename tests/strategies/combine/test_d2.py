import numpy as np
import pytest
import torch

from coreset import Pool, Signals, select
from coreset.registry import strategy
from coreset.strategies.combine.class_quota import ClassQuota
from coreset.strategies.combine.d2 import D2, message_passing, neighbor_graph
from coreset.strategies.dynamics.aum import Aum
from coreset.testing import check_strategy


def reference(x, scores, neighbors, gamma, k, mode="sum"):
    """Dense matrices and plain loops."""
    n = len(x)
    d = np.sqrt(((x[:, None] - x[None]) ** 2).sum(-1))
    edge = np.zeros((n, n), bool)
    for i in range(n):
        nearest = sorted((j for j in range(n) if j != i), key=lambda j: (d[i, j], j))[:neighbors]
        edge[i, nearest] = edge[nearest, i] = True
    passed = [sum(np.exp(-d[i, j]) * scores[j] for j in range(n) if edge[i, j]) for i in range(n)]
    value = np.array(
        [scores[i] + passed[i] if mode == "sum" else scores[i] * passed[i] for i in range(n)]
    )
    free, picks, values = list(range(n)), [], []
    for _ in range(k):
        best = max(free, key=lambda i: (value[i], -i))
        free.remove(best)
        picks.append(best)
        values.append(value[best])
        for j in free:
            if edge[best, j]:
                value[j] -= np.exp(-gamma * d[best, j]) * value[best]
    return picks, values


@pytest.mark.parametrize(
    ("neighbors", "gamma"), [(1, 0.1), (5, 0.1), (5, 1.0), (39, 0.01), (100, 0.5)]
)
def test_message_passing(neighbors, gamma):
    rng = np.random.default_rng(0)
    x, s = rng.normal(size=(40, 3)), rng.uniform(size=40)
    chosen = select(
        "d2", 40, features=x, forgetting=s, options={"neighbors": neighbors, "gamma": gamma}
    )
    picks, values = reference(x, s, neighbors, gamma, 40)
    assert chosen.indices.tolist() == picks
    np.testing.assert_allclose(chosen.scores, values, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("neighbors", "gamma"), [(1, 0.1), (5, 1.0), (39, 0.01)])
def test_graph_mode_product(neighbors, gamma):
    rng = np.random.default_rng(1)
    x, s = rng.normal(size=(40, 3)), rng.uniform(size=40)
    options = {"neighbors": neighbors, "gamma": gamma}
    chosen = select(
        "d2", 40, features=x, forgetting=s, options={**options, "graph_mode": "product"}
    )
    picks, values = reference(x, s, neighbors, gamma, 40, "product")
    assert chosen.indices.tolist() == picks
    np.testing.assert_allclose(chosen.scores, values, rtol=1e-9, atol=1e-12)
    assert select("d2", 40, features=x, forgetting=s, options=options).indices.tolist() != picks
    with pytest.raises(ValueError, match="graph_mode: expected sum or product, got 'median'"):
        D2(graph_mode="median")


def test_values_may_rise_again():
    """Once a negative value is taken its neighbors gain: an old entry of the heap must not hide
    that.
    """
    x, s = np.arange(6.0)[:, None] * 0.01, np.array([1.0, 0.9, 0.8, 0.1, 0.05, 0.0])
    picks, values = message_passing(s, neighbor_graph(torch.tensor(x), 5), 6, 0.0)
    want = reference(x, s, 5, 0.0, 6)
    assert picks.tolist() == want[0]
    np.testing.assert_allclose(values, want[1])
    assert min(values) < 0


def test_duplicates_one_candidate_and_half_precision():
    assert len(select("d2", 5, features=np.ones((5, 2)), forgetting=np.ones(5))) == 5
    assert select(
        "d2", 1, features=np.ones((2, 2)), forgetting=np.ones(2), selected=[0]
    ).indices.tolist() == [1]
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float16)
    s = np.arange(20.0)
    assert (
        select("d2", 20, features=x, forgetting=s).indices.tolist()
        == reference(x.astype(float), s, 5, 0.1, 20)[0]
    )


def test_negative_scores_are_shifted_and_the_hardest_dropped():
    rng = np.random.default_rng(1)
    x, aum = rng.normal(size=(20, 3)), rng.normal(size=20)
    hard = -aum
    chosen = D2(Aum())(Pool(20), Signals(20, features=x, aum=aum), 20, np.random.default_rng(0))
    assert chosen.indices.tolist() == reference(x, hard - hard.min(), 5, 0.1, 20)[0]
    cut = D2(Aum(), drop=0.25)(
        Pool(20), Signals(20, features=x, aum=aum), 8, np.random.default_rng(0)
    )
    stay = np.sort(np.argsort(-hard)[5:])
    assert (
        cut.indices.tolist()
        == stay[reference(x[stay], hard[stay] - hard[stay].min(), 5, 0.1, 8)[0]].tolist()
    )


def test_prefixes_hold_unless_what_is_dropped_depends_on_the_budget():
    assert D2().greedy
    assert not D2(drop=0.3).greedy


def test_contract_and_refusals():
    check_strategy(strategy("d2"))
    check_strategy(D2(Aum(), neighbors=2, drop=0.3))
    check_strategy(ClassQuota(D2()))
    for bad in ({"neighbors": 0}, {"gamma": -1.0}, {"drop": 1.0}):
        with pytest.raises(ValueError, match="expected neighbors"):
            D2(**bad)


def test_products_of_scores_beyond_float64_are_refused_by_name():
    columns = {"features": np.eye(5), "forgetting": np.arange(1.0, 6.0) * 1e155}
    assert len(select("d2", 2, **columns).indices) == 2
    with pytest.raises(ValueError, match="graph_mode: product multiplies scores"):
        select("d2", 2, options={"graph_mode": "product"}, **columns)
