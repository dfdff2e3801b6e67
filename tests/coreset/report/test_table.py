import math

import numpy as np
import pytest
from scipy import stats

from coreset.report.table import holm, paired_p, shared_budgets, table
from coreset.runs.curve import Curve, Point


def curve(name, seed, values, pool=100):
    return Curve(name, seed, [Point(n, n / pool, v) for n, v in values.items()])


def rows(curves, full=None, **more):
    return {r.strategy: r for r in table(curves, full, **more)}


def test_by_hand():
    """Budgets 10, 20, 80: on a log axis the widths are log 2 and log 4, a third and two thirds."""
    curves = [
        curve("margin", 0, {10: 0.2, 20: 0.6, 80: 0.9}),  # area (0.4 + 2 * 0.75) / 3
        curve("margin", 1, {10: 0.4, 20: 0.8, 80: 0.9}),  # (0.6 + 2 * 0.85) / 3
        curve("random", 0, {10: 0.2, 20: 0.4, 80: 0.8}),  # (0.3 + 2 * 0.6) / 3
        curve("random", 1, {10: 0.2, 20: 0.6, 80: 0.8}),  # (0.4 + 2 * 0.7) / 3
    ]
    got = rows(curves, full=0.9, seconds={"margin": (1.0, 2.0)})
    margin, random = got["margin"], got["random"]
    assert margin.area == pytest.approx((1.9 + 2.3) / 6)
    assert random.area == pytest.approx((1.5 + 1.8) / 6)
    assert margin.values[20] == (pytest.approx(0.7), pytest.approx(math.sqrt(0.02)))
    # the mean line from 0.7 at 20 to 0.9 at 80
    assert margin.reach == pytest.approx(20 * 4 ** ((0.855 - 0.7) / 0.2))
    assert random.reach is None
    assert not margin.at_first
    d = [0.4 / 3, 0.5 / 3]
    assert margin.difference == pytest.approx(0.15)
    assert margin.pairs == 2
    assert margin.p == pytest.approx(stats.ttest_1samp(d, 0).pvalue)
    assert (random.difference, random.p, random.pairs) == (None, None, 0)
    assert (margin.select, margin.train, random.train) == (1.0, 2.0, None)


def test_random_stays_in_the_table_and_on_top_when_it_wins():
    curves = [curve("margin", 0, {10: 0.2, 20: 0.3}), curve("random", 0, {10: 0.4, 20: 0.5})]
    assert [r.strategy for r in table(curves, None)] == ["random", "margin"]
    assert rows(curves)["margin"].difference == pytest.approx(-0.2)
    assert rows(curves)["margin"].p is None  # one pair is no test


def test_pairs_are_the_shared_seeds_and_budgets():
    curves = [curve("margin", s, {10: 0.5, 20: 0.6, 40: 0.99}) for s in (0, 1, 7)]
    curves += [curve("random", s, {10: 0.4, 20: 0.4 + 0.1 * s}) for s in (0, 1)]
    got = rows(curves)["margin"]
    assert got.pairs == 2
    assert got.difference == pytest.approx(np.mean([0.55 - 0.4, 0.55 - 0.45]))


def test_reached_at_the_first_budget_may_need_fewer():
    got = rows([curve("margin", 0, {10: 0.9, 20: 0.95})], full=0.9)["margin"]
    assert (got.reach, got.at_first) == (10.0, True)


def test_budgets_are_those_two_strategies_share_and_an_area_over_fewer_is_none():
    curves = [curve("a", 0, {10: 0.1, 20: 0.2}), curve("b", 0, {10: 0.1, 20: 0.2, 40: 0.3})]
    curves += [curve("random", 0, {10: 0.1, 20: 0.2, 40: 0.3, 50: 0.4})]
    assert shared_budgets(curves) == [10, 20, 40]
    assert rows(curves)["a"].area is None
    assert rows(curves)["a"].difference == pytest.approx(0.0)
    assert shared_budgets(curves[:1]) == [10, 20]
    assert shared_budgets([curve("a", 0, {10: 0.1}), curve("b", 0, {11: 0.1})]) == []


def test_paired_p_against_scipy():
    rng = np.random.default_rng(0)
    for n in (2, 3, 10):
        a, b = rng.normal(size=n), rng.normal(size=n)
        assert paired_p((a - b).tolist()) == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert paired_p([0.1]) is None
    assert paired_p([0.1, 0.1, 0.1]) is None  # no spread: undefined, not certain


def test_holm_by_hand():
    """Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1, made monotone; capped at one."""
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.7, 0.6]) == [1.0, 1.0]
    assert holm([None, 0.2]) == [None, 0.2]
    assert holm([]) == []


def test_holm_is_over_strategies():
    rng = np.random.default_rng(1)
    curves = [
        curve(name, s, {10: float(v), 20: float(v)})
        for name in ("a", "b", "c", "random")
        for s, v in enumerate(0.5 + 0.1 * rng.random(5))
    ]
    values = {
        n: np.array([c.values[0] for c in curves if c.strategy == n])
        for n in ("a", "b", "c", "random")
    }
    raw = {n: stats.ttest_rel(values[n], values["random"]).pvalue for n in "abc"}
    low = min(raw, key=raw.get)
    assert rows(curves)[low].p == pytest.approx(min(1.0, 3 * raw[low]))
