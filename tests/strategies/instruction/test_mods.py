"""Against the stages one after the other in float64: quality, k-center from the row nearest to the
mean, necessity, union.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset import select
from coreset.core.batch import as_batch
from coreset.curation.operators.select import Select
from coreset.registry import strategy
from coreset.testing import check_operator


def pool(seed=0, n=80):
    rng = np.random.default_rng(seed)
    return {
        "reward": rng.normal(size=n),
        "features": rng.normal(size=(n, 3)),
        "response_reward": rng.normal(size=n),
    }


def stages(columns, seeds, alpha=0.0, beta=0.0):
    """Return the seeds in order, and the necessary rows, worst first."""
    x = columns["features"]
    good = np.flatnonzero(columns["reward"] > alpha)
    picks = [int(good[((x[good] - x[good].mean(axis=0)) ** 2).sum(axis=1).argmin()])]
    while len(picks) < min(seeds, len(good)):
        near = np.min([((x[good] - x[p]) ** 2).sum(axis=1) for p in picks], axis=0)
        picks.append(int(good[near.argmax()]))
    response = columns["response_reward"]
    bad = sorted(
        (i for i in good.tolist() if response[i] < beta and i not in picks),
        key=lambda i: response[i],
    )
    return picks, bad


@given(
    seed=st.integers(0, 500),
    k=st.integers(1, 80),
    seeds=st.integers(1, 20),
    alpha=st.floats(-1, 0.5),
    beta=st.floats(-1, 1),
)
@settings(max_examples=40, deadline=None)
def test_the_stages(seed, k, seeds, alpha, beta):
    columns = pool(seed)
    first, then = stages(columns, min(seeds, k), alpha, beta)
    got = select("mods", k, options={"alpha": alpha, "beta": beta, "seeds": seeds}, **columns)
    union = (first + then)[:k]
    assert got.indices[: len(union)].tolist() == union
    assert got.info["filled"] == k - len(union)
    assert got.info["seeds"] + got.info["necessary"] == len(union)
    good = columns["reward"] > alpha
    easy = sorted(
        (i for i in np.flatnonzero(good).tolist() if i not in union),
        key=lambda i: columns["response_reward"][i],
    )
    poor = sorted(np.flatnonzero(~good).tolist(), key=lambda i: -columns["reward"][i])
    assert got.indices[len(union) :].tolist() == (easy + poor)[: k - len(union)]


def test_a_share_of_the_budget_is_seeds():
    got = select("mods", 21, **pool())
    assert (got.info["seeds"], got.info["necessary"]) == (6, 15)
    assert not strategy("mods").greedy
    assert strategy("mods", {"seeds": 6}).greedy


def test_a_function_is_asked_once_about_the_rows_of_good_quality():
    columns, asked = pool(), []
    response = columns["response_reward"]

    def train_and_score(seeds, rows):
        asked.append((seeds.tolist(), rows.tolist()))
        return response[rows]

    got = select(
        "mods",
        20,
        reward=columns["reward"],
        features=columns["features"],
        options={"necessity": train_and_score},
    )
    assert got.indices.tolist() == select("mods", 20, **columns).indices.tolist()
    assert asked == [(stages(columns, 5)[0], np.flatnonzero(columns["reward"] > 0).tolist())]
    assert strategy("mods", {"necessity": train_and_score}).needs == {"reward", "features"}


def test_the_seeds_are_those_of_kcenter_alone():
    """So that a first run without response rewards names them: a threshold, then k-center from the
    center.
    """
    columns = pool()
    good = np.flatnonzero(columns["reward"] > 0)
    alone = select(
        "kcenter", 5, features=columns["features"], candidates=good, options={"first": "center"}
    )
    assert select("mods", 20, **columns).indices[:5].tolist() == alone.indices.tolist()


def test_ties_go_to_the_lowest_id():
    got = select(
        "mods", 3, reward=np.ones(4), features=np.eye(4), response_reward=-np.ones(4), ids=["d", "c", "b", "a"],
        options={"seeds": 1},
    )  # fmt: skip
    seed, *rest = got.indices.tolist()
    assert rest == [i for i in (3, 2, 1, 0) if i != seed][:2]


@pytest.mark.parametrize(
    ("change", "options", "error", "match"),
    [
        ({"reward": -np.ones(80)}, {}, ValueError, "reward: no candidate lies above alpha = 0, the highest is -1"),
        ({}, {"seeds": 0}, ValueError, "seeds: expected a count of at least 1 or a share"),
        ({}, {"seeds": 1.5}, ValueError, "seeds: expected a count of at least 1 or a share"),
        ({}, {"seeds": True}, ValueError, "seeds: expected a count"),
        ({}, {"necessity": "column"}, TypeError, "necessity: expected a function"),
        ({}, {"necessity": lambda seeds, rows: [1.0]}, ValueError, "necessity: expected 44 finite rewards"),
        ({}, {"necessity": lambda seeds, rows: rows * np.nan}, ValueError, "with 44 that are not finite"),
        ({"response_reward": np.ones((80, 2))}, {}, ValueError, "response_reward: expected one value per example"),
    ],
)  # fmt: skip
def test_bad_input(change, options, error, match):
    with pytest.raises(error, match=match):
        select("mods", 3, options=options, **{**pool(), **change})


def test_in_a_pipeline_the_union_is_kept_and_no_more():
    columns = pool(1, 60)
    operator = Select(strategy("mods", {"seeds": 4, "beta": -0.5}), None, {"features": "vector"})
    rows = {
        "vector": columns["features"],
        "reward": columns["reward"],
        "response_reward": columns["response_reward"],
    }
    check_operator(operator, rows)
    decision = operator.decide(as_batch({"id": [f"{i:02d}" for i in range(60)], **rows}), 60)
    first, then = stages(columns, 4, beta=-0.5)
    assert np.flatnonzero(decision.keep).tolist() == sorted(first + then)
