"""The trie against the plain question `pattern in text`."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset.scorers.text.trie import KIND, build, find, packed

letters = st.text(alphabet="ab é字", min_size=1, max_size=4)


@settings(deadline=None)
@given(
    st.sets(letters, min_size=1, max_size=12),
    st.lists(st.text(alphabet="ab é字,", max_size=12), max_size=6),
)
def test_every_occurrence_and_nothing_else(patterns, texts):
    patterns = sorted(patterns)
    hits, start = find(build(patterns), *packed(texts))
    for text, a, b in zip(texts, start[:-1], start[1:], strict=True):
        spaced = f" {text.replace(',', ' , ')} "
        assert hits[a:b].tolist() == [i for i, p in enumerate(patterns) if p in spaced]


def test_many_matches_in_one_row():
    patterns = [f" {i} " for i in range(3000)]
    hits, start = find(build(patterns), *packed(["", " ".join(map(str, range(3000))), "7 7 7"]))
    assert start.tolist() == [0, 0, 3000, 3001]
    assert hits.tolist() == [*range(3000), 7]


def test_without_wrapping():
    hits, _ = find(build(["a,b"]), *packed(["xa,b"]), np.zeros(256, np.uint8))
    assert hits.tolist() == [0]
    assert find(build(["a,b"]), *packed(["xa,b"]), KIND)[0].tolist() == []


def test_wrong_patterns():
    with pytest.raises(ValueError, match="pattern 1 is empty"):
        build(["a", ""])
    with pytest.raises(ValueError, match="pattern 'a' is there twice"):
        build(["a", "b", "a"])
