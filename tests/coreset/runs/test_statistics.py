"""Statistics against scipy, hand-worked numbers and published examples."""

import numpy as np
import pytest
from scipy import stats

from coreset.runs.curve import Curve, Point
from coreset.runs.statistics import (
    crossing,
    difference,
    gap_closed,
    holm,
    label_saving,
    paired_p,
    panel,
    penalties,
    ranks,
    record,
)

LABELS = [10, 20, 40, 80]


def curves(name, values):
    return [
        Curve(name, r, [Point(n, n / 1000, v) for n, v in zip(LABELS, row, strict=True)])
        for r, row in enumerate(values)
    ]


def toy(seed=0, replicates=12, gain=0.1):
    rng = np.random.default_rng(seed)
    base = np.array([0.4, 0.5, 0.6, 0.7])
    shared = 0.05 * rng.normal(size=(replicates, 1))
    random = base + shared + 0.01 * rng.normal(size=(replicates, 4))
    better = base + gain + shared + 0.01 * rng.normal(size=(replicates, 4))
    return panel(curves("random", random) + curves("better", better)), random, better


def test_a_difference_is_scipys_bca_interval():
    rng = np.random.default_rng(3)
    a, b = rng.gamma(1.0, size=40), rng.gamma(1.2, size=40)
    mine = difference(a, b)
    theirs = stats.bootstrap(
        (a, b), lambda x, y, axis: (x - y).mean(axis=axis), paired=True, n_resamples=50_000,
        rng=np.random.default_rng(9),
    ).confidence_interval  # fmt: skip
    assert mine.mean == pytest.approx((a - b).mean())
    assert mine.low == pytest.approx(theirs.low, abs=0.03)
    assert mine.high == pytest.approx(theirs.high, abs=0.03)
    assert (mine.n, mine.level) == (40, 0.95)


def test_an_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        d = rng.normal(0.3, 1.0, size=30)
        interval = difference(d, np.zeros(30), seed=trial)
        hits += interval.low <= 0.3 <= interval.high
    assert 180 <= hits <= 199  # 95 % of 200, within four standard errors below


def test_without_spread_or_with_one_pair():
    same = difference([0.5, 0.7], [0.4, 0.6])
    assert (same.low, same.high) == (0.1, 0.1)
    one = difference([0.5], [0.4])
    assert np.isnan(one.low)
    assert one.sign == 0
    with pytest.raises(ValueError, match="expected pairs, got 1 and 2"):
        difference([1.0], [1.0, 2.0])


def test_areas_by_hand():
    data, random, _ = toy()
    x = np.log(LABELS)
    by_hand = [
        sum((b - a) * (u + v) / 2 for a, b, u, v in zip(x, x[1:], row, row[1:], strict=False))
        / (x[-1] - x[0])
        for row in random
    ]
    assert np.allclose(data.areas("log")[0], by_hand)
    assert np.allclose(
        data.areas("round")[0], (random[:, 1:3].sum(1) + (random[:, 0] + random[:, 3]) / 2) / 3
    )
    assert np.allclose(
        data.areas("labels")[0],
        (10 * (random[:, 0] + random[:, 1]) + 20 * (random[:, 1] + random[:, 2])
         + 40 * (random[:, 2] + random[:, 3])) / 2 / 70,
    )  # fmt: skip


def test_crossing_is_the_curves_own():
    rng = np.random.default_rng(1)
    values = np.sort(rng.random((50, 4)), axis=1)
    target = rng.random(50)
    for axis in ("log", "labels"):
        mine = crossing(np.array(LABELS), values, target, axis)
        for row, goal, n in zip(values, target, mine, strict=True):
            expected = curves("a", [row])[0].labels_to_reach(goal, axis)
            assert (expected is None and np.isnan(n)) or n == pytest.approx(expected)


def test_label_saving_by_hand_and_by_a_plain_bootstrap():
    data, random, better = toy()
    saving = label_saving(data, "better", 80)
    goal, mean = random.mean(axis=0)[3], better.mean(axis=0)
    share = (goal - mean[1]) / (mean[2] - mean[1])
    share, low = (share, 20) if 0 <= share <= 1 else ((goal - mean[2]) / (mean[3] - mean[2]), 40)
    assert saving.needed == pytest.approx(low * 2**share)
    assert saving.factor.mean == pytest.approx(80 / saving.needed)
    rng, factors = np.random.default_rng(5), []
    for _ in range(2000):
        rows = rng.integers(len(random), size=len(random))
        curve = curves("m", [better[rows].mean(axis=0)])[0]
        needed = curve.labels_to_reach(random[rows].mean(axis=0)[3])
        factors.append(1.0 if needed is None else 80 / needed)
    low, high = np.quantile(factors, [0.025, 0.975])
    assert saving.factor.low == pytest.approx(low, rel=0.02)
    assert saving.factor.high == pytest.approx(high, rel=0.02)
    assert saving.reached == 1.0


