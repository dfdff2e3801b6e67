import numpy as np
import pytest
import torch

import coreset
from coreset import select
from coreset.registry import strategy
from coreset.strategies.coverage.typiclust import typical_of_clusters, typicality
from coreset.testing import check_strategy


def reference(x, k, labels, labeled, neighbors, smallest, squared):
    """The paper's loop on given clusters, with what the released code leaves out: no repeats when
    clusters run out.
    """
    x = x.astype(np.float64)

    def typical(rows):
        if len(rows) == 1:
            return np.array([np.inf])
        d = ((x[rows][:, None] - x[rows][None]) ** 2).sum(axis=-1)
        d = d if squared else np.sqrt(d)
        np.fill_diagonal(d, np.inf)
        return 1 / np.sort(d, axis=1)[:, : max(1, min(neighbors, len(rows) // 2))].mean(axis=1)

    clusters = [
        (
            int(labeled[labels == c].sum()),
            -int((labels == c).sum()),
            int(np.flatnonzero(labels == c)[0]),
            c,
        )
        for c in np.unique(labels)
    ]
    big = [c for *_, c in sorted(clusters) if (labels == c).sum() > smallest]
    small = [c for *_, c in sorted(clusters) if (labels == c).sum() <= smallest]
    free, picks = ~labeled, []
    for turn in (big, small):
        i = 0
        while len(picks) < k and any((free & (labels == c)).any() for c in turn):
            rows = np.flatnonzero(free & (labels == turn[i % len(turn)]))
            i += 1
            if len(rows):
                picks.append(int(rows[typical(rows).argmax()]))
                free[picks[-1]] = False
    return picks


def clustered(seed=0):
    rng = np.random.default_rng(seed)
    sizes = [40, 25, 25, 8, 5, 3, 1]
    labels = rng.permutation(np.repeat(np.arange(7), sizes))
    return (rng.normal(size=(107, 4)) + 5 * rng.normal(size=(7, 4))[labels]).astype(
        np.float32
    ), labels


@pytest.mark.parametrize(
    "options",
    [{}, {"variant": "released_code"}, {"clusters": 5}, {"smallest": 0, "normalize": False}],
)
def test_contract(options):
    check_strategy(strategy("typiclust", options))


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("k", [1, 3, 4, 9, 60, 97])
def test_order_cycling_small_clusters_and_no_duplicates(k, squared):
    x, labels = clustered()
    labeled = np.zeros(107, bool)
    labeled[np.flatnonzero(labels == 0)[:7]] = True
    labeled[np.flatnonzero(labels == 3)[:3]] = True
    picks, scores = typical_of_clusters(torch.from_numpy(x), k, labels, labeled, 20, 5, squared)
    assert picks.tolist() == reference(x, k, labels, labeled, 20, 5, squared)
    assert len(set(picks.tolist())) == k
    assert len(scores) == k


def test_typicality_is_one_over_the_mean_distance():
    x = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    assert np.allclose(typicality(x, 2), 1 / np.array([2.0, 1.5, 2.5, 5.0]))
    assert np.allclose(typicality(x, 2, squared=True), 1 / np.array([5.0, 2.5, 6.5, 26.0]))
    assert np.isinf(typicality(x[:1])).all()
    assert np.isinf(typicality(torch.ones(4, 2))).all()


@pytest.mark.parametrize("squared", [False, True])
def test_typicality_of_many_rows_is_among_these_rows(squared):
    x, at = np.random.default_rng(0).normal(size=(400, 3)), np.arange(0, 400, 4)
    for rows in (
        at,
        np.setdiff1d(np.arange(400), at),
    ):  # below and beyond the size up to which pairs are measured one by one
        d = ((x[rows, None] - x[rows]) ** 2).sum(axis=-1) ** (1 if squared else 0.5)
        want = 1 / np.sort(d, axis=1)[:, 1:21].mean(axis=1)
        assert np.allclose(typicality(torch.from_numpy(x), 20, squared, rows), want)


def test_one_pick_per_blob_and_the_labeled_blob_is_left_out():
    rng = np.random.default_rng(0)
    blob = np.repeat(np.arange(4), 30)
    x = 8 * np.eye(4)[blob] + 0.1 * rng.normal(size=(120, 4))
    got = select("typiclust", 3, features=x, selected=[35])
    assert sorted(blob[got.indices]) == [0, 2, 3]
    assert got.info["variant"] == "paper"
    assert got.info["clusters"] == 4  # one that is labeled and three to label


@pytest.mark.parametrize("variant", ["paper", "released_code"])
@pytest.mark.parametrize("normalize", [True, False])
def test_one_cluster_is_its_most_typical_row(variant, normalize):
    picks = set()
    for seed in range(6):
        x = np.random.default_rng(seed).normal(size=(30, 3)) + 1
        unit = x / np.linalg.norm(x, axis=1, keepdims=True) if normalize else x
        d = np.sqrt(((unit[:, None] - unit) ** 2).sum(axis=-1)) ** (
            2 if variant == "released_code" else 1
        )
        typical = 1 / np.sort(d, axis=1)[:, 1:16].mean(axis=1)  # half of 30 are fewer than 20
        got = select(
            "typiclust", 1, features=x, options={"variant": variant, "normalize": normalize}
        )
        assert got.indices[0] == typical.argmax()
        assert got.scores[0] == pytest.approx(typical.max())
        picks.add(int(got.indices[0]))
    assert len(picks) > 1


def test_only_duplicates():
    got = select("typiclust", 12, features=np.ones((12, 3), np.float32))
    assert sorted(got.indices.tolist()) == list(range(12))


def test_wrong_variant():
    with pytest.raises(ValueError, match="variant: expected paper or released_code"):
        strategy("typiclust", {"variant": "l2"})


def test_given_clusters_take_the_place_of_k_means():
    """By hand: of each cluster, the largest first, the row with the smallest mean distance to its
    nearest neighbors.
    """
    rng = np.random.default_rng(0)
    x, clusters = rng.normal(size=(30, 3)), np.repeat([7, -1, 3], [8, 12, 10])
    options = {"given": True, "normalize": False, "smallest": 0}
    got = coreset.select("typiclust", 3, features=x, clusters=clusters, options=options)
    want = []
    for c in (-1, 3, 7):
        at = np.flatnonzero(clusters == c)
        d = np.sort(np.linalg.norm(x[at, None] - x[at], axis=-1), axis=1)[:, 1 : 1 + len(at) // 2]
        want.append(int(at[d.mean(axis=1).argmin()]))
    assert got.indices.tolist() == want
    with pytest.raises(ValueError, match="clusters: expected one whole number"):
        coreset.select("typiclust", 3, features=x, clusters=clusters / 2, options=options)
