from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset.numerics.quota import largest_remainder


def exact_reference(weights, k, caps):
    """Largest remainders in exact fractions."""
    out, full = [0] * len(weights), {i for i, w in enumerate(weights) if w == 0}
    while True:
        live = [i for i in range(len(weights)) if i not in full]
        left, total = k - sum(out[i] for i in full), sum(weights[i] for i in live)
        if not live or left == 0:
            return out
        share = {i: Fraction(weights[i] * left, total) for i in live}
        over = [i for i in live if share[i] >= caps[i]]
        if over:
            for i in over:
                out[i] = caps[i]
            full |= set(over)
            continue
        for i in live:
            out[i] = int(share[i])
        rest = k - sum(out)
        for i in sorted(live, key=lambda i: (out[i] - share[i], i))[:rest]:
            out[i] += 1
        return out


GROUPS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 30)), min_size=1, max_size=9)


@settings(max_examples=25, deadline=None)
@given(GROUPS, st.integers(0, 60))
def test_equals_exact_fractions(groups, k):
    weights, caps = zip(*groups, strict=True)
    room = sum(min(c, k) for w, c in groups if w)
    if room < k:
        with pytest.raises(
            ValueError, match=f"caps: the groups hold {room}, fewer than the {k} asked for"
        ):
            largest_remainder(weights, k, caps)
        return
    got = largest_remainder(weights, k, caps)
    assert got.dtype == np.int64
    assert got.tolist() == exact_reference(weights, k, [min(c, k) for c in caps])


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(0, 1e308), min_size=1, max_size=12),
    st.integers(0, 2000),
    st.integers(0, 2**63 - 1),
)
def test_any_weights_terminate_sum_up_and_stay_within_one(weights, k, cap):
    w = np.array(weights)
    if not w.any() and k:
        with pytest.raises(ValueError, match="groups hold 0"):
            largest_remainder(w, k)
        return
    got = largest_remainder(w, k)
    assert got.sum() == k
    if k:
        total = sum(Fraction(x) for x in weights)
        assert all(
            abs(int(g) - Fraction(x) * k / total) < 1 + Fraction(1, 10**6)
            for g, x in zip(got, weights, strict=True)
        )
    caps = np.full(len(w), cap)
    if min(cap, k) * int((w > 0).sum()) >= k:
        capped = largest_remainder(w, k, caps)
        assert capped.sum() == k
        assert (capped <= cap).all()


@pytest.mark.parametrize(
    ("weights", "k", "caps", "want"),
    [
        ([1, 1, 1], 4, None, [2, 1, 1]),
        ([1, 1, 1], 5, None, [2, 2, 1]),
        # 0.5, 1, 3.5 tie although 0.7 * 5 ends in other digits
        ([0.1, 0.2, 0.7], 5, None, [1, 1, 3]),
        ([0.7, 0.2, 0.1], 5, None, [4, 1, 0]),
        ([0.3] * 10, 3, None, [1, 1, 1, 0, 0, 0, 0, 0, 0, 0]),
        ([0, 1], 3, None, [0, 3]),
        ([5], 3, None, [3]),
        ([1, 2, 3], 0, None, [0, 0, 0]),
        ([1e308, 1e308], 3, None, [2, 1]),
        ([1e308, 1e-308], 10, [2, 20], [2, 8]),
        ([5e-324, 5e-324], 3, None, [2, 1]),
        ([10, 1, 1], 9, [3, 9, 9], [3, 3, 3]),
        ([10, 8, 1], 9, [3, 4, 9], [3, 4, 2]),
        ([1, 1], 4, [2, 2], [2, 2]),
        ([3, 1], 4, [2**62, 2**62], [3, 1]),
        ([1, 1, 1], 2, [0, 5, 5], [0, 1, 1]),
    ],
)
def test_by_hand(weights, k, caps, want):
    assert largest_remainder(weights, k, caps).tolist() == want


@pytest.mark.parametrize(
    ("weights", "caps", "words"),
    [
        ([1, -1], None, "weights: expected a list of finite numbers of at least 0, got"),
        ([1, np.nan], None, "weights: "),
        ([1, np.inf], None, "weights: "),
        (3.0, None, "weights: "),
        ([1, 1], [3], "caps: expected 2 whole numbers of at least 0, one a group, got"),
        ([1, 1], [9, -1], "caps: expected 2"),
        ([1, 1], [1, 1], "caps: the groups hold 2, fewer than the 3 asked for"),
        ([0, 1], [9, 1], "the groups hold 1"),
        ([0, 0], None, "the groups hold 0"),
        ([], None, "the groups hold 0"),
    ],
)
def test_refusals(weights, caps, words):
    with pytest.raises(ValueError, match=words):
        largest_remainder(weights, 3, caps)
