import numpy as np
import pytest
import torch

import coreset
from coreset import select
from coreset.registry import strategy
from coreset.strategies.coverage.prototypes import prototype_distance
from coreset.testing import check_strategy


def blobs(seed=0):
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.repeat(np.arange(4), 30))
    return 10 * np.eye(6)[group] + rng.normal(size=(120, 6)), group


@pytest.mark.parametrize("options", [{}, {"clusters": 5}, {"clusters": 5, "keep": "easiest"}])
def test_contract(options):
    check_strategy(strategy("prototypes", options))


def by_hand(x, group):
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    out = np.empty(len(x))
    for g in np.unique(group):
        center = unit[group == g].mean(axis=0)
        out[group == g] = 1 - unit[group == g] @ center / np.linalg.norm(center)
    return out


@pytest.mark.parametrize("keep", ["hardest", "easiest"])
def test_one_minus_cosine_to_the_center_of_the_blob(keep):
    x, group = blobs()
    d = by_hand(x, group)
    got = select("prototypes", 40, features=x, options={"clusters": 4, "keep": keep})
    want = np.argsort(-d if keep == "hardest" else d, kind="stable")[:40]
    assert got.indices.tolist() == want.tolist()
    assert np.allclose(got.scores, d[want] if keep == "hardest" else -d[want])


@pytest.mark.parametrize("keep", ["hardest", "easiest"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rows_that_are_centers_of_their_own_tie(keep, dtype):
    # fewer than the default 100 clusters
    x = np.random.default_rng(0).normal(size=(40, 6)).astype(dtype)
    got = select("prototypes", 12, features=x, options={"keep": keep})
    assert got.indices.tolist() == list(range(12))
    assert (got.scores == 0).all()


def test_zero_vectors_and_more_clusters_than_rows():
    x = torch.zeros(3, 2)
    assert prototype_distance(x, 9, np.random.default_rng(0), np.arange(3)).tolist() == [
        1.0,
        1.0,
        1.0,
    ]
    assert len(select("prototypes", 3, features=np.eye(3, dtype=np.float16))) == 3


@pytest.mark.parametrize("options", [{"keep": "all"}, {"clusters": 0}])
def test_wrong_options(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))}: expected"):
        strategy("prototypes", options)


def test_given_centers_take_the_place_of_k_means():
    rng = np.random.default_rng(0)
    x, centers = rng.normal(size=(40, 5)), rng.normal(size=(3, 5))
    got = coreset.select("prototypes", 40, features=x, options={"centers": centers})
    unit, mine = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (x, centers))
    want = 1 - (unit @ mine.T).max(axis=1)
    assert got.indices.tolist() == np.argsort(-want).tolist()
    np.testing.assert_allclose(got.scores, want[got.indices], atol=1e-11)
    for bad in (centers[0], centers[:, :4], centers * np.nan):
        with pytest.raises(ValueError, match="centers: expected"):
            coreset.select("prototypes", 3, features=x, options={"centers": bad})
