"""LESS against plain cosines."""

import numpy as np
import pytest
import torch

import coreset
from coreset.strategies.gradient.less import Less
from coreset.strategies.gradient.projection import projected_gradients
from coreset.testing import check_strategy


def case(n=40, p=9, seed=0):
    rng = np.random.default_rng(seed)
    tasks = np.full(n, -1)
    tasks[-9:] = [0, 0, 5, 5, 5, 2, 2, 2, 2]
    return rng.normal(size=(n, p)) * rng.uniform(0.1, 10, size=(n, 1)), tasks


def cosine(a, b):
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


def columns(size=48):
    g, _ = case(size)
    tasks = np.full(size, -1)
    # the four that may not be chosen
    tasks[np.random.default_rng(1).permutation(size)[-4:]] = [0, 0, 1, 1]
    return {"projected_gradients": g, "validation_task": tasks}


@pytest.mark.parametrize("target", ["mean_gradient", "mean_cosine"])
def test_contract(target):
    check_strategy(Less(target), columns())


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_scores(dtype):
    g, tasks = case()
    g = g.astype(dtype)
    exact = g.astype(float)
    paper = [
        max(cosine(exact[i], exact[tasks == t].mean(axis=0)) for t in (0, 2, 5)) for i in range(31)
    ]
    code = [
        max(
            np.mean([cosine(exact[i], exact[j]) for j in np.flatnonzero(tasks == t)])
            for t in (0, 2, 5)
        )
        for i in range(31)
    ]
    for target, want in (("mean_gradient", paper), ("mean_cosine", code)):
        got = coreset.select(
            "less",
            31,
            projected_gradients=g,
            validation_task=tasks,
            candidates=range(31),
            options={"target": target},
        )
        assert got.indices.tolist() == np.argsort(-np.array(want), kind="stable").tolist()
        assert got.scores == pytest.approx(np.sort(want)[::-1])


def test_checkpoints_side_by_side_are_the_weighted_sum_of_cosines():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(12, 4)), rng.normal(size=(12, 6))
    rates = np.array([2e-5, 1e-5])
    both = np.hstack(
        [
            np.sqrt(r) * g / np.linalg.norm(g, axis=1, keepdims=True)
            for r, g in zip(rates, (first, second), strict=True)
        ]
    )
    tasks = np.where(np.arange(12) == 11, 0, -1)
    got = coreset.select(
        "less", 11, projected_gradients=both, validation_task=tasks, candidates=range(11)
    )
    want = [
        sum(r * cosine(g[i], g[11]) for r, g in zip(rates, (first, second), strict=True))
        / rates.sum()
        for i in range(11)
    ]
    assert got.scores == pytest.approx(np.sort(want)[::-1])


def test_zero_gradients_score_zero():
    g = np.array([[0.0, 0.0], [-1.0, 0.0], [1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    got = coreset.select(
        "less",
        3,
        projected_gradients=g,
        validation_task=np.array([-1, -1, -1, 0, 0]),
        candidates=[0, 1, 2],
    )
    assert got.indices.tolist() == [2, 0, 1]
    assert got.scores.tolist() == pytest.approx([0.5**0.5, 0, -1])


def test_end_to_end_picks_the_examples_of_the_target_task():
    """Two tasks share a model; the gradients of one point the way of its own validation examples."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.Tanh(), torch.nn.Linear(16, 4))
    task = np.arange(60) % 2
    x = torch.from_numpy((rng.normal(size=(60, 6)) + 3 * np.eye(2, 6)[task]).astype(np.float32))
    y = torch.from_numpy(2 * task + rng.integers(0, 2, 60))
    g = projected_gradients(
        model,
        lambda predict, batch: torch.nn.functional.cross_entropy(predict(batch[0]), batch[1]),
        [(x, y)],
        dim=256,
        seed=0,
    )
    tasks = np.where((np.arange(60) >= 50) & (task == 1), 0, -1)
    got = coreset.select(
        "less", 15, projected_gradients=g, validation_task=tasks, candidates=range(50)
    )
    assert task[got.indices].mean() > 0.9


def test_refused():
    g, tasks = case()
    with pytest.raises(
        ValueError, match="validation_task: 9 validation examples are candidates, first position 31"
    ):
        coreset.select("less", 2, projected_gradients=g, validation_task=tasks)
    with pytest.raises(ValueError, match="no example belongs to a task"):
        coreset.select("less", 2, projected_gradients=g, validation_task=np.full(40, -1))
    holed = g.copy()
    holed[39, 0] = np.nan
    with pytest.raises(ValueError, match="projected_gradients: 1 examples have NaN"):
        coreset.select(
            "less", 2, projected_gradients=holed, validation_task=tasks, candidates=range(31)
        )
    with pytest.raises(ValueError, match="target"):
        Less("max")
