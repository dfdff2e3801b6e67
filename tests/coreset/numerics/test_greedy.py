import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset.numerics.greedy import (
    OPTIMIZERS,
    SetFunction,
    greedi,
    knapsack_greedy,
    lazy,
    maximize,
    naive,
    sample_size,
    stochastic,
    upper_bound,
)
from coreset.numerics.random import keyed_uniform, salt


class Cover(SetFunction):
    """How many elements the chosen sets cover together, weighted; written with Python sets."""

    state = ("_dummy",)

    def __init__(self, sets, weights):
        self.sets, self.weights, self.size = sets, weights, len(sets)
        self.covered, self._dummy, self.calls = frozenset(), np.zeros(1), 0

    def gains(self, items):
        self.calls += len(items)
        return np.array(
            [
                float(sum(self.weights[e] for e in sorted(self.sets[j] - self.covered)))
                for j in items
            ]
        )

    def add(self, item):
        self.value += float(self.gains([item])[0])
        self.covered = self.covered | self.sets[item]


class Plain(SetFunction):
    """A modular function that claims nothing."""

    state = ("taken",)
    submodular = False

    def __init__(self, values):
        self.values, self.size, self.taken = (
            np.asarray(values, float),
            len(values),
            np.zeros(len(values)),
        )

    def gains(self, items):
        return self.values[items]

    def add(self, item):
        self.value += self.values[item]


def cover(seed, n=14, elements=25):
    rng = np.random.default_rng(seed)
    sets = [
        frozenset(rng.choice(elements, rng.integers(1, 7), replace=False).tolist())
        for _ in range(n)
    ]
    return Cover(sets, rng.integers(1, 9, elements))


def value(f, chosen):
    return (
        sum(f.weights[e] for e in frozenset().union(*(f.sets[j] for j in chosen)))
        if len(chosen)
        else 0
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 14))
def test_lazy_is_naive_from_fewer_gains(seed, k):
    f, g = cover(seed), cover(seed)
    one, other = naive(f, k, np.arange(14)), lazy(g, k, np.arange(14)[::-1])
    assert one.picks.tolist() == other.picks.tolist()
    assert one.gains.tolist() == other.gains.tolist()
    assert f.value == g.value == value(f, one.picks) == one.gains.sum()
    picks = []
    for _ in range(k):  # the definition
        left = [j for j in range(14) if j not in picks]
        picks.append(max(left, key=lambda j: (value(f, [*picks, j]), -j)))
    assert one.picks.tolist() == picks


def test_lazy_computes_few_gains():
    f, g = cover(0, 400, 300), cover(0, 400, 300)
    naive(f, 40, np.arange(400))
    answer = lazy(g, 40, np.arange(400))
    assert g.calls < f.calls / 5
    assert answer.evaluations == g.calls - 40  # `add` asks once more


def test_no_optimizer_is_below_its_guarantee():
    for seed in range(5):
        best = max(value(cover(seed), c) for c in itertools.combinations(range(14), 4))
        for name in OPTIMIZERS:
            f = cover(seed)
            answer = maximize(
                f, 4, np.arange(14), name, np.arange(14), np.random.default_rng(seed), epsilon=0.01
            )
            assert len(set(answer.picks.tolist())) == 4
            assert f.value == value(f, answer.picks) == pytest.approx(answer.gains.sum())
            assert f.value >= (1 - 1 / np.e - 0.01) * best * (0.8 if name == "greedi" else 1)
            assert upper_bound(f, 4, np.setdiff1d(np.arange(14), answer.picks)) >= best


def test_sample_size():
    assert sample_size(1000, 100, 0.01) == 47  # ceil(10 * 4.605)
    assert sample_size(1000, 100, 0.9) == 2  # a published default of 0.9 looks at next to nothing
    assert sample_size(10, 10, 0.5) == 1
    assert sample_size(10, 1, 0.01) == 10
    with pytest.raises(ValueError, match="epsilon"):
        sample_size(10, 1, 1.0)


def test_stochastic_looks_at_that_many():
    f = cover(0, 200, 300)
    answer = stochastic(f, 20, np.arange(200), np.arange(200), np.random.default_rng(0), 0.1)
    assert answer.evaluations == 20 * sample_size(200, 20, 0.1) == 480


@pytest.mark.parametrize("seed", range(5))
def test_bounds_change_the_work_and_not_the_picks(seed):
    one, other = (
        stochastic(
            cover(seed, 150, 200),
            30,
            np.arange(150),
            np.arange(150),
            np.random.default_rng(seed),
            0.01,
            bounds,
        )
        for bounds in (False, True)
    )
    assert one.picks.tolist() == other.picks.tolist()
    assert other.evaluations < one.evaluations


@pytest.mark.parametrize("bounds", [False, True])
def test_samples_are_drawn_evenly_from_what_is_left(bounds):
    """Five of 20, then five of the 19 left: the best item is in the first with chance 5/20, and
    otherwise in the second with 5/19.
    """

    class Free(Plain):
        submodular = True

    first = second = 0
    for seed in range(1500):
        rng = np.random.default_rng(seed)
        picks = stochastic(
            Free(np.arange(20)), 10, np.arange(20), np.arange(20), rng, 0.1, bounds
        ).picks
        assert len(set(picks.tolist())) == 10
        first, second = first + (picks[0] == 19), second + (picks[1] == 19)
    assert sample_size(20, 10, 0.1) == 5
    assert first / 1500 == pytest.approx(5 / 20, abs=0.045)  # four standard deviations
    assert second / 1500 == pytest.approx(15 / 20 * 5 / 19, abs=0.041)


