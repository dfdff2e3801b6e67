import numpy as np
import pytest
import torch

from coreset import select
from coreset.registry import strategy
from coreset.strategies.coverage.probcover import prob_cover, pure_radius
from coreset.testing import check_strategy


def mixture(n=120, dim=3, seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(n, dim)) + 4 * rng.normal(size=(5, dim))[rng.integers(0, 5, n)]
    ).astype(np.float32)


def distances(x):
    return np.sqrt(((x[:, None].astype(np.float64) - x[None].astype(np.float64)) ** 2).sum(axis=-1))


@pytest.mark.parametrize(
    "options",
    [{}, {"delta": 0.5}, {"delta": 3.0, "normalize": False}, {"purity": 0.8, "clusters": 4}],
)
def test_contract(options):
    check_strategy(strategy("probcover", options))


@pytest.mark.parametrize("delta", [0.3, 1.2, 4.0, 100.0])
def test_the_greedy_cover_counts_exactly(delta):
    x = mixture()
    ball = distances(x) < delta
    taken = np.zeros(120, bool)
    taken[[5, 60]] = True
    picks, gains, share = prob_cover(torch.from_numpy(x), 100, delta, taken, ~taken)
    covered, free, first = ball[taken].any(axis=0), ~taken, None
    for pick, gain in zip(picks, gains, strict=True):
        if covered.all():  # the next layer
            first, covered = 1.0, np.zeros(120, bool)
        value = np.where(free, (ball & ~covered).sum(axis=1), -1)
        assert pick == value.argmax()
        assert gain == value.max()
        covered, free[pick] = covered | ball[pick], False
    assert share == (first or covered.mean())


def test_the_radius_is_the_largest_that_is_pure_enough():
    x, y = mixture(), np.random.default_rng(2).integers(0, 2, 120)
    y[x[:, 0] > 0] = 3
    d = distances(x)

    def pure(delta):  # open balls
        return np.mean([len(set(y[d[i] < delta])) == 1 for i in range(120)])

    for purity in (0.5, 0.8, 0.95, 1.0):
        delta = pure_radius(torch.from_numpy(x), y, purity)
        assert pure(delta * (1 - 1e-12)) >= purity
        wider = d[d > delta * (1 + 1e-9)].min()
        assert pure((delta + wider) / 2) < purity


def test_a_root_that_was_rounded_up_is_taken_down():
    radius = pure_radius(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), np.array([0, 1]))
    assert radius * radius <= 2.0 < np.sqrt(2.0) ** 2
    assert radius == np.nextafter(np.sqrt(2.0), 0)


def test_one_label_is_pure_everywhere():
    assert pure_radius(torch.zeros(4, 2), np.zeros(4, int)) == np.inf
    got = select("probcover", 3, features=np.ones((5, 2), np.float32))
    assert got.indices.tolist() == [0, 1, 2]
    assert got.info["covered"] == 1.0


def test_nothing_is_taken_twice_once_all_is_covered():
    got = select("probcover", 20, features=mixture(), options={"delta": 10.0, "normalize": False})
    assert len(set(got.indices.tolist())) == 20


def test_the_last_rows_can_be_picked():
    x = np.concatenate([np.arange(3)[:, None] * 100.0, 1000 + 0.01 * np.arange(30)[:, None]])
    assert (
        select("probcover", 1, features=x, options={"delta": 1.0, "normalize": False}).indices[0]
        == 3
    )


@pytest.mark.parametrize(
    ("options", "word"), [({"delta": 0.0}, "delta"), ({"purity": 0.0}, "purity")]
)
def test_wrong_options(options, word):
    with pytest.raises(ValueError, match=f"{word}: expected a"):
        strategy("probcover", options)


@pytest.mark.parametrize("seed", range(20))
def test_the_ball_of_the_pure_radius_holds_no_row_at_that_distance(seed):
    rng = np.random.default_rng(seed)
    x, labels = rng.normal(size=(30, 5)), rng.integers(0, 3, 30)
    radius = pure_radius(torch.from_numpy(x), labels, purity=1.0)
    squares = ((x[:, None] - x) ** 2).sum(axis=2)[labels[:, None] != labels]
    assert not (squares < radius * radius * (1 - 1e-15)).any()
    assert radius * radius <= squares.min() * (1 + 1e-15)
    assert radius == pytest.approx(np.sqrt(squares.min()), rel=1e-15)
