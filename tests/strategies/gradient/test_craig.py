"""CRAIG against naive greedy on distances between gradients written out in float64."""

import numpy as np
import pytest
import torch

import coreset
from coreset.numerics.gradients import LastLayerGradients
from coreset.strategies.gradient.craig import Craig, craig
from coreset.testing import check_strategy


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def written_out(x, p, y, bias=True):
    rows = []
    for h, q, label in zip(x.astype(np.float64), p.astype(np.float64), y, strict=True):
        r = q.copy()
        r[label] -= 1
        rows.append(np.outer(r, np.append(h, 1.0) if bias else h).ravel())
    return np.array(rows)


def naive(g, k, squared=False):
    """Take the row that lowers the summed distance to the nearest choice most; then count whose
    nearest each is.
    """
    d = np.sqrt(((g[:, None] - g[None]) ** 2).sum(axis=-1))
    d = d**2 if squared else d
    length = (g**2).sum(axis=1)
    near, picks, gains = np.full(len(g), d.max()), [], []
    for _ in range(k):
        gain = np.maximum(near[:, None] - d, 0).sum(axis=0)
        gain[picks] = -np.inf
        # mutual nearest neighbors: the longer gradient
        tied = np.flatnonzero(gain >= gain.max() * (1 - 1e-9))
        picks.append(int(tied[length[tied].argmax()]))
        gains.append(gain[picks[-1]])
        near = np.minimum(near, d[picks[-1]])
    owner = d[:, picks].argmin(axis=1)
    owner[picks] = np.arange(k)
    return np.array(picks), np.bincount(owner, minlength=k), np.array(gains)


def case(n=60, seed=0, d=7, c=4):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, c, n)
    x = rng.normal(size=(n, d)) + 2 * np.eye(c, d)[y]
    return x, softmax(x[:, :c] + rng.normal(size=(n, c))), y


