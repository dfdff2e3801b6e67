"""Against the filter written as one loop in float64: sort, then keep a row when it is far enough
from all that is kept.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset import select
from coreset.curation.operators.select import Select
from coreset.registry import strategy
from coreset.testing import check_operator


def pool(seed=0, n=150, d=4):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(6, d))[rng.integers(0, 6, n)] + 0.3 * rng.normal(size=(n, d))
    return {"complexity": rng.uniform(1, 6, n), "quality": rng.uniform(1, 6, n), "features": x}


def loop(columns, k, variant, threshold):
    unit = columns["features"] / np.linalg.norm(columns["features"], axis=1, keepdims=True)
    kept = []
    for i in np.argsort(-columns["complexity"] * columns["quality"]).tolist():
        cosine = [float((unit[i] * unit[j]).sum()) for j in kept]
        if all(c <= threshold if variant == "similarity" else 1 - c > threshold for c in cosine):
            kept.append(i)
        if len(kept) == k:
            break
    return kept


@pytest.mark.parametrize(
    ("variant", "threshold"),
    [("similarity", 0.9), ("distance", 0.9), ("distance", 0.1), ("similarity", -0.2)],
)
@given(seed=st.integers(0, 1000), k=st.integers(1, 60))
@settings(max_examples=15, deadline=None)
def test_the_loop(variant, threshold, seed, k):
    columns = pool(seed)
    want = loop(columns, k, variant, threshold)
    got = select("deita", k, options={"variant": variant, "threshold": threshold}, **columns)
    assert got.indices[: len(want)].tolist() == want
    assert got.info["filled"] == k - len(want)
    score = columns["complexity"] * columns["quality"]
    rest = [i for i in np.argsort(-score).tolist() if i not in want]
    assert got.indices[len(want) :].tolist() == rest[: k - len(want)]
    np.testing.assert_allclose(got.scores, score[got.indices])


def test_it_is_not_the_batched_filter():
    """Rows 1 and 2 are alike; 1 is too like 0. In one batch row 2 would be compared with 1, which
    is rejected.
    """
    angle = np.radians([0, 20, 40, 170])
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    got = select("deita", 3, complexity=[4.0, 3.0, 2.0, 1.0], quality=np.ones(4), features=x)
    assert got.indices.tolist() == [0, 2, 3]


def test_ties_and_rows_of_zeros():
    same = np.ones(5)
    got = select(
        "deita", 5, complexity=same, quality=same, features=np.eye(5), ids=["e", "d", "c", "b", "a"]
    )
    assert got.indices.tolist() == [4, 3, 2, 1, 0]
    nothing = np.zeros((5, 3))
    nothing[3] = nothing[4] = 1
    got = select("deita", 5, complexity=same, quality=same, features=nothing)
    assert (got.indices.tolist(), got.info["filled"]) == ([0, 1, 2, 3, 4], 1)


@pytest.mark.parametrize(
    ("change", "options", "match"),
    [
        ({}, {"variant": "cosine"}, "variant: expected similarity or distance"),
        ({}, {"threshold": 1.0}, r"threshold: expected a cosine similarity in \[-1, 1\), got 1.0"),
        (
            {},
            {"variant": "distance", "threshold": -0.1},
            r"threshold: expected a cosine distance in \[0, 2\)",
        ),
        (
            {"quality": -np.ones(150)},
            {},
            "quality: expected scores of at least 0, which are multiplied, got -1",
        ),
        ({"complexity": np.ones((150, 2))}, {}, "complexity: expected one value per example"),
    ],
)
def test_bad_input(change, options, match):
    with pytest.raises(ValueError, match=match):
        select("deita", 3, options=options, **{**pool(), **change})


def test_in_a_pipeline_no_row_that_only_fills_up_is_kept():
    columns = pool(3, 60)
    operator = Select(strategy("deita", {"variant": "distance"}), 40, {"features": "vector"})
    rows = {"vector": columns.pop("features"), **columns}
    check_operator(operator, rows)
    from coreset.core.batch import as_batch

    decision = operator.decide(as_batch({"id": [f"{i:02d}" for i in range(60)], **rows}), 60)
    want = loop({"features": rows["vector"], **columns}, 40, "distance", 0.9)
    assert np.flatnonzero(decision.keep).tolist() == sorted(want)
    assert 0 < len(want) < 40
