import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist

from coreset import select
from coreset.registry import strategy
from coreset.strategies.coverage.cluster_margin import average_linkage, round_robin
from coreset.testing import check_strategy


def mixture(n=120, dim=3, seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(n, dim)) + 4 * rng.normal(size=(6, dim))[rng.integers(0, 6, n)]
    ).astype(np.float32)


@pytest.mark.parametrize(
    "options", [{}, {"scope": "uncertain", "factor": 1.5, "normalize": True}, {"clusters": 3}]
)
def test_contract(options):
    check_strategy(strategy("cluster_margin", options))


@pytest.mark.parametrize("clusters", [1, 2, 7, 40, 119, 120, 500])
def test_average_linkage_is_the_one_of_scipy(clusters):
    x = mixture()
    tree = linkage(pdist(x.astype(float), "sqeuclidean"), "average")
    want = fcluster(tree, min(clusters, 120), "maxclust")
    got = average_linkage(torch.from_numpy(x), clusters)
    assert len(np.unique(got)) == min(clusters, 120)
    assert ((got[:, None] == got) == (want[:, None] == want)).all()
    first = [np.flatnonzero(got == c)[0] for c in range(got.max() + 1)]
    assert first == sorted(first)


def test_linkage_of_duplicates_and_of_one_row():
    assert average_linkage(torch.ones(1, 2), 1).tolist() == [0]
    x = torch.tensor([[0.0], [0.0], [4.0], [4.0], [4.0]]).half()
    assert average_linkage(x, 2).tolist() == [0, 0, 1, 1, 1]


def test_the_round_goes_from_small_clusters_to_large():
    labels, chance = np.array([5, 5, 5, 2, 2, 9]), np.array([0.3, 0.1, 0.2, 0.9, 0.8, 0.5])
    assert round_robin(labels, 6, chance).tolist() == [5, 4, 1, 3, 2, 0]
    assert round_robin(labels, 2, chance).tolist() == [5, 4]


@pytest.mark.parametrize("scope", ["pool", "uncertain"])
def test_only_the_uncertain_in_turn_over_clusters(scope):
    x = mixture()
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(4), 120)
    top = np.sort(p, axis=1)
    score = 1 - (top[:, -1] - top[:, -2])
    got = select(
        "cluster_margin",
        10,
        features=x,
        probs=p,
        options={"factor": 4, "scope": scope, "clusters": 8},
    )
    unsure = np.sort(np.argsort(-score, kind="stable")[:40])
    assert set(got.indices.tolist()) <= set(unsure.tolist())
    assert np.allclose(got.scores, score[got.indices])
    base = np.arange(120) if scope == "pool" else unsure
    label = np.full(120, -1)
    label[base] = fcluster(
        linkage(pdist(x[base].astype(float), "sqeuclidean"), "average"), 8, "maxclust"
    )
    size = {c: int((label[unsure] == c).sum()) for c in np.unique(label[unsure])}
    left, rounds = dict(size), []
    while len(rounds) < 10:  # sizes in the order in which clusters must be visited
        for c in sorted(size, key=size.get):
            if left[c] and len(rounds) < 10:
                left[c] -= 1
                rounds.append(size[c])
    assert [size[label[i]] for i in got.indices] == rounds


@pytest.mark.parametrize("options", [{"scope": "all"}, {"factor": 0.5}, {"clusters": 0}])
def test_wrong_options(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))}: expected"):
        strategy("cluster_margin", options)


def test_normalize_is_unit_length_first():
    x = mixture() * np.random.default_rng(3).uniform(0.1, 9, (120, 1))
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    one, other = (
        select(
            "cluster_margin",
            9,
            features=f,
            probs=np.random.default_rng(1).dirichlet(np.ones(4), 120),
            options={"normalize": n, "factor": 3},
        )
        for f, n in ((x, True), (unit, False))
    )
    assert one.indices.tolist() == other.indices.tolist()
