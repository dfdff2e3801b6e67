"""Bounds that are no numbers."""

import pytest

from coreset.curation.operators.threshold import Threshold


@pytest.mark.parametrize("bound", [float("nan"), "3", True, [1]])
@pytest.mark.parametrize("name", ["low", "high"])
def test_a_bound_that_is_no_number_is_refused(name, bound):
    """Nothing lies below NaN: such a bound would keep every row without a word."""
    with pytest.raises(ValueError, match=f"threshold on 'a': {name}: expected a number, got"):
        Threshold("a", **{name: bound})
