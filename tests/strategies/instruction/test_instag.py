"""Against the paper's algorithm as it stands: sort by the number of tags, walk again and again, a
row is taken when it adds a tag to the round.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset import select
from coreset.core.batch import as_batch, objects
from coreset.curation.operators.select import Select
from coreset.registry import strategy
from coreset.testing import check_operator, check_strategy


def algorithm(tags, n):
    left = sorted(range(len(tags)), key=lambda i: (-len(set(tags[i])), i))
    taken = []
    while len(taken) < n and any(tags[i] for i in left):
        covered = set()
        for i in list(left):
            if len(covered | set(tags[i])) > len(covered):
                taken.append(i)
                covered |= set(tags[i])
                left.remove(i)
                if len(taken) == n:
                    return taken
    return taken + left[: n - len(taken)]


TAGS = st.lists(st.lists(st.sampled_from("abcdefg"), max_size=5), min_size=1, max_size=40)


@given(tags=TAGS, share=st.floats(0.01, 1))
@settings(max_examples=150, deadline=None)
def test_the_algorithm(tags, share):
    k = max(1, int(share * len(tags)))
    got = select("instag", k, tags=objects(tags))
    assert got.indices.tolist() == algorithm(tags, k)
    assert got.scores.tolist() == [len(set(tags[i])) for i in got.indices]
    assert got.info["filled"] == sum(not tags[i] for i in got.indices)


def test_contract_and_ties():
    rng = np.random.default_rng(0)
    tags = objects(
        [rng.choice(list("abcdefghijkl"), rng.integers(0, 6)).tolist() for _ in range(48)]
    )
    check_strategy(strategy("instag"), {"tags": tags})
    got = select("instag", 2, tags=[["x"], ["y"], ["y"]], ids=["c", "b", "a"])
    assert got.indices.tolist() == [2, 0]


def test_rounds_are_counted():
    got = select("instag", 3, tags=[["a"], ["a"], ["a"], ["a", "a"]])
    assert (got.indices.tolist(), got.info) == ([0, 1, 2], {**got.info, "rounds": 3, "filled": 0})


@pytest.mark.parametrize(
    ("tags", "match"),
    [
        (objects([["a"], None, ["b"]]), "tags: expected a list of texts, got None at position 1"),
        (objects([["a"], "ab", ["b"]]), "tags: expected a list of texts, got 'ab' at position 1"),
        (objects([["a"], [1], ["b"]]), r"tags: expected a list of texts, got \[1\] at position 1"),
        (np.ones(3), "tags: expected a list of texts, got .*1.0.* at position 0"),
        (
            np.array([["a", "b"]] * 3),
            r"tags: expected one list of texts per example, shape \(N,\), got shape \(3, 2\)",
        ),
    ],
)
def test_bad_input(tags, match):
    with pytest.raises(ValueError, match=match):
        select("instag", 2, tags=tags)


def test_in_a_pipeline_rows_without_tags_are_dropped():
    tags = objects([["a", "b"], None, ["a"], [], ["c"], ["b", "c"]])
    operator = Select(strategy("instag"), None)
    decision = operator.decide(as_batch({"id": list("012345"), "tags": tags}), 6)
    assert np.flatnonzero(decision.keep).tolist() == [0, 2, 4, 5]
    assert decision.reason[[1, 3]].tolist() == ["tags undefined", "not among the 4 chosen"]
    assert decision.columns["rank"].tolist() == [0, -1, 2, -1, 3, 1]
    check_operator(operator, {"tags": tags})
    nothing = operator.decide(as_batch({"id": list("0123"), "tags": objects([None] * 3 + [[]])}), 4)
    assert not nothing.keep.any()