def test_a_saving_that_is_never_reached_and_one_above_the_target():
    data, _, _ = toy(gain=-0.2)
    never = label_saving(data, "better", 80)
    assert np.isnan(never.needed)
    assert np.isnan(never.factor.mean)
    assert never.reached == 0.0
    data, _, _ = toy(gain=0.5)
    assert label_saving(data, "better", 40).bound


def test_holm_and_the_paired_test_are_the_published_ones():
    # Holm (1979): .01 x 4, .02 x 3 ...
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    d = [0.1, 0.3, 0.2, 0.05]
    assert paired_p(d) == pytest.approx(stats.ttest_1samp(d, 0).pvalue)


def test_win_tie_loss_and_the_worst_shortfall():
    rng = np.random.default_rng(2)
    random = 0.5 + 0.01 * rng.normal(size=(30, 4))
    other = random + np.array([0.05, 0.0, -0.05, -0.1]) + 0.01 * rng.normal(size=(30, 4))
    other[:, 1] += random[:, 1] - other[:, 1].mean() - random[:, 1] + random[:, 1].mean()
    outcome = record(panel(curves("random", random) + curves("other", other)), "other")
    assert (outcome.win, outcome.tie, outcome.loss) == (1, 1, 2)
    assert outcome.worst_labels == 80
    assert outcome.worst.mean == pytest.approx((other - random)[:, 3].mean())


def test_penalties_are_t_tests_per_budget():
    data, random, better = toy()
    matrix = penalties(data)
    p = stats.ttest_rel(better, random, axis=0).pvalue
    assert matrix[1, 0] == pytest.approx(((p < 0.05) & (better.mean(0) > random.mean(0))).mean())
    assert matrix[0, 1] == 0
    assert np.isnan(matrix[0, 0])


# Demšar, JMLR 2006, table 6: ranks of C4.5, C4.5+m, C4.5+cf, C4.5+m+cf on 14 data sets
DEMSAR = [
    (4, 3, 2, 1), (1, 2, 3, 4), (4, 1, 2, 3), (4, 1, 3, 2), (4, 2, 3, 1), (1, 2.5, 4, 2.5),
    (3, 2, 4, 1), (2.5, 2.5, 4, 1), (4, 3, 2, 1), (2.5, 2.5, 2.5, 2.5), (4, 2.5, 1, 2.5),
    (3, 2, 4, 1), (4, 1, 2, 3), (3, 1, 4, 2),
]  # fmt: skip


def test_ranks_are_demsars_example():
    names = ("c45", "m", "cf", "mcf")
    scores = {
        str(i): {n: -r for n, r in zip(names, row, strict=True)} for i, row in enumerate(DEMSAR)
    }
    outcome = ranks(scores)
    mean = dict(zip(outcome.names, outcome.mean, strict=True))
    # the paper: 3.143, 2.000, 2.893, 1.964; q 2.569 gives CD 1.25, q of 10 % 2.291 gives 1.12
    assert mean == pytest.approx({"c45": 3.143, "m": 2.0, "cf": 2.893, "mcf": 1.964}, abs=1e-3)
    assert outcome.names == ["mcf", "m", "cf", "c45"]
    assert outcome.critical == pytest.approx(1.25, abs=0.01)
    assert ranks(scores, 0.10).critical == pytest.approx(1.12, abs=0.01)
    by_scipy = stats.friedmanchisquare(*-np.array(DEMSAR).T)
    assert outcome.p == pytest.approx(by_scipy.pvalue)
    assert by_scipy.statistic == pytest.approx(9.28 * 1.05, rel=0.05)  # 9.28 before ties
    with pytest.raises(ValueError, match="the same strategies on every data set"):
        ranks({"a": {"x": 1.0}, "b": {"y": 1.0}})


def test_gap_closed_by_hand():
    flat = [[v] * 4 for v in (0.5, 0.5)]
    data = panel(
        curves("random", flat)
        + curves("oracle", np.add(flat, 0.2))
        + curves("mine", np.add(flat, 0.15))
    )
    assert gap_closed(data, "mine", "oracle") == pytest.approx(0.75)


def test_only_what_is_shared_is_paired():
    few = panel(curves("random", [[0.1] * 4] * 3) + curves("a", [[0.2] * 4] * 2))
    assert few.replicates == [0, 1]
    with pytest.raises(ValueError, match="no replicate is shared"):
        panel([Curve("a", 0, [Point(1, 0, 0.1)]), Curve("b", 1, [Point(1, 0, 0.1)])])
    with pytest.raises(KeyError, match="no strategy 'c' here"):
        few.of("c")
