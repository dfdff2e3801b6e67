import numpy as np
import pytest
import torch

import coreset
from coreset import Selection, Signals, select
from coreset.registry import strategy
from coreset.strategies.coverage.kcenter import k_center_greedy
from coreset.testing import check_strategy


def mixture(n=200, dim=6, seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(n, dim)) + 3 * rng.normal(size=(5, dim))[rng.integers(0, 5, n)]
    ).astype(np.float32)


def loop(x, k, near, candidates):
    """Algorithm 1 in float64; near: squared distance of each candidate to the centers so far."""
    x, near, picks, scores = x.astype(np.float64), near.copy(), [], []
    for _ in range(k):
        best = int(near.argmax())
        picks.append(int(candidates[best]))
        scores.append(np.sqrt(near[best]))
        near = np.minimum(near, ((x[candidates] - x[candidates[best]]) ** 2).sum(axis=1))
        near[best] = -1
    return picks, scores, np.sqrt(near.max().clip(0))


@pytest.mark.parametrize("options", [{}, {"normalize": True}, {"first": "center"}])
def test_contract(options):
    check_strategy(strategy("kcenter", options))


@pytest.mark.parametrize("normalize", [False, True])
def test_the_float64_loop_from_what_is_selected(normalize):
    x = mixture()
    unit = torch.nn.functional.normalize(torch.from_numpy(x), dim=1).numpy() if normalize else x
    rest = np.setdiff1d(np.arange(200), [4, 9])
    near = np.min(
        [((unit[rest].astype(float) - unit[c].astype(float)) ** 2).sum(axis=1) for c in (4, 9)],
        axis=0,
    )
    picks, scores, radius = loop(unit, 50, near, rest)
    got = select("kcenter", 50, features=x, selected=[4, 9], options={"normalize": normalize})
    assert got.indices.tolist() == picks
    assert np.allclose(got.scores, scores, rtol=1e-12)
    assert np.isclose(got.info["cover_radius"], radius)


def test_the_first_pick():
    x = mixture()
    got = select("kcenter", 5, features=x, options={"first": "center"})
    away = ((x.astype(float) - x.astype(float).mean(axis=0)) ** 2).sum(axis=1)
    assert got.indices[0] == away.argmin()
    assert np.isinf(got.scores[0])
    near = ((x.astype(float) - x[got.indices[0]].astype(float)) ** 2).sum(axis=1)
    near[got.indices[0]] = -1
    assert got.indices[1:].tolist() == loop(x, 4, near, np.arange(200))[0]
    seeds = {int(select("kcenter", 1, features=x, seed=s).indices[0]) for s in range(20)}
    assert len(seeds) > 10


def test_each_class_by_itself():
    x, y = mixture(), np.random.default_rng(1).integers(0, 3, 200)
    y[y == 2] = -1
    chosen = np.array([0, 1, 2])
    got = select(
        "class_quota",
        40,
        features=x,
        labels=y,
        selected=chosen,
        options={"base": {"kcenter": {"first": "center"}}},
    )
    rest = np.setdiff1d(np.arange(200), chosen)
    for c in np.unique(y):
        mine = [i for i in got.indices if y[i] == c]
        assert abs(len(mine) - 40 * (y[rest] == c).mean()) < 1
        candidates, centers = rest[y[rest] == c], chosen[y[chosen] == c]
        if not len(centers):
            mean = x[candidates].astype(float).mean(axis=0)
            centers = candidates[[((x[candidates].astype(float) - mean) ** 2).sum(axis=1).argmin()]]
            assert mine.pop(0) == centers[0]
            candidates = np.setdiff1d(candidates, centers)
        near = np.min(
            [
                ((x[candidates].astype(float) - x[o].astype(float)) ** 2).sum(axis=1)
                for o in centers
            ],
            axis=0,
        )
        assert mine == loop(x, len(mine), near, candidates)[0]


def test_the_radius_is_at_most_twice_the_best():
    x = np.random.default_rng(5).normal(size=(12, 2))
    from itertools import combinations

    d = np.sqrt(((x[:, None] - x[None]) ** 2).sum(axis=-1))
    best = min(d[:, list(c)].min(axis=1).max() for c in combinations(range(12), 3))
    for seed in range(5):
        assert select("kcenter", 3, features=x, seed=seed).info["cover_radius"] <= 2 * best + 1e-12


