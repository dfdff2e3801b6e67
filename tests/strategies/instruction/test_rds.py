"""Against the turns played out: every query holds a sorted list and names one row a round."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset import select
from coreset.curation.operators.select import Select
from coreset.registry import strategy
from coreset.testing import check_operator


def turns(similarity, k, skip):
    lists = [
        sorted(range(len(similarity)), key=lambda i: (-similarity[i, q], i))
        for q in range(similarity.shape[1])
    ]
    taken = []
    while True:
        for own in lists:
            while own:
                row = own.pop(0)
                if row not in taken:
                    taken.append(row)
                    break
                if not skip:
                    break
            if len(taken) == k:
                return taken


@pytest.mark.parametrize("variant", ["released", "untaken"])
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 40),
    queries=st.integers(1, 7),
    share=st.floats(0.01, 1),
    ties=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_the_turns(variant, seed, n, queries, share, ties):
    similarity = np.random.default_rng(seed).normal(size=(n, queries))
    similarity = similarity.round() if ties else similarity
    k = max(1, int(share * n))
    got = select("rds", k, query_similarity=similarity, options={"variant": variant})
    assert got.indices.tolist() == turns(similarity, k, variant == "untaken")
    assert got.scores.tolist() == similarity[got.indices].max(axis=1).tolist()


def test_the_variants_differ_where_queries_want_the_same():
    similarity = np.array([[0.9, 0.9, 0.9], [0.5, 0.1, 0.1], [0.4, 0.3, 0.2], [0.1, 0.0, 0.8]])
    assert select("rds", 3, query_similarity=similarity).indices.tolist() == [0, 1, 2]
    assert select(
        "rds", 3, query_similarity=similarity, options={"variant": "untaken"}
    ).indices.tolist() == [0, 2, 3]


def test_ties_go_to_the_lowest_id():
    got = select("rds", 2, query_similarity=np.ones((3, 1)), ids=["c", "b", "a"])
    assert got.indices.tolist() == [2, 1]


def test_bad_input():
    with pytest.raises(ValueError, match="variant: expected released or untaken, got 'max'"):
        strategy("rds", {"variant": "max"})
    for wrong in (np.ones(4), np.ones((4, 0)), np.ones((4, 2, 2))):
        with pytest.raises(ValueError, match=r"query_similarity: expected shape \(N, Q\)"):
            select("rds", 2, query_similarity=wrong)


def test_in_a_pipeline():
    rows = {"query_similarity": np.random.default_rng(0).normal(size=(30, 4))}
    check_operator(Select(strategy("rds"), 0.3), rows)
