"""What an image costs: never nothing, and as many boxes as labeled images show."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset import Pool
from coreset.vision import (
    Detections,
    ImageScores,
    aggregate,
    box_cost,
    box_scores,
    calibration,
    expected_boxes,
    select,
)
from coreset.vision import seconds as seconds_of
from coreset.vision.coco import CocoPool

N = 60


def weak(seed=0, known=False):
    """A first detector: two boxes of score 0.025 in 60 images that hold 3 objects on average."""
    rng = np.random.default_rng(seed)
    true = rng.poisson(3, N).astype(float)
    table = Detections(np.arange(N), [4, 9], [[0, 0, 9, 9]] * 2, [0.025, 0.025], [1, 1])
    if known:
        labeled = np.arange(N) % 3 == 0
        more = np.where(labeled, true, np.nan)
        table = Detections(
            table.ids, table.image, table.boxes, table.scores, table.labels, known_boxes=more
        )
    return table, true


@pytest.mark.parametrize("empty", ["first", "last"])
@pytest.mark.parametrize("cost", [expected_boxes, lambda d: box_cost(d, 0.3)])
def test_a_budget_of_ten_boxes_buys_ten_images_at_most(empty, cost):
    table, _ = weak()
    scores = aggregate(
        table,
        box_scores(table, "binary_entropy"),
        "sum",
        score_threshold=0.01,
        min_size=0,
        empty=empty,
    )
    got = select(Pool(N), {"boxes": 10}, scores=scores, costs={"boxes": cost(table)})
    assert len(got) == 10
    assert got.info["slack"] == {"boxes": 0}
    assert got.info["costs"]["boxes"]["floor"] == 1


def test_a_detector_that_finds_nothing_costs_what_labeled_images_hold():
    table, true = weak(known=True)
    cost = expected_boxes(table)
    labeled = np.arange(N) % 3 == 0
    assert cost[0] == pytest.approx(true[labeled].mean(), rel=0.05)  # nothing was found in it
    assert cost[labeled].sum() == pytest.approx(true[labeled].sum())
    scores = ImageScores(np.arange(N), np.zeros(N), "last")
    got = select(Pool(N), {"boxes": 30}, "random", scores=scores, costs={"boxes": cost})
    assert abs(true[got.indices].sum() - 30) < 12
    assert got.info["costs"]["boxes"]["calibrated_on"] == labeled.sum()
    assert expected_boxes(table, calibrated=False).about["calibrated_on"] == 0


PAIRS = st.lists(st.tuples(st.floats(0, 20), st.integers(0, 30)), min_size=1, max_size=30)


@settings(max_examples=200, deadline=None)
@given(PAIRS)
def test_the_line_is_least_squares_and_keeps_the_sum(pairs):
    s, t = (np.array(c, float) for c in zip(*pairs, strict=True))
    a, b = calibration(s, t)
    assert a >= 0
    assert b >= 0
    assert (a + b * s).sum() == pytest.approx(t.sum(), rel=1e-6, abs=1e-6)
    if s.sum() < 1:
        assert (a, b) == (t.mean(), 0)
    elif np.ptp(s) > 1e-3:
        (slope, level), *_ = np.linalg.lstsq(np.stack([s, np.ones(len(s))], axis=1), t, rcond=None)
        if slope > 1e-6 and level > 1e-6:
            np.testing.assert_allclose([a, b], [level, slope], rtol=1e-5, atol=1e-6)
        elif slope < -1e-6:
            assert (a, b) == (pytest.approx(t.mean()), 0)


def test_a_labeled_file_calibrates(tmp_path):
    images = [{"id": k, "file_name": f"{k}.jpg", "width": 50, "height": 50} for k in range(6)]
    drawn = [
        {"id": i, "image_id": k, "category_id": 1, "bbox": [0, 0, 5, 5]}
        for i, k in enumerate([0, 0, 0, 1, 1])
    ]
    about = {"categories": [{"id": 1, "name": "cat"}], "annotations": []}
    (tmp_path / "all.json").write_text(json.dumps({**about, "images": images}))
    (tmp_path / "labeled.json").write_text(
        json.dumps({**about, "images": images[:2], "annotations": drawn})
    )
    pool = CocoPool.from_coco(tmp_path / "all.json", labeled=tmp_path / "labeled.json")
    np.testing.assert_array_equal(pool.known_boxes, [3, 2, np.nan, np.nan, np.nan, np.nan])
    rows = [
        {"image_id": k, "category_id": 1, "bbox": [0, 0, 5, 5], "score": s}
        for k, s in ((0, 0.75), (1, 0.5), (2, 1))
    ]
    table = Detections.from_coco_results(rows, pool)
    cost = expected_boxes(table.align(pool), floor=1.5)  # true = 4 x estimate
    np.testing.assert_allclose(cost, [3, 2, 4, 1.5, 1.5, 1.5], rtol=1e-12)
    assert dict(cost.about) == {
        "estimate": "expected boxes", "calibrated_on": 2, "per_image": pytest.approx(0, abs=1e-12), "per_score": pytest.approx(4), "floor": 1.5,
    }  # fmt: skip
    np.testing.assert_allclose(
        expected_boxes(table.keep(table.scores > 0.3)).about["calibrated_on"], 2
    )
    got = select(
        pool, {"boxes": 6}, "random", costs={"boxes": cost}, seed=1, fit="fill", allow_short=True
    )
    assert got.info["costs"] == {"boxes": dict(cost.about)}
    assert seconds_of(cost, 2, 10).tolist() == pytest.approx([32, 22, 42, 17, 17, 17])
    assert seconds_of(cost, 2, 10).about == cost.about
    assert (cost * 2).about == {}  # of a number that was changed, nothing is claimed
    plain = CocoPool.from_coco(tmp_path / "all.json", labeled=[0, 1])
    assert plain.known_boxes is None
    assert expected_boxes(Detections.from_coco_results(rows, plain)).about["calibrated_on"] == 0
    (tmp_path / "bare.json").write_text(json.dumps({**about, "images": images[:2]}))
    assert (
        CocoPool.from_coco(tmp_path / "all.json", labeled=tmp_path / "bare.json").known_boxes
        is None
    )


def test_bad_input():
    table, _ = weak()
    with pytest.raises(ValueError, match="floor: expected a number of at least 0, got -1"):
        expected_boxes(table, floor=-1)
    with pytest.raises(ValueError, match="floor: expected"):
        box_cost(table, 0.3, floor=np.nan)
    with pytest.raises(ValueError, match="estimate, true: expected two lists of one length"):
        calibration([1, 2], [1])
    with pytest.raises(ValueError, match="estimate, true: expected"):
        calibration([], [])
    with pytest.raises(ValueError, match=r"known_boxes: expected shape \(2,\), got \(1,\)"):
        Detections([1, 2], *(np.empty(0),) * 4, known_boxes=[1.0])


def test_a_policy_that_keeps_images_out_is_named():
    table, _ = weak()
    for empty, words in (
        ("quota:0.05", "all but that share of the 58"),
        ("exclude", "all of the 58"),
    ):
        rules = {"score_threshold": 0.01, "min_size": 0, "empty": empty}
        scores = aggregate(table, box_scores(table, "binary_entropy"), "sum", **rules)
        with pytest.raises(
            ValueError, match=f"empty='{empty}' keeps out {words} candidates without a score"
        ):
            select(Pool(N), {"boxes": 10}, scores=scores, costs={"boxes": expected_boxes(table)})


def test_a_place_in_the_order_is_no_score():
    scores = ImageScores(np.arange(4), np.array([0.5, np.nan, 0.25, np.nan]), "last")
    got = select(Pool(4), 4, scores=scores)
    assert got.indices.tolist() == [0, 2, 1, 3]
    np.testing.assert_array_equal(got.scores, [0.5, 0.25, np.nan, np.nan])
    first = select(Pool(4), 4, scores=ImageScores(scores.ids, scores.values, "first"))
    np.testing.assert_array_equal(first.scores, [np.nan, np.nan, 0.5, 0.25])


def test_groups_are_asked_for_before_anything_is_drawn():
    with pytest.raises(
        ValueError, match=r"max_per_group: expected at least 1, and groups .*got 3 and no groups"
    ):
        select(Pool(4), 2, "no such strategy", max_per_group=3)
