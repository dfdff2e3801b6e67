import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset import select
from coreset.numerics.similarity import Linear, Similarity
from coreset.registry import strategy
from strategies.submodular.facility_location import FacilityLocationFunction
from strategies.submodular.feature_based import FeatureFunction
from strategies.submodular.graph_cut import GraphCutFunction, GraphCutSums
from strategies.submodular.log_det import LogDetFunction, LogDetSums
from strategies.submodular.saturated_coverage import SaturatedCoverageFunction


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
            assert f.gains(part).tolist() == now[part].tolist()  # a gain does not depend on its batch
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
@pytest.mark.parametrize("options", [{"optimizer": "eager"}, {"epsilon": 0.0}, {"parts": 0}, {"similarity": "cos"}])
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
        "facility_location", 10, features=x, labels=labels, options={"per_class": True, "optimizer": "stochastic"}
    )
    assert np.bincount(labels[answer.indices] + 1).tolist() == [4, 3, 3]


def test_selected_examples_count_as_taken():
    x = np.array([[1.0, 0.0], [1.0, 0.01], [0.0, 1.0], [0.1, 1.0]])
    for name in ("facility_location", "log_det", "disparity"):
        assert select(name, 1, features=x, selected=[0]).indices[0] in (2, 3)
        assert select(name, 1, features=x, selected=[2]).indices[0] in (0, 1)
