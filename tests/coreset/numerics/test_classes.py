import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset.numerics.classes import class_shares, interleave


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-1, 4), min_size=1, max_size=40), st.data())
def test_shares_add_up_and_are_proportional(labels, data):
    k = data.draw(st.integers(1, len(labels)))
    parts = class_shares(np.array(labels), k)
    assert sum(share for *_, share in parts) == k
    for name, rows, share in parts:
        assert [labels[i] for i in rows] == [name] * labels.count(name)
        assert share <= len(rows)
        assert abs(share - k * len(rows) / len(labels)) < 1


@pytest.mark.parametrize("sizes", [[1], [3, 9, 1], [5, 5]])
def test_every_prefix_holds_about_the_same_share(sizes):
    order = interleave(sizes)
    assert sorted(order.tolist()) == list(range(sum(sizes)))
    part = np.repeat(np.arange(len(sizes)), sizes)[order]
    for g, n in enumerate(sizes):
        assert (np.diff(order[part == g]) > 0).all()  # within a part the order stays
        have = np.cumsum(part == g) / n
        assert (np.abs(have - np.arange(1, len(order) + 1) / len(order)) <= 0.5 / n + 0.5).all()


def test_the_only_one_stands_in_the_middle():
    assert interleave([1, 3]).tolist() == [1, 0, 2, 3]
    assert interleave([3, 1]).tolist() == [0, 1, 3, 2]  # a tie goes to the earlier part
