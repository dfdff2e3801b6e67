"""The shares against the paper's algorithm as it stands, the clusters against trajectories that are
apart.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coreset import select
from coreset.curation.operators.select import Select
from coreset.registry import strategy
from coreset.strategies.instruction.s2l import balanced_shares
from coreset.testing import check_operator

SIZES = [30, 3, 12, 7, 1]
LABEL = np.random.default_rng(0).permutation(np.repeat(np.arange(5), SIZES))
LOSSES = np.array([[5, 5, 5], [5, 1, 0], [2, 2, 2], [9, 9, 0], [0, 4, 9.0]])[LABEL]
LOSSES = LOSSES + 0.05 * np.random.default_rng(1).normal(size=LOSSES.shape)


@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=20), share=st.floats(0, 1))
def test_shares(sizes, share):
    budget = int(share * sum(sizes))
    clusters = sorted(range(len(sizes)), key=lambda c: sizes[c])
    want, taken = [0] * len(sizes), 0
    for k, c in enumerate(clusters, 1):
        room = (budget - taken) // (len(sizes) - k + 1)
        want[c] = sizes[c] if sizes[c] <= room else room
        taken += want[c]
    assert taken == budget
    assert balanced_shares(np.array(sizes), budget).tolist() == want


@pytest.mark.parametrize(
    ("k", "quota"),
    [(20, [1, 3, 5, 5, 6]), (5, [1] * 5), (53, [1, 3, 7, 12, 30]), (2, [0, 0, 0, 1, 1])],
)
def test_every_cluster_gets_the_same(k, quota):
    """Clusters from small to large have 1, 3, 7, 12 and 30 rows."""
    got = select("s2l", k, losses=LOSSES, options={"clusters": 5}, seed=4)
    order = [4, 1, 3, 2, 0]
    assert LABEL[got.indices].tolist() == np.repeat(order, quota).tolist()
    assert got.info["quota"] == quota


def test_inside_a_cluster_chance_decides_and_the_seed_says_how():
    runs = [
        select("s2l", 20, losses=LOSSES, options={"clusters": 5}, seed=s).indices for s in range(40)
    ]
    large = [i for run in runs for i in run.tolist() if LABEL[i] == 0]
    assert len(set(large)) == 30
    assert (
        runs[0].tolist()
        == select("s2l", 20, losses=LOSSES, options={"clusters": 5}, seed=0).indices.tolist()
    )


def test_trajectories_that_coincide_and_more_clusters_than_rows():
    got = select("s2l", 4, losses=np.ones((9, 3)))
    assert len(set(got.indices.tolist())) == 4


def test_bad_input():
    with pytest.raises(ValueError, match="clusters: expected at least 1, got 0"):
        strategy("s2l", {"clusters": 0})
    with pytest.raises(ValueError, match=r"losses: expected shape \(N, T\)"):
        select("s2l", 2, losses=np.ones(5))
    holed = np.ones((5, 2))
    holed[3, 1] = np.nan
    with pytest.raises(ValueError, match="losses: 1 examples have NaN"):
        select("s2l", 2, losses=holed)


def test_in_a_pipeline():
    check_operator(Select(strategy("s2l", {"clusters": 5}), 20), {"losses": LOSSES})