def test_duplicates_half_precision_and_the_last_candidate():
    x = np.repeat(mixture(5), 4, axis=0).astype(np.float16)
    got = select("kcenter", 19, features=x, selected=[0])
    assert (got.scores[:4] > 0).all()
    assert (got.scores[4:] == 0).all()
    assert got.indices[4:].tolist() == sorted(got.indices[4:].tolist())
    assert got.info["cover_radius"] == 0


def test_function_keeps_its_interface():
    x = torch.tensor([[0.0], [1.0], [5.0]])
    with pytest.raises(ValueError, match="centers: expected at least one"):
        k_center_greedy(x, 1, torch.tensor([], dtype=torch.int64), torch.tensor([0]))
    # any order of candidates
    picks, radii = k_center_greedy(x, 2, torch.tensor([0]), torch.tensor([2, 1]))
    assert picks.tolist() == [2, 1]
    assert radii.tolist() == [5.0, 1.0]
    duplicates = torch.tensor([[0.0], [5.0], [5.0]])
    assert k_center_greedy(duplicates, 1, torch.tensor([0]), torch.tensor([2, 1]))[0].tolist() == [
        1
    ]


def test_two_rounds_measure_on_unit_length_and_bound_by_the_smaller_number():
    x, shard = mixture(20), mixture(30, seed=1)
    one = Selection(np.array([3, 11]), scores=np.array([np.inf, 2.0]))
    kcenter = strategy("kcenter", {"normalize": True})
    got = kcenter.audit(Signals(30, features=shard), Signals(20, features=x), [one])
    a, b = (
        v.astype(float) / np.linalg.norm(v.astype(float), axis=1, keepdims=True)
        for v in (shard, x[[3, 11]])
    )
    assert got.item() == pytest.approx(
        np.sqrt(((a[:, None] - b) ** 2).sum(axis=-1)).min(axis=1).max(), rel=1e-6
    )
    for radius, bound in ((3.0, 1.0), (1.0, 0.5)):
        want = {"cover_radius": radius, "lower_bound": bound, "ratio": radius / bound}
        assert kcenter.certify(np.array([[[radius]], [[0.1]]]), [one], 50) == (0, want)


def test_wrong_first():
    with pytest.raises(ValueError, match="first: expected random or center, got 'mean'"):
        strategy("kcenter", {"first": "mean"})


@pytest.mark.parametrize("widest", [0, 1, 2])
def test_the_cover_radius_of_classes_is_that_of_each_class_by_itself(widest):
    x, labels = mixture(), np.random.default_rng(2).integers(0, 3, 200)
    x[labels == widest] *= 2
    got = select(
        "class_quota", 21, features=x, labels=labels, selected=[4, 9], options={"base": "kcenter"}
    )
    centers = np.concatenate([[4, 9], got.indices])
    square = ((x[:, None].astype(float) - x[None, centers].astype(float)) ** 2).sum(axis=-1)
    own = np.where(labels[:, None] == labels[centers][None], square, np.inf)
    radii = {name: info["cover_radius"] for name, info in got.info["groups"].items()}
    assert max(radii, key=radii.get) == str(widest)
    assert max(radii.values()) == pytest.approx(np.sqrt(own.min(axis=1).max()))
    assert max(radii.values()) > np.sqrt(square.min(axis=1).max()) * (1 - 1e-12)


def test_the_first_pick_may_be_a_position():
    x = np.random.default_rng(0).normal(size=(30, 3))
    got = coreset.select("kcenter", 6, features=x, options={"first": 17})
    assert got.indices[0] == 17
    assert (
        got.indices[1:].tolist()
        == coreset.select("kcenter", 5, features=x, selected=[17]).indices.tolist()
    )
    with pytest.raises(ValueError, match="first: position 17 is no candidate"):
        coreset.select("kcenter", 2, features=x, candidates=[1, 2, 3], options={"first": 17})
    for bad in (-1, True, 1.0, "last"):
        with pytest.raises(ValueError, match="first: expected"):
            coreset.select("kcenter", 2, features=x, options={"first": bad})
