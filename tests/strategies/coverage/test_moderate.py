import numpy as np
import pytest
import torch

from coreset import select
from coreset.registry import strategy
from coreset.strategies.coverage.moderate import distance_to_median, from_the_middle
from coreset.testing import check_strategy


def case(n=101, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(-1, 3, n)
    return (rng.normal(size=(n, 4)) + 3 * y[:, None]).astype(np.float32), y


def by_hand(x, y):
    out = []
    for row, label in zip(x.astype(float), y, strict=True):
        mine = x[y == label].astype(float)
        center = [np.sort(mine[:, d]) for d in range(x.shape[1])]
        center = [(c[(len(c) - 1) // 2] + c[len(c) // 2]) / 2 for c in center]
        out.append(np.sqrt(((row - center) ** 2).sum()))
    return np.array(out)


@pytest.mark.parametrize("options", [{}, {"variant": "per_class"}])
def test_contract(options):
    check_strategy(strategy("moderate", options))


@pytest.mark.parametrize("n", [100, 101])
@pytest.mark.parametrize("k", [1, 2, 7, 50, 100])
def test_the_central_band(n, k):
    x, y = case(n)
    d = by_hand(x, y)
    assert np.allclose(distance_to_median(torch.from_numpy(x), y), d)
    got = select("moderate", k, features=x, labels=y)
    low = (n - k) // 2
    assert sorted(got.indices.tolist()) == sorted(
        np.argsort(d, kind="stable")[low : low + k].tolist()
    )
    assert np.allclose(got.scores, d[got.indices])


def test_a_class_of_one_has_distance_zero():
    x = np.array([[9.0, 5.0], [0.0, 0.0], [2.0, 2.0], [7.0, 1.0]], np.float16)
    assert distance_to_median(torch.from_numpy(x), np.array([1, 0, 0, 0]))[0] == 0


def test_a_band_in_each_class():
    x, y = case()
    d = by_hand(x, y)
    got = select("moderate", 30, features=x, labels=y, options={"variant": "per_class"})
    for c in np.unique(y):
        mine = [int(i) for i in got.indices if y[i] == c]
        at = np.flatnonzero(y == c)
        assert abs(len(mine) - 30 * len(at) / 101) < 1
        low = (len(at) - len(mine)) // 2
        assert sorted(mine) == sorted(
            at[np.argsort(d[at], kind="stable")][low : low + len(mine)].tolist()
        )


def test_bands_are_nested_and_ties_go_to_the_lowest():
    assert from_the_middle(np.zeros(5)).tolist() == [2, 1, 3, 0, 4]
    assert from_the_middle(np.array([3.0])).tolist() == [0]


def test_wrong_variant():
    with pytest.raises(ValueError, match="variant: expected global or per_class"):
        strategy("moderate", {"variant": "class"})
