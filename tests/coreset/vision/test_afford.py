import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset.core.pool import Pool
from coreset.core.selection import Selection
from coreset.core.strategy import Strategy
from coreset.vision import ImageScores, select

COSTS = st.lists(st.integers(0, 9), min_size=2, max_size=30)


def by_hand(order, cost, limit, fit):
    """The definition: walk down the whole order; stop at the first image that does not fit, or pass
    over it.
    """
    taken, left = [], limit
    for i in order:
        if cost[i] <= left:
            taken.append(i)
            left -= cost[i]
        elif fit == "prefix":
            break
    return taken, left


@settings(max_examples=200, deadline=None)
@given(COSTS, st.integers(1, 60), st.sampled_from(["prefix", "fill"]), st.integers(0, 9))
def test_a_greedy_order_gives_what_the_whole_order_gives(cost, limit, fit, seed):
    n = len(cost)
    values = np.random.default_rng(seed).permutation(n).astype(float)
    taken, left = by_hand(np.argsort(-values), cost, limit, fit)
    ask = {
        "scores": ImageScores(np.arange(n), values, "exclude"),
        "costs": {"boxes": cost},
        "fit": fit,
    }
    if not taken:
        with pytest.raises(ValueError, match="does not pay for"):
            select(Pool(n), {"boxes": limit}, allow_short=True, **ask)
        return
    got = select(Pool(n), {"boxes": limit}, allow_short=True, **ask)
    assert got.indices.tolist() == taken
    assert got.info["slack"]["boxes"] == left
    assert got.info["short"] == (len(taken) == n and left > 0)


class Evens(Strategy):
    """Not greedy: for k it takes every second of the first 2 k candidates, so that no prefix is the
    answer for less.
    """

    needs = frozenset()
    greedy = False

    def parameters(self):
        return {}

    def select(self, pool, signals, k, rng):
        first = pool.candidates[: min(2 * k, len(pool.candidates))]
        order = np.concatenate([first[-2::-2], first[-1::-2]])
        return Selection(np.sort(order[:k]))


@settings(max_examples=200, deadline=None)
@given(COSTS, st.integers(1, 60))
def test_a_strategy_that_is_not_greedy_is_asked_for_what_fits(cost, limit):
    n, price = len(cost), np.array(cost, float)
    answers = {k: Evens().select(Pool(n), None, k, None).indices for k in range(1, n + 1)}
    whole = [k for k, a in answers.items() if price[a].sum() <= limit]
    try:
        got = select(Pool(n), {"boxes": limit}, Evens(), costs={"boxes": price}, allow_short=True)
    except ValueError:
        assert 1 not in whole  # nothing fits, not even the first
        return
    assert price[got.indices].sum() <= limit
    if len(got) in whole:
        assert got.indices.tolist() == answers[len(got)].tolist()
        assert len(got) == n or len(got) + 1 not in whole  # one more would not have fitted


def test_few_draws_where_many_images_would_fit():
    # 5,000 free images: an upper bound on the number that fits is useless, and asking for it would
    # make k-center quadratic
    calls = []

    class Counted(Strategy):
        needs = frozenset()

        def parameters(self):
            return {}

        def select(self, pool, signals, k, rng):
            calls.append(k)
            return Selection(pool.candidates[:k])

    cost = np.concatenate([np.full(5000, 5.0), np.zeros(5000)])
    got = select(Pool(10000), {"boxes": 300}, Counted(), costs={"boxes": cost})
    assert len(got) == 60
    assert max(calls) < 500