def test_a_whole_sample_is_naive():
    f, g = cover(3), cover(3)
    answer = stochastic(f, 5, np.arange(14), np.arange(14), np.random.default_rng(0), 1e-9)
    assert answer.picks.tolist() == naive(g, 5, np.arange(14)).picks.tolist()


def test_random_choices_follow_the_ids():
    f = cover(1, 60, 500)
    f.weights = np.random.default_rng(1).random(500)  # no ties
    order = np.random.default_rng(9).permutation(60)
    moved = Cover([f.sets[j] for j in order], f.weights)
    names = np.array([f"row {j:02d}" for j in range(60)])
    for run in (stochastic, greedi):
        one = run(f.copy(), 8, np.arange(60), names, np.random.default_rng(4))
        other = run(moved.copy(), 8, np.arange(60), names[order], np.random.default_rng(4))
        assert names[one.picks].tolist() == names[order][other.picks].tolist()


def test_greedi_with_one_part_is_lazy():
    f, g = cover(2), cover(2)
    one = greedi(f, 6, np.arange(14), np.arange(14), np.random.default_rng(0), parts=1)
    assert one.picks.tolist() == lazy(g, 6, np.arange(14)).picks.tolist()
    assert f.value == g.value
    with pytest.raises(ValueError, match="parts"):
        greedi(f, 6, np.arange(14), np.arange(14), np.random.default_rng(0), parts=0)


def test_greedi_by_its_definition():
    """Naive greedy in every part, then in the union of their choices; the best part's own choice
    where that is worth more.
    """
    unions = set()
    for seed in [*range(12), 108, 255, 258]:  # in the last three a part wins
        k = 3 + seed % 3
        part = np.floor(keyed_uniform(salt(np.random.default_rng(seed)), np.arange(14)) * 3)
        own = [
            naive(cover(seed), min(k, len(mine)), mine).picks
            for p in range(3)
            if len(mine := np.flatnonzero(part == p))
        ]
        union = naive(cover(seed), k, np.sort(np.concatenate(own))).picks
        f = cover(seed)
        best = max((c for c in own if len(c) == k), key=lambda c: value(f, c), default=union)
        want = best if value(f, best) > value(f, union) else union
        unions.add(want is union)
        answer = greedi(f, k, np.arange(14), np.arange(14), np.random.default_rng(seed), parts=3)
        assert answer.picks.tolist() == want.tolist()
        assert f.value == value(f, want) == answer.gains.sum()
    assert unions == {True, False}


def test_functions_that_are_not_submodular_are_refused():
    f = Plain([1, 2, 3])
    for name in ("lazy", "lazier_than_lazy", "greedi"):
        with pytest.raises(ValueError, match="submodular"):
            maximize(f, 1, np.arange(3), name, np.arange(3), np.random.default_rng(0))
    with pytest.raises(ValueError, match="submodular"):
        knapsack_greedy(f, np.ones(3), 1.0)
    assert naive(f, 2, np.arange(3)).picks.tolist() == [2, 1]
    with pytest.raises(ValueError, match="optimizer"):
        maximize(f, 1, np.arange(3), "eager", np.arange(3), np.random.default_rng(0))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.5, 20))
def test_knapsack(seed, limit):
    f = cover(seed, 9)
    costs = np.random.default_rng(seed).uniform(0.5, 6, 9)
    picks, gains, slack = knapsack_greedy(f, costs, limit)
    assert costs[picks].sum() + slack == pytest.approx(limit)
    assert slack >= -1e-12
    assert f.value == value(f, picks) == pytest.approx(gains.sum())
    chosen, spent = [], 0.0
    while True:  # the definition
        left = [
            j
            for j in range(9)
            if j not in chosen
            and costs[j] <= limit - spent
            and value(f, [*chosen, j]) > value(f, chosen)
        ]
        if not left:
            break
        j = max(left, key=lambda j: ((value(f, [*chosen, j]) - value(f, chosen)) / costs[j], -j))
        chosen.append(j)
        spent += costs[j]
    single = max(
        (j for j in range(9) if costs[j] <= limit), key=lambda j: (value(f, [j]), -j), default=None
    )
    if single is not None and value(f, [single]) > value(f, chosen):
        chosen = [single]
    assert picks.tolist() == chosen
    sets = [
        c
        for m in range(10)
        for c in itertools.combinations(range(9), m)
        if costs[list(c)].sum() <= limit
    ]
    assert f.value >= (1 - np.exp(-0.5)) * max(value(f, c) for c in sets)


def test_knapsack_takes_the_one_big_item():
    f = Cover([frozenset({0}), frozenset(range(1, 11))], np.ones(11))
    picks, gains, slack = knapsack_greedy(f, np.array([0.05, 10.0]), 10.0)
    assert (picks.tolist(), gains.tolist(), slack, f.value) == ([1], [10.0], 0.0, 10.0)


def test_knapsack_spends_the_limit_to_the_last():
    f = Cover([frozenset({0, 1}), frozenset({2, 3}), frozenset({4})], np.ones(5))
    picks, _, slack = knapsack_greedy(f, np.array([1.0, 2.0, 4.0]), 3.0)
    assert (picks.tolist(), slack, f.value) == ([0, 1], 0.0, 4.0)


def test_knapsack_refuses_costs_that_are_not_positive():
    for costs in (np.array([1.0, 0.0]), np.array([1.0, np.nan]), np.ones(3)):
        with pytest.raises(ValueError, match="costs"):
            knapsack_greedy(cover(0, 2), costs, 1.0)
    assert len(knapsack_greedy(cover(0, 2), np.array([5.0, 5.0]), 1.0).picks) == 0
