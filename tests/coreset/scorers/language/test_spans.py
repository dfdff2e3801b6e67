from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coreset.scorers.language.spans import Span, plan


def cost(batches, lengths, budget):
    return sum(budget / 16 + len(b) * max(lengths[i] for i in b) for b in batches)


def cheapest(lengths, scored, budget, most):
    """Every way to cut the sorted rows."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    best = np.inf
    for k in range(len(order)):
        for cuts in combinations(range(1, len(order)), k):
            parts = [order[a:b] for a, b in zip((0, *cuts), (*cuts, len(order)), strict=True)]
            fits = all(
                len(p) == 1
                or (len(p) * lengths[p[0]] <= budget and sum(scored[i] for i in p) <= most)
                for p in parts
            )
            if fits:
                best = min(best, cost(parts, lengths, budget))
    return best


@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(1, 30)), max_size=8),
    st.integers(1, 200),
    st.integers(1, 80),
)
def test_the_cheapest_cut_that_fits(rows, budget, most):
    lengths, scored = [n for n, _ in rows], [s for _, s in rows]
    batches = plan(lengths, scored, budget, most)
    assert sorted(i for b in batches for i in b) == list(range(len(rows)))
    for b in batches:
        assert len(b) == 1 or (
            len(b) * max(lengths[i] for i in b) <= budget and sum(scored[i] for i in b) <= most
        )
    if rows:
        assert cost(batches, lengths, budget) == pytest.approx(
            cheapest(lengths, scored, budget, most)
        )
    longest = [max(lengths[i] for i in b) for b in batches]
    assert longest == sorted(longest, reverse=True)  # what does not fit into memory fails first


def test_little_is_padded_among_many_rows():
    lengths = np.random.default_rng(0).integers(10, 400, 1000).tolist()
    batches = plan(lengths, [1] * 1000, 1024, 10**9)
    assert sum(len(b) * max(lengths[i] for i in b) for b in batches) < 1.02 * sum(lengths)


def test_what_has_a_loss():
    assert [
        Span((), ()).scored,
        Span((), (1,)).scored,
        Span((), (1, 2)).scored,
        Span((0,), (1, 2)).scored,
    ] == [
        0,
        0,
        1,
        2,
    ]
