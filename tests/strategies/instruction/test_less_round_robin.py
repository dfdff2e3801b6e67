"""Against turns played out over cosines of gradients in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset import select
from coreset.curation.operators.select import Select
from coreset.registry import strategy
from coreset.testing import check_operator


def pool(seed, n=30, validation=5):
    rng = np.random.default_rng(seed)
    tasks = np.full(n, -1)
    tasks[rng.permutation(n)[:validation]] = np.arange(validation) % 2
    return rng.normal(size=(n, 6)), tasks


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def played(gradients, tasks, k, turns, variant, target="mean_gradient"):
    rows, known = np.flatnonzero(tasks < 0), np.flatnonzero(tasks >= 0)
    if turns == "example":
        who = [unit(gradients[i]) for i in known]
    elif target == "mean_gradient":
        who = [unit(gradients[tasks == t].mean(axis=0)) for t in sorted(set(tasks[known]))]
    else:
        who = [unit(gradients[tasks == t]).mean(axis=0) for t in sorted(set(tasks[known]))]
    lists = [sorted(rows, key=lambda i, g=g: (-float(unit(gradients[i]) @ g), i)) for g in who]
    taken = []
    while len(taken) < k:
        for own in lists:
            while own and len(taken) < k:
                row = own.pop(0)
                if row not in taken:
                    taken.append(int(row))
                    break
                if variant == "released":
                    break
    return taken


@pytest.mark.parametrize("variant", ["released", "untaken"])
@pytest.mark.parametrize(
    ("turns", "target"),
    [("example", "mean_gradient"), ("task", "mean_gradient"), ("task", "mean_cosine")],
)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 25))
@settings(max_examples=25, deadline=None)
def test_the_turns(variant, turns, target, seed, k):
    gradients, tasks = pool(seed)
    got = select(
        "less_round_robin",
        k,
        projected_gradients=gradients,
        validation_task=tasks,
        candidates=np.flatnonzero(tasks < 0),
        options={"turns": turns, "variant": variant, "target": target},
    )
    assert got.indices.tolist() == played(gradients, tasks, k, turns, variant, target)


def test_every_example_is_served_where_less_serves_the_loudest():
    """Two validation examples at a right angle: LESS fills the budget from one side, turns from
    both.
    """
    angles = np.radians([0, 1, 2, 3, 80, 0, 90])
    gradients = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    columns = {
        "projected_gradients": gradients,
        "validation_task": np.array([-1] * 5 + [0, 1]),
        "candidates": np.arange(5),
    }
    assert select("less", 3, **columns).indices.tolist() == [0, 1, 2]
    assert select("less_round_robin", 3, **columns).indices.tolist() == [0, 4, 1]


def test_half_precision_and_tensors_that_require_a_gradient():
    import torch

    gradients, tasks = pool(3)
    exact = torch.as_tensor(gradients).bfloat16()
    want = played(exact.double().numpy(), tasks, 9, "example", "released")
    got = select(
        "less_round_robin",
        9,
        projected_gradients=exact.clone().requires_grad_(),
        validation_task=tasks,
        candidates=np.flatnonzero(tasks < 0),
    )
    assert got.indices.tolist() == want


def test_bad_input():
    gradients, tasks = pool(0)
    for options, match in (
        ({"turns": "row"}, "turns: expected example or task, got 'row'"),
        ({"variant": "max"}, "variant: expected released or untaken"),
        ({"target": "sum"}, "target: expected mean_gradient or mean_cosine"),
    ):
        with pytest.raises(ValueError, match=match):
            strategy("less_round_robin", options)
    with pytest.raises(ValueError, match="no example belongs to a task"):
        select(
            "less_round_robin", 2, projected_gradients=gradients, validation_task=np.full(30, -1)
        )
    with pytest.raises(ValueError, match=r"projected_gradients: expected shape \(N, P\)"):
        select("less_round_robin", 2, projected_gradients=gradients[:, 0], validation_task=tasks)


def test_it_cannot_be_cut_into_two_rounds():
    with pytest.raises(ValueError, match="partitions: LessRoundRobin cannot choose in two rounds"):
        Select(strategy("less_round_robin"), 3, partitions=2)


def test_in_a_pipeline_rows_of_the_validation_set_are_not_chosen():
    """In a recipe all rows are candidates, so that validation rows among them are refused in words."""
    gradients, tasks = pool(0)
    rows = {"projected_gradients": gradients, "validation_task": tasks}
    with pytest.raises(ValueError, match="validation examples are candidates"):
        check_operator(Select(strategy("less_round_robin"), 3), rows)
