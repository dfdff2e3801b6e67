"""The headline claims what a test proves and nothing else."""

import re

import numpy as np
import pytest
from scipy import stats

from coreset.report.headline import headline
from coreset.runs.curve import Curve, Point

LABELS = (50, 100, 200)


def curves(name, values, pool=1000, **extra):
    """One curve a seed; values (seeds, 3)."""
    return [
        Curve(name, s, [Point(n, n / pool, v, 0, extra) for n, v in zip(LABELS, row, strict=True)])
        for s, row in enumerate(np.asarray(values).tolist())
    ]


def noisy(mean, seeds, scale, seed=0):
    rng = np.random.default_rng(seed)
    return np.array([0.5, 0.7, 0.8]) + mean + scale * rng.normal(size=(seeds, 3))


def p_of(one, other):
    """Reference: scipy's paired test on areas over log labels."""
    x = np.log(LABELS)
    areas = [np.trapezoid(np.asarray(v), x, axis=1) for v in (one, other)]
    return stats.ttest_rel(*areas).pvalue


def test_reaching_the_target_alone_is_no_claim():
    """The seen case: the means reach 95 % of full where random's do not, at p = 0.4 or so."""
    margin, random = noisy(0.01, 5, 0.05, 1), noisy(0.0, 5, 0.05, 2)
    p = p_of(margin, random)
    assert p > 0.05
    claim = headline(curves("margin", margin) + curves("random", random), 0.84)
    assert (
        claim == "Nothing is proven: no strategy differs from random at the 5 % level over 5 seeds "
        f"(smallest p = {p:.2f}, margin)"
    )


def test_what_is_proven_is_said_with_seeds_and_p():
    one, two = noisy(0.05, 5, 0.01, 1), noisy(-0.04, 5, 0.01, 3)
    random = noisy(0.0, 5, 0.01, 2)
    claim = headline(curves("one", one) + curves("two", two) + curves("random", random), 0.95)
    x = np.log(LABELS)
    gains = [
        100 * float(np.trapezoid(v - random, x, axis=1).mean() / (x[-1] - x[0])) for v in (one, two)
    ]
    p = sorted(p_of(v, random) for v in (one, two))
    assert max(2 * p[0], p[1]) < 0.05  # Holm
    assert claim.startswith(
        f"one (+{gains[0]:.1f} points) is ahead of random; two (−{-gains[1]:.1f} points) is behind"
        " random"
    )
    assert "paired t-test over 5 seeds" in claim
    assert "after Holm’s correction" in claim


def test_holm_counts_every_strategy():
    """p = 0.04 of one among three strategies proves nothing."""
    rng = np.random.default_rng(0)
    random = noisy(0.0, 6, 0.01, 2)
    for shift in np.linspace(0.001, 0.02, 60):
        one = random + shift + 0.01 * rng.normal(size=random.shape)
        if 0.03 < p_of(one, random) < 0.05:
            break
    else:
        pytest.fail("no case")
    alone = curves("one", one) + curves("random", random)
    assert "is ahead of random" in headline(alone, None)
    others = [random + 0.01 * rng.normal(size=random.shape) for _ in range(2)]
    more = [c for i, v in enumerate(others) for c in curves(f"other{i}", v)]
    assert headline(alone + more, None).startswith("Nothing is proven")


@pytest.mark.parametrize(
    ("names", "seeds", "claim"),
    [
        (("margin", "random"), 1, "1 seed beside random, and a test needs at least two"),
        (("margin",), 3, "there is no random baseline to compare with"),
        (("random",), 3, "random was compared with no other strategy"),
        (("margin", "random"), 3, "over 3 seeds the differences to random do not vary"),
    ],
)
def test_why_nothing_is_proven(names, seeds, claim):
    lines = [
        c
        for i, name in enumerate(names)
        for c in curves(name, [[0.5 + i, 0.7 + i, 0.8 + i]] * seeds)
    ]
    assert headline(lines, None) == f"Nothing is proven: {claim}"


def test_a_point_above_the_reference_stands_instead_of_a_claim():
    """What was published: 83.6 % at a few labels beside 83.1 % with all of them."""
    margin, random = noisy(0.05, 5, 0.01, 1), noisy(0.0, 5, 0.01, 2)
    claim = headline(curves("margin", margin) + curves("random", random), 0.831)
    top = 100 * margin.mean(axis=0).max()
    assert re.match(
        rf"margin with 20 % of the labels has {top:.1f} %, more than 83.1 % of training on all",
        claim,
    )
    assert "is ahead" not in claim


def test_curves_that_know_all_labels_are_not_compared():
    rs2, random = noisy(0.2, 5, 0.01, 1), noisy(0.0, 5, 0.01, 2)
    lines = curves("rs2, all labels", rs2, labels_used=1000) + curves("random", random)
    assert "rs2" not in headline(lines, 0.9)
