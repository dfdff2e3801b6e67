import pytest

from coreset.core.ranges import check_range


@pytest.mark.parametrize(
    ("expected", "good", "bad"),
    [
        ("a share in [0, 1)", [0, 0.0, 0.999], [1, -1e-9, float("nan")]),
        ("a share in (0, 1]", [1, 1e-9], [0, 1.001, float("nan")]),
        ("a number in (0, inf)", [1e300], [0, float("inf"), float("nan")]),
        ("a cosine in [-1, 1]", [-1, 1], [-1.01, 1.01]),
    ],
)
def test_ends_are_open_or_closed_as_written(expected, good, bad):
    for value in good:
        check_range(expected, ratio=value)
    for value in bad:
        with pytest.raises(ValueError, match="^ratio: expected a ") as error:
            check_range(expected, ratio=value)
        assert str(error.value) == f"ratio: expected {expected}, got {value}"


def test_the_value_that_is_wrong_is_named():
    with pytest.raises(ValueError, match="^second: .* got 2$"):
        check_range("a share in [0, 1]", first=0.5, second=2, third=3)


def test_words_without_a_range_are_a_mistake():
    with pytest.raises(AssertionError, match="no range at the end"):
        check_range("a share", first=0.5)
