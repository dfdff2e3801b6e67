import numpy as np
import pytest

from coreset import select
from coreset.numerics.neighbors.kmeans import Clusters
from coreset.registry import strategy
from coreset.strategies.coverage.kmeans import nearest_to_centers
from coreset.testing import check_strategy


def blobs(seed=0):
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.repeat(np.arange(5), [40, 30, 20, 10, 5]))
    return 30 * np.eye(5)[group] + rng.normal(size=(105, 5)), group


@pytest.mark.parametrize("options", [{}, {"normalize": True, "iterations": 3}])
def test_contract(options):
    check_strategy(strategy("kmeans", options))


def test_one_per_blob_nearest_to_its_mean_largest_first():
    x, group = blobs()
    got = select("kmeans", 5, features=x)
    assert group[got.indices].tolist() == [0, 1, 2, 3, 4]
    assert got.scores.tolist() == [40, 30, 20, 10, 5]
    cost = 0.0
    for g in range(5):
        at = np.flatnonzero(group == g)
        away = ((x[at] - x[at].mean(axis=0)) ** 2).sum(axis=1)
        assert got.indices[g] == at[away.argmin()]
        cost += away.sum()
    assert np.isclose(got.info["mean_square"], cost / 105)


def test_empty_clusters_are_filled_with_the_farthest():
    c = Clusters(np.zeros((4, 1)), np.array([2, 2, 0, 0, 0]), np.array([1.0, 1.0, 3.0, 0.5, 2.0]))
    picks, sizes = nearest_to_centers(c, 4)
    assert picks.tolist() == [3, 0, 2, 4]
    assert sizes.tolist() == [3, 2, 0, 0]


def test_the_two_rows_of_a_cluster_are_equally_near_and_the_lowest_is_taken():
    rng = np.random.default_rng(0)
    for _ in range(20):
        x = np.repeat(1000 * np.eye(6), 2, axis=0) + rng.normal(size=(12, 6))
        got = select("kmeans", 6, features=x, options={"normalize": True})
        assert sorted(got.indices.tolist()) == [0, 2, 4, 6, 8, 10]


def test_duplicates_only():
    got = select("kmeans", 6, features=np.repeat(np.eye(2), 5, axis=0).astype(np.float16))
    assert len(set(got.indices.tolist())) == 6
    assert {int(i) // 5 for i in got.indices[:2]} == {0, 1}


def test_normalize_is_unit_length_first():
    x = blobs()[0] * np.random.default_rng(3).uniform(0.1, 9, (105, 1))
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    one, other = (
        select("kmeans", 9, features=f, options={"normalize": n})
        for f, n in ((x, True), (unit, False))
    )
    assert one.indices.tolist() == other.indices.tolist()


def test_iterations_are_those_asked_for():
    x = np.random.default_rng(1).normal(size=(200, 4))
    cost = [
        select("kmeans", 12, features=x, options={"iterations": i}).info["mean_square"]
        for i in (0, 1, 25)
    ]
    assert cost[0] > cost[1] > cost[2]
