import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset.core.budget import Budget
from coreset.vision import (
    CocoPool,
    Detections,
    box_cost,
    expected_boxes,
    pixel_cost,
    recalibrate,
    seconds,
)

FOUND = Detections([1, 2, 3], [0, 0, 2], np.zeros((3, 4)), [0.9, 0.25, 0.5], [1, 1, 1])


def test_costs_of_images():
    assert box_cost(FOUND, 0.5, floor=0).tolist() == [1, 0, 1]
    assert expected_boxes(FOUND, floor=0).tolist() == [1.15, 0, 0.5]
    pool = CocoPool(2, sizes=np.array([[4, 5], [10, 10]]))
    assert pixel_cost(pool).tolist() == [20, 100]
    assert seconds(box_cost(FOUND, 0, floor=0), 10, 2.5).tolist() == [15, 10, 12.5]
    assert recalibrate([2, 3], [4, 5]) == pytest.approx(9 / 5)
    with pytest.raises(ValueError, match="add up to more than 0"):
        recalibrate([0.0], [1.0])
    with pytest.raises(ValueError, match="at least 0 seconds"):
        seconds([1], -1, 1)


@settings(max_examples=25, deadline=None)
@given(
    prices=st.lists(st.tuples(st.integers(0, 9), st.floats(0, 5)), min_size=1, max_size=20),
    limit=st.tuples(st.integers(1, 40), st.floats(0.5, 30)),
    how=st.sampled_from(["prefix", "fill"]),
)
def test_never_overruns_and_tells_what_is_left(prices, limit, how):
    costs = {
        "boxes": np.array([float(p[0]) for p in prices]),
        "seconds": np.array([p[1] for p in prices]),
    }
    budget = {"boxes": limit[0], "seconds": limit[1]}
    keep, slack = Budget(budget).walk(costs, how)
    spent, want = [0.0, 0.0], []
    for i, p in enumerate(prices):  # by hand
        if spent[0] + p[0] <= limit[0] and spent[1] + p[1] <= limit[1]:
            spent = [spent[0] + p[0], spent[1] + p[1]]
            want.append(i)
        elif how == "prefix":
            break
    if how == "prefix":
        assert keep.tolist() == want
    assert costs["boxes"][keep].sum() <= limit[0]
    assert costs["seconds"][keep].sum() <= limit[1] + 1e-9
    assert slack["boxes"] == limit[0] - costs["boxes"][keep].sum()
    assert slack["seconds"] == pytest.approx(limit[1] - costs["seconds"][keep].sum())
    assert min(slack.values()) >= 0
    assert Budget(budget).most(costs) >= len(keep)
    if how == "fill":  # nothing that was passed over would still fit
        left = [i for i in range(len(prices)) if i not in keep]
        assert not any(
            prices[i][0] <= slack["boxes"] - 1e-9 and prices[i][1] <= slack["seconds"] - 1e-9
            for i in left
        )


def test_bad_costs_name_unit_and_image():
    ids = np.array([11, 12])
    with pytest.raises(KeyError, match=r"budget in boxes, but costs has only \['pixels'\]"):
        Budget({"boxes": 5}).columns({"pixels": [1, 2]}, ids)
    with pytest.raises(ValueError, match="costs: boxes: image 12 costs nan"):
        Budget({"boxes": 5}).columns({"boxes": [1, np.nan]}, ids)
    with pytest.raises(ValueError, match="costs: boxes: image 11 costs -1"):
        Budget({"boxes": 5}).columns({"boxes": [-1, 2]}, ids)
    with pytest.raises(ValueError, match=r"costs: boxes: expected shape \(2,\)"):
        Budget({"boxes": 5}).columns({"boxes": [1]}, ids)
    with pytest.raises(ValueError, match="boxes: expected a positive number, got 0"):
        Budget({"boxes": 0}).columns({"boxes": [1, 2]}, ids)
    with pytest.raises(ValueError, match="at least one limit"):
        Budget({}).columns({}, ids)
    with pytest.raises(ValueError, match="fit: expected prefix or fill"):
        Budget({"images": 1}).walk({"images": np.ones(1)}, "best")
    assert Budget({"images": 5}).columns({}, ids)["images"].tolist() == [1, 1]
