"""Components by stars in rounds against scipy's, on random graphs, long paths and one hub."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from coreset.curation.engines.local import Local
from coreset.curation.runtime.components import components, large_star, small_star, write_edges


def lowest_of(edges):
    """{node: lowest node of its component} by scipy, the lowest themselves left out."""
    n = int(edges.max()) + 1
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(n, n))
    label = connected_components(graph, directed=False)[1]
    first = {}
    for node in sorted(set(edges.ravel().tolist())):
        first.setdefault(label[node], node)
    return {
        node: first[label[node]]
        for node in set(edges.ravel().tolist())
        if first[label[node]] != node
    }


def by_rounds(edges, folder, one_task=10, files=3):
    """The same by the engine's files."""
    written = [
        write_edges(folder / f"{i}.parquet", part[:, 0], part[:, 1])
        for i, part in enumerate(np.array_split(edges, files))
        if len(part)
    ]
    labels, rounds = components(Local(), written, folder / "rounds", one_task=one_task)
    answer = {}
    for one in labels:
        table = pq.read_table(one.path)
        answer |= dict(zip(table["u"].to_pylist(), table["v"].to_pylist(), strict=True))
    return answer, rounds


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=80))
def test_random_graphs(tmp_path_factory, pairs):
    edges = np.array([p for p in pairs if p[0] != p[1]], np.int64).reshape(-1, 2)
    if len(edges):
        got, _ = by_rounds(edges, tmp_path_factory.mktemp("g"))
        assert got == lowest_of(edges)
        assert by_rounds(edges, tmp_path_factory.mktemp("g"), 10**6) == (got, 0)


@pytest.mark.parametrize(("n", "most"), [(64, 8), (1024, 12)])
def test_a_path_takes_as_many_rounds_as_the_logarithm_of_its_length(tmp_path, n, most):
    order = np.random.default_rng(0).permutation(n)
    edges = np.stack([order[:-1], order[1:]], axis=1)
    got, rounds = by_rounds(edges, tmp_path, one_task=300 if n > 300 else 10)
    assert got == {i: 0 for i in range(1, n)}
    assert rounds <= most


def test_a_hub_and_nothing(tmp_path):
    edges = np.stack([np.full(500, 7), np.arange(100, 600)], axis=1)
    got, rounds = by_rounds(edges, tmp_path)
    assert got == {i: 7 for i in range(100, 600)}
    assert rounds <= 2
    assert components(Local(), [], tmp_path / "none") == ([], 0)


def test_one_star_of_each_kind():
    node, near = np.array([5, 1, 5, 9, 5, 3]), np.array([1, 5, 9, 5, 3, 5])
    assert sorted(zip(*(x.tolist() for x in large_star(node, near)), strict=True)) == [
        (5, 1), (5, 3), (9, 1),
    ]  # fmt: skip
    node, near = np.array([5, 9, 5]), np.array([1, 5, 3])
    assert set(zip(*(x.tolist() for x in small_star(node, near)), strict=True)) == {
        (3, 1), (5, 1), (9, 5),
    }  # fmt: skip
