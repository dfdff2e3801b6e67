from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import coreset
from coreset.core.budget import budget_counts, budget_size, budget_sizes, per_class


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_shares_round_to_the_nearest_count(size, part):
    share = min(part, size) / size
    assert abs(budget_size(share, size) - Fraction(share) * size) <= max(
        Fraction(1, 2), 1 - Fraction(share) * size
    )


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.one_of(st.integers(-2, 60), st.floats(allow_nan=True)), max_size=5),
    st.integers(1, 50),
)
def test_sizes_grow_inside_the_pool_or_are_refused(budgets, size):
    try:
        sizes = budget_sizes(budgets, size)
    except ValueError as error:
        assert str(error).startswith("budget: ")  # noqa: PT017
        return
    assert len(sizes) == len(budgets)
    assert all(1 <= s <= size and type(s) is int for s in sizes)
    assert sizes == sorted(set(sizes))


def test_counts_and_shares():
    assert budget_size(1, 10) == 1  # a count
    assert budget_size(1.0, 10) == 10  # a share
    assert budget_size(0.25, 10) == 3  # half a one rounds up
    assert budget_size(1e-9, 10) == 1
    for three in (np.int64(3), np.uint8(3), torch.tensor(3), np.array(3)):
        assert budget_size(three, 10) == 3
    assert budget_size(np.float32(0.5), 10) == 5
    assert budget_sizes(0.5, 10) == [5]
    assert budget_sizes((1, 0.5), 10) == [1, 5]


@pytest.mark.parametrize(
    ("budget", "error", "words"),
    [
        (
            0,
            ValueError,
            r"budget: expected a count from 1 to 10 \(the pool\) or a share in \(0, 1\], got 0",
        ),
        (-3, ValueError, "got -3"),
        (11, ValueError, "count from 1 to 10 .* got 11"),
        (0.0, ValueError, r"budget: expected a share of the pool in \(0, 1\], got 0.0"),
        (-0.1, ValueError, "got -0.1"),
        (1.5, ValueError, "got 1.5$"),
        (5.0, ValueError, "got 5.0; a count is written without a point: 5"),
        (float("nan"), ValueError, "got nan"),
        (float("inf"), ValueError, "got inf"),
        (True, TypeError, r"budget: expected a count \(500\) or a share \(0.3\), got True"),
        (np.bool_(True), TypeError, "got True"),
        ("5", TypeError, "got '5'"),
        (None, TypeError, "got None"),
        ([3], TypeError, r"got \[3\]"),
    ],
)
def test_every_wrong_budget_has_its_words(budget, error, words):
    with pytest.raises(error, match=words):
        budget_size(budget, 10)
    with pytest.raises(error, match=words):
        coreset.select("random", budget, ids=range(10))


def test_lists():
    with pytest.raises(ValueError, match="at least one budget"):
        budget_sizes([], 10)
    with pytest.raises(ValueError, match=r"totals must grow.*\[0.1, 0.1\] = \[1, 1\] of 10"):
        budget_sizes([0.1, 0.1], 10)
    with pytest.raises(ValueError, match="start: expected a count"):
        budget_sizes(0, 10, "start")


@pytest.mark.parametrize(
    ("budget", "unit", "counts"),
    [
        ([1, 10], "ipc", [10, 100]),
        (3, "ipc", [30]),
        ([20, 0.5], "images", [20, 0.5]),
        ([7850, 15_699, 15_700], "bytes", [10, 10, 20]),
    ],
)
def test_a_budget_per_class_in_images_or_bytes(budget, unit, counts):
    assert budget_counts(budget, unit, 10, 785) == counts


@pytest.mark.parametrize(
    ("budget", "unit", "words"),
    [
        (
            [7849],
            "bytes",
            "7849 bytes do not pay for one image of each of 10 classes at 785 bytes: 7850",
        ),
        ([0], "ipc", "whole numbers"),
        ([1.5], "ipc", "whole numbers"),
        (True, "bytes", "whole numbers"),
        ([1], "pixels", "unit: expected images, ipc or bytes"),
    ],
)
def test_a_budget_that_says_nothing_is_refused(budget, unit, words):
    with pytest.raises(ValueError, match=words):
        budget_counts(budget, unit, 10, 785)


def test_images_that_are_no_whole_number_per_class():
    assert per_class([10, 30], 10) == [1, 3]
    with pytest.raises(
        ValueError, match=r"25 images are no whole number for each of 10 classes.*ipc"
    ):
        per_class([10, 25], 10)
