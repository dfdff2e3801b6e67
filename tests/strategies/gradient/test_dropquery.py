"""DropQuery: the eligible set by plain loops, one example per cluster of it."""

import numpy as np
import pytest
import torch

import coreset
from coreset.strategies.gradient.dropquery import DropQuery
from coreset.strategies.gradient.representatives import representatives
from coreset.testing import check_strategy


def case(n=80, passes=3, c=4, seed=0, d=6):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(c), n)
    members = rng.dirichlet(np.ones(c), (n, passes))
    keep = rng.random((n, passes)) < 0.6
    members[keep] = np.repeat(p[:, None], passes, axis=1)[keep]
    return rng.normal(size=(n, d)), p, members


def counted(p, members):
    return np.array(
        [
            sum(int(m.argmax() != q.argmax()) for m in passes)
            for q, passes in zip(p, members, strict=True)
        ]
    )


@pytest.mark.parametrize("per_choice", [25, 2, 0])
def test_contract(per_choice):
    check_strategy(DropQuery(per_choice))


@pytest.mark.parametrize("passes", [1, 2, 3, 5])
@pytest.mark.parametrize("per_choice", [0, 3, 25])
def test_eligible_set(passes, per_choice):
    x, p, members = case(passes=passes)
    flips = counted(p, members)
    needed = next(t for t in range(passes + 1) if t > passes / 2)
    while needed > 1 and (flips >= needed).sum() < per_choice * 4:
        needed -= 1
    got = coreset.select(
        "dropquery",
        4,
        features=x,
        probs=p,
        member_probs=members,
        options={"per_choice": per_choice},
    )
    assert got.info["flips"] == needed
    assert got.info["eligible"] == (flips >= needed).sum()
    assert (flips[got.indices] >= needed).all()
    assert got.scores.tolist() == flips[got.indices].tolist()


def test_one_example_per_cluster_nearest_to_its_centre():
    rng = np.random.default_rng(1)
    centers = np.eye(5)[:, :5] * 10
    x = np.repeat(centers, 20, axis=0) + 0.5 * rng.normal(size=(100, 5))
    x *= rng.uniform(0.5, 3, size=(100, 1))  # length must not matter
    p = np.tile([0.9, 0.1], (100, 1))
    members = np.tile(np.array([[0.1, 0.9]] * 3), (100, 1, 1))
    members[::4] = [0.9, 0.1]  # every fourth is certain
    got = coreset.select("dropquery", 5, features=x, probs=p, member_probs=members).indices
    assert sorted(got // 20) == [0, 1, 2, 3, 4]
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    for i in got:
        mine = np.array([j for j in range(100) if j // 20 == i // 20 and j % 4])
        assert i == mine[np.linalg.norm(unit[mine] - unit[mine].mean(axis=0), axis=1).argmin()]


def test_too_few_flips_are_topped_up_at_random():
    x, p, _ = case(10)
    members = np.repeat(p[:, None], 3, axis=1)
    members[4] = np.roll(p[4], 1)
    seen = set()
    for seed in range(20):
        got = coreset.select(
            "dropquery", 3, features=x, probs=p, member_probs=members, seed=seed
        ).indices
        assert got[0] == 4
        assert len(set(got)) == 3
        seen |= set(got)
    assert len(seen) > 6


def test_either_of_two_rows_that_are_equally_near_is_drawn_by_id():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(np.repeat(1000 * np.eye(6), 2, axis=0) + rng.normal(size=(12, 6)))
    seen = np.zeros(12, int)
    for seed in range(60):
        got = representatives(x, np.ones(12, bool), 6, np.random.default_rng(seed), np.arange(12))
        assert sorted(got // 2) == [0, 1, 2, 3, 4, 5]
        seen[got] += 1
    assert seen.min() > 10


def test_coinciding_rows_still_give_distinct_choices():
    x = torch.ones(12, 3)
    got = representatives(x, np.arange(12) < 8, 6, np.random.default_rng(0), np.arange(12))
    assert len(set(got)) == 6
    assert (got < 8).all()


def test_refused():
    with pytest.raises(ValueError, match="per_choice"):
        DropQuery(-1)
