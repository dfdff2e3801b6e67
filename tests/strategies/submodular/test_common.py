import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset import Pool, Signals, select
from coreset.numerics.greedy import upper_bound
from coreset.numerics.similarity import Linear, Similarity
from coreset.registry import strategy
from coreset.strategies.submodular.facility_location import FacilityLocationFunction
from coreset.strategies.submodular.feature_based import FeatureFunction
from coreset.strategies.submodular.flvmi import FLVMI
from coreset.strategies.submodular.graph_cut import GraphCutFunction, GraphCutSums
from coreset.strategies.submodular.log_det import LogDetFunction, LogDetSums
from coreset.strategies.submodular.saturated_coverage import SaturatedCoverageFunction


def functions(seed=0, n=24):
    x = np.abs(np.random.default_rng(seed).normal(size=(n, 4)))
    similarity = Similarity.of(torch.from_numpy(x), "cosine")
    dense, sparse = similarity.dense(), similarity.nearest(5)[0]
    kernel = Linear.of(torch.from_numpy(x), np.arange(n), "cosine")
    return [
        FacilityLocationFunction(dense),
        FacilityLocationFunction(sparse),
        FacilityLocationFunction(dense[:, :7], np.full(7, 0.6), np.linspace(0, 1, n)),
        GraphCutFunction(dense, 0.5),
        GraphCutFunction(sparse.symmetric(), 0.5),
        GraphCutSums(kernel, 0.5),
        LogDetFunction(dense, 1.0),
        LogDetSums(kernel, 1.0),
        SaturatedCoverageFunction(dense, 0.3),
        SaturatedCoverageFunction(sparse, 0.5),
        *(FeatureFunction(x, np.arange(n), concave) for concave in ("sqrt", "log", "ratio")),
    ]


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6))
def test_what_every_function_promises(seed):
    rng = np.random.default_rng(seed)
    for f in functions(seed):
        everything = np.arange(f.size)
        before = f.gains(everything)
        for item in rng.choice(f.size, 6, replace=False).tolist():
            now, value, other = f.gains(everything), f.value, f.copy()
            part = rng.choice(f.size, 5, replace=False)
            # a gain does not depend on its batch
            assert f.gains(part).tolist() == now[part].tolist()
            f.add(item)
            assert f.value - value == pytest.approx(now[item])
            assert other.value == value
            assert other.gains(everything).tolist() == now.tolist()  # a copy has a state of its own
        free = np.setdiff1d(everything, [item])
        assert (f.gains(free) <= before[free] + 1e-9).all()  # submodular
        assert f.gains(free).min() >= -1e-9  # monotone


