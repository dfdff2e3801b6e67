"""The two scores against the formula in 50 digits."""

from decimal import Decimal, getcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coreset.distillation.scores import augmentation_robust, label_robust

getcontext().prec = 50
FRACTION = st.floats(0, 1)


def score(a):
    e = Decimal(1).exp()
    return float((a.exp() - 1 / e) / (e - 1 / e))


@given(FRACTION, FRACTION, FRACTION, FRACTION, FRACTION)
def test_label_robust_is_the_formula(full, hard, soft, random, w):
    f, h, s, r, v = map(Decimal, (full, hard, soft, random, w))
    got = label_robust(full, hard, soft, random, w)
    assert got == pytest.approx(score(v * (s - r) - (1 - v) * (f - h)), abs=1e-12)
    assert -1e-12 <= got <= 1 + 1e-12


@given(FRACTION, FRACTION, FRACTION, FRACTION, FRACTION)
def test_augmentation_robust_is_the_formula(a, b, c, d, w):
    p, q, r, s, v = map(Decimal, (a, b, c, d, w))
    assert augmentation_robust(a, b, c, d, w) == pytest.approx(
        score(v * (p - q) + (1 - v) * (r - s)), abs=1e-12
    )


def test_per_cent_are_refused():
    """The public code takes HLR 30 and IOR 10 in per cent and gives -0.157."""
    with pytest.raises(ValueError, match=r"full_hard: .*per cent"):
        label_robust(90, 60, 70, 60)
    with pytest.raises(ValueError, match="random_plain"):
        augmentation_robust(0.5, 0.5, 0.5, 50)
    with pytest.raises(ValueError, match="weight"):
        label_robust(0.5, 0.5, 0.5, 0.5, 2)


def test_unknown_stays_unknown():
    value = label_robust(float("nan"), 0.5, 0.5, 0.5)
    assert value != value
