import numpy as np
import pytest
import torch

from coreset import select
from coreset.registry import strategy
from coreset.strategies.coverage import herding
from coreset.strategies.coverage.herding import herd
from coreset.testing import check_strategy


def mixture(n=150, dim=7, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(n, dim)) + 2 * rng.normal(size=(4, dim))[rng.integers(0, 4, n)]
    ).astype(dtype)


def loop(x, k, mean, taken, variant):
    """Both rules as the papers write them, in float64."""
    x, picks, errors = x.astype(np.float64), [], []
    total, size = taken.astype(np.float64).sum(axis=0), len(taken)
    for _ in range(k):
        size += 1
        mean_filter = -np.linalg.norm(mean - (total + x) / size, axis=1)
        value = mean_filter if variant == "icarl" else x @ (size * mean - total)
        value[picks] = -np.inf
        picks.append(int(value.argmax()))
        total = total + x[picks[-1]]
        errors.append(np.linalg.norm(mean - total / size))
    return picks, errors


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"variant": "inner_product"},
        {"per_class": True},
        {"per_class": True, "variant": "inner_product"},
    ],
)
def test_contract(options):
    check_strategy(strategy("herding", options))


@pytest.mark.parametrize("variant", ["icarl", "inner_product"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_float64_loop(variant, dtype):
    x = mixture(dtype=dtype)
    got = select("herding", 60, features=x, selected=[3, 8], options={"variant": variant})
    rest = np.setdiff1d(np.arange(150), [3, 8])
    picks, errors = loop(x[rest], 60, x.astype(float).mean(axis=0), x[[3, 8]], variant)
    assert got.indices.tolist() == rest[picks].tolist()
    assert np.allclose(-got.scores, errors, rtol=1e-10)
    assert got.info["mean_gap"] == -got.scores[-1]


@pytest.mark.parametrize("variant", ["icarl", "inner_product"])
def test_rows_too_close_for_sixteen_bits(variant):
    x = np.repeat(mixture(15, dtype=np.float64), 10, axis=0)
    x += 1e-6 * np.random.default_rng(1).normal(size=x.shape)
    got = herd(
        torch.from_numpy(x), 80, torch.from_numpy(x.mean(axis=0)), torch.empty(0, 7), variant
    )[0]
    assert got.tolist() == loop(x, 80, x.mean(axis=0), x[:0], variant)[0]


@pytest.mark.parametrize("variant", ["icarl", "inner_product"])
def test_the_tensor_path_gives_the_same(variant, monkeypatch):
    x, taken = torch.from_numpy(mixture()), torch.from_numpy(mixture(5, seed=1))
    want, errors = herd(x, 40, x.double().mean(0), taken, variant)

    monkeypatch.setattr(herding, "_on_cpu", lambda _: False)
    got, other = herd(x, 40, x.double().mean(0), taken, variant)
    assert got.tolist() == want.tolist()
    assert torch.allclose(errors, other)


@pytest.mark.parametrize("widest", [0, 1, 2])
def test_each_class_by_itself(widest):
    x, y = mixture(), np.random.default_rng(1).integers(0, 3, 150)
    x[y == widest] *= 10
    got = select("herding", 30, features=x, labels=y, selected=[0, 1], options={"per_class": True})
    rest = np.arange(2, 150)
    for c in range(3):
        mine = [int(i) for i in got.indices if y[i] == c]
        candidates, taken = (
            rest[y[rest] == c],
            np.array([i for i in (0, 1) if y[i] == c], dtype=int),
        )
        assert abs(len(mine) - 30 * (y[rest] == c).mean()) < 1
        picks, _ = loop(
            x[candidates], len(mine), x[y == c].astype(float).mean(axis=0), x[taken], "icarl"
        )
        assert mine == candidates[picks].tolist()
    there = np.append(got.indices, [0, 1])
    means = [
        (x[y == c].astype(float).mean(axis=0), x[there[y[there] == c]].astype(float).mean(axis=0))
        for c in range(3)
    ]
    gaps = [np.linalg.norm(whole - part) for whole, part in means]
    assert got.info["mean_gap"] == pytest.approx(max(gaps))


def test_the_mean_is_met_better_than_at_random():
    x = mixture(400)
    got, chance = (select(s, 40, features=x, seed=1).indices for s in ("herding", "random"))
    gap = [
        np.linalg.norm(x[i].astype(float).mean(axis=0) - x.astype(float).mean(axis=0))
        for i in (got, chance)
    ]
    assert gap[0] < gap[1] / 5


def test_duplicates_go_to_the_lowest_and_one_example_classes_work():
    x = np.ones((6, 3), np.float32)
    assert select("herding", 6, features=x).indices.tolist() == list(range(6))
    y = np.array([0, 0, 0, 0, 0, 1])
    assert 5 in select("herding", 6, features=x, labels=y, options={"per_class": True}).indices


def test_wrong_variant():
    with pytest.raises(ValueError, match="variant: expected icarl or inner_product"):
        strategy("herding", {"variant": "max"})