@pytest.mark.parametrize("per_class", [True, False])
@pytest.mark.parametrize("distance", ["euclidean", "squared"])
def test_contract(per_class, distance):
    check_strategy(Craig(per_class, distance))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("distance", ["euclidean", "squared"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_global_picks_weights_gains(bias, distance, dtype):
    x, p, y = case()
    x, p = x.astype(dtype), p.astype(dtype)
    g = written_out(x, p, y, bias)
    picks, weights, gains = naive(g, 25, distance == "squared")
    got = coreset.select(
        "craig",
        25,
        features=x,
        probs=p,
        labels=y,
        options={"per_class": False, "distance": distance, "bias": bias},
    )
    assert got.indices.tolist() == picks.tolist()
    assert got.weights.tolist() == weights.tolist()
    assert np.allclose(got.scores, gains, rtol=1e-3, atol=1e-3)
    error = np.linalg.norm(weights @ g[picks] - g.sum(axis=0)) / np.linalg.norm(g.sum(axis=0))
    assert got.info["matching_error"] == pytest.approx(error, abs=1e-5)


@pytest.mark.parametrize("distance", ["euclidean", "squared"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_small_gradients_count_beside_large_ones(distance, dtype):
    """Those of a trained model: most of them thousands of times shorter than the longest."""
    x, p, y = case(80, 6)
    right = np.random.default_rng(0).random(80) < 0.9
    p[right] = softmax(np.log(p[right]) + 9 * np.eye(4)[y[right]])
    x, p = x.astype(dtype), p.astype(dtype)
    g = written_out(x, p, y)
    assert np.median(np.linalg.norm(g, axis=1)) < 1e-3 * np.linalg.norm(g, axis=1).max()
    picks, weights, gains = naive(g, 40, distance == "squared")
    got = coreset.select(
        "craig",
        40,
        features=x,
        probs=p,
        labels=y,
        options={"per_class": False, "distance": distance},
    )
    assert got.indices.tolist() == picks.tolist()
    assert got.weights.tolist() == weights.tolist()
    assert np.allclose(got.scores, gains, rtol=1e-4, atol=0)


def test_classes_are_covered_by_themselves_and_weights_add_up_to_their_sizes():
    x, p, y = case(100, 3)
    y[7] = 3
    y[y == 2] = 1
    y[7] = 2  # a class of one
    g = written_out(x, p, y)
    got = coreset.select("craig", 30, features=x, probs=p, labels=y)
    for c in np.unique(y[got.indices]):
        rows, mine = np.flatnonzero(y == c), np.flatnonzero(y[got.indices] == c)
        picks, weights, _ = naive(g[rows], len(mine))
        assert got.indices[mine].tolist() == rows[picks].tolist()
        assert got.weights[mine].tolist() == weights.tolist()
        assert got.weights[mine].sum() == len(rows)


def test_the_batch_that_was_scored_together_plays_no_part():
    """Splitting the rows in two calls gives the same gradients: no scale by the batch."""
    x, p, y = case(40)
    whole = coreset.select("craig", 40, features=x, probs=p, labels=y)
    assert whole.weights.tolist() == [1.0] * 40
    assert whole.info["matching_error"] < 1e-12


def test_neighbors_only_comes_close_to_all_pairs_and_weights_stay_exact():
    x, p, y = case(500, 1)
    r = torch.from_numpy(p - np.eye(4)[y])
    g = LastLayerGradients(r, torch.from_numpy(x))
    written = written_out(x, p, y)
    d = np.sqrt(((written[:, None] - written[None]) ** 2).sum(axis=-1))
    dense, sparse = craig(g, 40)[0], craig(g, 40, dense_up_to=10)
    assert d[sparse[0]].min(axis=0).sum() < 1.03 * d[dense].min(axis=0).sum()
    owner = d[:, sparse[0]].argmin(axis=1)
    assert sparse[1].tolist() == np.bincount(owner, minlength=40).tolist()


@pytest.mark.parametrize("distance", ["euclidean", "squared"])
def test_neighbors_only_against_their_definition(distance, monkeypatch):
    """A row is covered by those among its 7 nearest (itself included), and by all others from
    halfway between the farthest of them and its mean.
    """
    monkeypatch.setattr("coreset.strategies.gradient.craig.NEIGHBORS", 7)
    x, p, y = case(60, 4)
    g = written_out(x, p, y)
    d = ((g[:, None] - g[None]) ** 2).sum(axis=-1)
    d = d if distance == "squared" else np.sqrt(d)
    listed = np.zeros(d.shape, bool)
    np.put_along_axis(listed, np.argsort(d, axis=1)[:, :7], True, axis=1)
    near, picks, gains = (np.sort(d, axis=1)[:, 6] + d.mean(axis=1)) / 2, [], []
    for _ in range(12):
        gain = (listed * np.maximum(near[:, None] - d, 0)).sum(axis=0)
        gain[picks] = -1
        tied = np.flatnonzero(gain >= gain.max() * (1 - 1e-9))
        picks.append(int(tied[(g[tied] ** 2).sum(axis=1).argmax()]))
        gains.append(gain.max())
        near = np.where(listed[:, picks[-1]], np.minimum(near, d[:, picks[-1]]), near)
    got = craig(
        LastLayerGradients(torch.from_numpy(p - np.eye(4)[y]), torch.from_numpy(x)),
        12,
        distance,
        dense_up_to=10,
    )
    assert got[0].tolist() == picks
    assert np.allclose(got[2], gains, rtol=1e-5)


def test_neighbors_only_equals_all_pairs_when_all_are_neighbors():
    x, p, y = case(50, 2)
    g = LastLayerGradients(torch.from_numpy(p - np.eye(4)[y]), torch.from_numpy(x))
    dense, sparse = craig(g, 12), craig(g, 12, dense_up_to=10)
    picks, weights, gains = naive(written_out(x, p, y), 12)
    assert weights.sum() == 50
    assert dense[0].tolist() == picks.tolist()
    assert np.allclose(dense[2], gains, rtol=1e-4)
    assert sparse[1].sum() == 50


def test_duplicates_zero_gradients_and_saturated_softmax():
    x, p, y = np.ones((6, 2), np.float32), np.full((6, 2), 0.5, np.float32), np.zeros(6, int)
    got = coreset.select("craig", 3, features=x, probs=p, labels=y)
    assert got.indices.tolist() == [0, 1, 2]
    assert got.weights.tolist() == [4.0, 1.0, 1.0]
    assert got.info["matching_error"] == 0
    p = np.tile([1.0, 0.0], (6, 1))
    p[4] = [0.2, 0.8]
    got = coreset.select("craig", 2, features=x, probs=p, labels=y)
    assert got.indices.tolist() == [0, 4]
    assert got.weights.tolist() == [5.0, 1.0]
    assert (
        coreset.select("craig", 6, features=x, probs=np.tile([1.0, 0.0], (6, 1)), labels=y).info[
            "matching_error"
        ]
        == 0
    )


def test_near_duplicates_are_told_apart_in_float32():
    rng = np.random.default_rng(0)
    base = np.repeat(rng.normal(size=(4, 64)) * 100, 5, axis=0)
    x = (base + 1e-3 * rng.normal(size=base.shape)).astype(np.float32)
    p = np.tile(np.float32([0.25, 0.75]), (20, 1))
    got = coreset.select("craig", 20, features=x, probs=p, labels=np.zeros(20, int))
    assert sorted(got.indices[:4] // 5) == [0, 1, 2, 3]
    picks, _, _ = naive(written_out(x, p, np.zeros(20, int)), 4)
    four = coreset.select("craig", 4, features=x, probs=p, labels=np.zeros(20, int))
    assert sorted(four.indices // 5) == sorted(picks // 5)
    assert four.weights.tolist() == [5.0] * 4


def test_refused():
    x, p, y = case(10)
    y[2] = 4
    with pytest.raises(ValueError, match=r"labels: .*outside 0 to 3, first position 2"):
        coreset.select("craig", 2, features=x, probs=p, labels=y)
    with pytest.raises(ValueError, match="distance: expected euclidean or squared"):
        Craig(distance="cosine")
