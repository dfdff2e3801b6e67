import numpy as np
import pytest

from coreset import select
from coreset.numerics.random import keyed_uniform, salt
from coreset.registry import strategy
from coreset.strategies.coverage.zcore import zcore_scores
from coreset.testing import check_strategy


@pytest.mark.parametrize(
    "options",
    [
        {"samples": 200, "neighbors": 5},
        {"samples": 20},
        {"samples": 20, "random_start": False},
        {"samples": 100, "dims": 9, "neighbors": 1, "power": 1.0},
    ],
)
def test_contract(options):
    check_strategy(strategy("zcore", options))


def quantile(u, low, mode, high):
    """The triangular law's, by its two branches."""
    split = (mode - low) / (high - low) if high > low else 0.0
    return (
        low + np.sqrt(u * (high - low) * (mode - low))
        if u < split
        else high - np.sqrt((1 - u) * (high - low) * (high - mode))
    )


def loop(x, samples, rng, dims, neighbors, power):
    """The published loop in float64; where several rows lie on the covered one they share the
    redundancy.
    """
    x, scores = x.astype(np.float64), np.zeros(len(x))
    count = min(dims, x.shape[1])
    for draw in rng.random((samples, 2 * count)):
        chosen = []
        for j in range(count):  # a uniform subset, by Floyd's algorithm
            top = x.shape[1] - count + j
            pick = int(draw[j] * (top + 1))
            chosen.append(top if pick in chosen else pick)
        part = x[:, chosen]
        spot = [
            quantile(u, c.min(), np.median(c), c.max())
            for u, c in zip(draw[count:], part.T, strict=True)
        ]
        row = np.abs(part - spot).sum(axis=1).argmin()
        scores[row] += 1
        away = np.abs(part - part[row]).sum(axis=1)
        near = [i for i in np.argsort(away, kind="stable") if i != row][:neighbors]
        share = np.array(
            [float(away[i] == 0) if away[near[0]] == 0 else away[i] ** -power for i in near]
        )
        scores[near] -= share / share.sum()
    return scores


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("n", "dims", "neighbors", "power"),
    [(60, 2, 7, 4.0), (60, 2, 1000, 4.0), (60, 1, 1, 4.0), (60, 9, 20, 1.0), (700, 2, 40, 2.0)],
)
def test_the_published_loop(n, dims, neighbors, power, dtype):
    x = np.random.default_rng(0).normal(size=(n, 5)).astype(dtype)
    x[10] = x[11] = x[12]
    x[:, 3] = np.round(x[:, 3])  # many rows at the same distance
    got = zcore_scores(x, 300, np.random.default_rng(3), dims, neighbors, power)
    np.testing.assert_allclose(
        got, loop(x, 300, np.random.default_rng(3), dims, neighbors, power), rtol=1e-9, atol=1e-9
    )
    assert np.isclose(got.sum(), 0)


def test_places_follow_the_triangular_law_in_every_pair_of_coordinates_alike():
    """With each row alone on a grid and a neighbor that pays for it, coverage counts places per
    cell.
    """
    grid = np.stack(np.meshgrid(np.arange(5.0), np.arange(5.0)), axis=-1).reshape(-1, 2)
    # the middle coordinate is constant: a third of the pairs is (0, 2)
    x = np.c_[grid[:, 0], np.zeros(25), grid[:, 1]]
    rng, cells = np.random.default_rng(0), np.zeros(25)
    cells += zcore_scores(
        x[:, [0, 2]], 20000, rng, neighbors=24, power=1e-9
    )  # redundancy spread evenly over the others
    share = (cells * 24 / 25 + 20000 / 25) / 20000  # covered c times: c - (20000 - c) / 24
    edges = np.array([0, 0.5, 1.5, 2.5, 3.5, 4.0])
    cdf = np.where(edges < 2, edges**2 / 8, 1 - (4 - edges) ** 2 / 8)  # low 0, mode 2, high 4
    want = np.outer(np.diff(cdf), np.diff(cdf)).ravel()
    np.testing.assert_allclose(share, want, atol=0.01)


def test_the_strategy_takes_the_highest_and_starts_at_random():
    x = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    for start in (True, False):
        options = {"samples": 100, "neighbors": 5, "random_start": start}
        got = select("zcore", 20, features=x, selected=[4], seed=6, options=options)
        rest, rng = np.setdiff1d(np.arange(50), [4]), np.random.default_rng(6)
        first = keyed_uniform(salt(rng), rest) if start else np.zeros(49)
        want = first + loop(x[rest], 100, rng, 2, 5, 4.0)
        order = sorted(range(49), key=lambda i: (-np.round(want[i], 9), i))[:20]
        assert got.indices.tolist() == rest[order].tolist()
        np.testing.assert_allclose(got.scores, want[order], atol=1e-9)


def test_lone_rows_beat_crowded_ones():
    rng = np.random.default_rng(0)
    x = np.concatenate([0.01 * rng.normal(size=(50, 2)), rng.uniform(-5, 5, (50, 2))])
    scores = zcore_scores(x, 2000, rng, neighbors=10)
    assert scores[50:].mean() > scores[:50].mean()


def test_one_row_and_only_duplicates():
    assert select(
        "zcore", 1, features=np.ones((1, 2)), options={"samples": 5}
    ).indices.tolist() == [0]
    same = select(
        "zcore", 4, features=np.ones((6, 2)), options={"samples": 50, "random_start": False}
    )
    assert np.isfinite(same.scores).all()
    assert len(set(same.indices.tolist())) == 4


@pytest.mark.parametrize("name", ["samples", "dims", "neighbors"])
def test_wrong_options(name):
    with pytest.raises(ValueError, match=f"{name}: expected at least 1, got 0"):
        strategy("zcore", {name: 0})