@pytest.mark.parametrize("name", ["graph_cut", "log_det"])
def test_sums_need_no_matrix(name):
    x = np.random.default_rng(0).normal(size=(20000, 8)).astype(np.float32)
    select(name, 20, features=x)  # compiles
    tracemalloc.start()
    select(name, 20, features=x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20000 * 500  # bytes: O(n), where the matrix has 1.6 GB


SHARED = [
    "facility_location",
    "feature_based",
    "flcg",
    "flqmi",
    "flvmi",
    "gccg",
    "graph_cut",
    "log_det",
    "saturated_coverage",
]


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize(
    "options", [{"optimizer": "eager"}, {"epsilon": 0.0}, {"parts": 0}, {"similarity": "cos"}]
)
def test_every_function_refuses_wrong_shared_options(name, options):
    option = next(iter(options))
    if option == "similarity" and name == "feature_based":
        return
    with pytest.raises(ValueError, match=option):
        strategy(name, options)


def test_quotas_are_exact_and_unknown_labels_are_a_class():
    x = np.random.default_rng(0).normal(size=(100, 3))
    labels = np.array([0] * 33 + [1] * 33 + [-1] * 34)
    answer = select(
        "class_quota",
        10,
        features=x,
        labels=labels,
        options={"base": {"facility_location": {"optimizer": "stochastic"}}},
    )
    assert np.bincount(labels[answer.indices] + 1).tolist() == [4, 3, 3]


def test_selected_examples_count_as_taken():
    x = np.array([[1.0, 0.0], [1.0, 0.01], [0.0, 1.0], [0.1, 1.0]])
    for name in ("facility_location", "log_det", "disparity"):
        assert select(name, 1, features=x, selected=[0]).indices[0] in (2, 3)
        assert select(name, 1, features=x, selected=[2]).indices[0] in (0, 1)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_the_upper_bound_from_old_gains(seed, k):
    for f in functions(seed):
        old = f.gains(np.arange(f.size))
        taken = np.random.default_rng(seed).choice(f.size, 5, replace=False)
        for item in taken.tolist():
            f.add(item)
        free = np.setdiff1d(np.arange(f.size), taken)
        plain = f.value + np.sort(f.gains(free))[::-1][:k].clip(0).sum()
        assert upper_bound(f, k, free) == pytest.approx(plain, rel=1e-12)
        assert upper_bound(f, k, free, old) == pytest.approx(plain, rel=1e-12)


@pytest.mark.parametrize("name", ["facility_location", "feature_based", "saturated_coverage"])
def test_a_limit_of_costs(name):
    rng = np.random.default_rng(3)
    x, costs = np.abs(rng.normal(size=(40, 5))), rng.uniform(1, 5, 40)
    pool, signals = (
        Pool(40, selected=np.array([7, 30]), candidates=np.setdiff1d(np.arange(40), [7, 30, 5])),
        Signals(40, features=x),
    )
    method = strategy(name)
    got = method.within(pool, signals, costs, 14.0)
    ground = np.sort(np.concatenate([pool.candidates, pool.selected]))
    f, spent, chosen = method.function(signals, ground), 0.0, []
    for item in (7, 30):
        f.add(int(np.searchsorted(ground, item)))
    while True:  # most gain per cost of what still fits
        left = [c for c in pool.candidates.tolist() if c not in chosen and costs[c] <= 14.0 - spent]
        rate = {c: f.gains(np.array([np.searchsorted(ground, c)]))[0] / costs[c] for c in left}
        if not rate or max(rate.values()) <= 0:
            break
        best = max(left, key=lambda c: (rate[c], -c))
        f.add(int(np.searchsorted(ground, best)))
        chosen.append(best)
        spent += costs[best]
    assert got.indices.tolist() == chosen
    assert got.info["slack"] == pytest.approx(14.0 - spent)
    assert costs[got.indices].sum() <= 14.0


def test_a_limit_of_costs_is_refused():
    pool, signals = Pool(3), Signals(3, features=np.eye(3), labels=np.array([0, 1, 1]))
    with pytest.raises(ValueError, match="needs optimizer naive or lazy"):
        strategy("facility_location", {"optimizer": "stochastic"}).within(
            pool, signals, np.ones(3), 2.0
        )
    with pytest.raises(ValueError, match="costs: expected 3 positive numbers"):
        strategy("facility_location").within(pool, signals, np.array([1.0, 0.0, 1.0]), 2.0)
    signed = Signals(3, features=np.array([[1.0], [-1.0], [2.0]]))
    with pytest.raises(ValueError, match="needs a submodular function"):
        strategy("graph_cut", {"similarity": "dot"}).within(pool, signed, np.ones(3), 2.0)


@pytest.mark.parametrize("kind", ["cosine", "euclidean"])
def test_the_nearest_of_and_the_sum_over_more_examples_than_one_block(reference, kind):
    x = np.random.default_rng(2).normal(size=(620, 3))
    ground, others = np.arange(40), np.arange(20, 620)
    s = reference.similarity(x, kind=kind)[:40, 20:]
    one = FLVMI(similarity=kind)
    signals = Signals(620, features=x)
    assert np.allclose(one.nearest_of(signals, ground, others), s.max(axis=1), atol=1e-6)
    assert np.allclose(one.sum_to(signals, ground, others), s.sum(axis=1), atol=1e-3)
    # the nearest lies in a later block
    assert s[:, :256].argmax(axis=1).max() < s.argmax(axis=1).max()
