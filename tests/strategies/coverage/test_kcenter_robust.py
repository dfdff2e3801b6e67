import numpy as np
import pytest
import torch

from coreset import select
from coreset.numerics.random import keyed_uniform
from coreset.registry import strategy
from coreset.strategies.coverage.kcenter_robust import robust_k_center
from coreset.testing import check_strategy


def odd_ones(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(300, 3)) + 12 * np.eye(3)[rng.integers(0, 3, 300)]
    x[:6] += 1000 * rng.normal(size=(6, 3))
    return x.astype(np.float32)


@pytest.mark.parametrize(
    "options", [{}, {"outliers": 0.0}, {"outliers": 0.2, "slack": 0.0, "normalize": True}]
)
def test_contract(options):
    check_strategy(strategy("kcenter_robust", options))


@pytest.mark.parametrize("start", [[], [40]])
def test_each_pick_is_drawn_from_the_farthest(start):
    x, ids = odd_ones(), np.arange(300) * 3
    rest = np.setdiff1d(np.arange(300), start)
    got = robust_k_center(
        torch.from_numpy(x), 12, np.array(start, int), rest, 20, ids[rest], np.random.default_rng(5)
    )
    rng, x = np.random.default_rng(5), x.astype(float)
    near = (
        np.min([((x[rest] - x[c]) ** 2).sum(axis=1) for c in start], axis=0)
        if start
        else np.full(300, np.inf)
    )
    for i, pick in enumerate(got[0]):
        chance = keyed_uniform(int(rng.integers(2**63)), ids[rest])
        far = (
            np.arange(len(rest)) if not start and i == 0 else np.argsort(-near, kind="stable")[:20]
        )
        at = far[chance[far].argmin()]
        assert pick == rest[at]
        assert np.isclose(got[1][i], np.sqrt(near[at]))
        near = np.minimum(near, ((x[rest] - x[pick]) ** 2).sum(axis=1))
        near[at] = -1
    assert np.allclose(got[2], np.sqrt(near.clip(0)))


def test_without_outliers_it_is_k_center():
    x = odd_ones()
    robust = select("kcenter_robust", 20, features=x, selected=[9], options={"outliers": 0.0})
    plain = select("kcenter", 20, features=x, selected=[9])
    assert robust.indices.tolist() == plain.indices.tolist()
    assert np.allclose(robust.scores, plain.scores)
    assert robust.info["cover_radius"] == robust.info["full_radius"]
    assert np.isclose(robust.info["full_radius"], plain.info["cover_radius"])


def test_odd_examples_draw_fewer_picks_and_the_rest_is_covered_better():
    x = odd_ones()
    odd, radius = [], []
    for seed in range(10):
        got = select(
            "kcenter_robust", 6, features=x, seed=seed, options={"outliers": 0.02, "slack": 4.0}
        )
        odd.append((got.indices < 6).sum())
        radius.append(got.info["cover_radius"])
    plain = select("kcenter", 6, features=x, seed=0)
    assert np.mean(odd) < 0.5 * (plain.indices < 6).sum()
    d = np.sqrt(((x[6:, None].astype(float) - x[plain.indices][None]) ** 2).sum(axis=-1)).min(
        axis=1
    )
    assert np.median(radius) < d.max()


def test_how_many_are_spared_and_drawn_from():
    x = odd_ones()[:101]
    rest = np.setdiff1d(np.arange(101), [7])
    for outliers, slack, spared, pool in (
        (0.29, 0.5, 29, 43),
        (0.07, 1.0, 7, 14),
        (0.0, 1.0, 0, 1),
        (0.01, 0.0, 1, 1),
    ):
        got = select(
            "kcenter_robust",
            9,
            features=x,
            selected=[7],
            seed=3,
            options={"outliers": outliers, "slack": slack},
        )
        picks, distances, left = robust_k_center(
            torch.from_numpy(x), 9, np.array([7]), rest, pool, rest, np.random.default_rng(3)
        )
        assert got.indices.tolist() == picks.tolist()
        assert np.allclose(got.scores, distances)
        assert got.info["cover_radius"] == np.sort(left)[99 - spared]
        assert got.info["full_radius"] == left.max()


@pytest.mark.parametrize("options", [{"outliers": 1.0}, {"slack": -0.1}])
def test_wrong_options(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))}: expected"):
        strategy("kcenter_robust", options)


def test_the_share_that_may_stay_uncovered_is_one_of_the_candidates():
    x, pool = odd_ones(), np.arange(150, 300)
    got = select(
        "kcenter_robust",
        4,
        features=x,
        candidates=pool,
        selected=[9],
        options={"outliers": 0.1, "slack": 0.0},
    )
    taken = np.concatenate([[9], got.indices])
    near = np.min([((x[pool].astype(float) - x[c]) ** 2).sum(axis=1) for c in taken], axis=0)
    assert np.isclose(got.info["cover_radius"], np.sqrt(np.sort(near)[149 - 15]))
    near = ((x[pool].astype(float) - x[9]) ** 2).sum(axis=1)
    assert got.indices[0] in pool[np.argsort(-near, kind="stable")[:15]]
