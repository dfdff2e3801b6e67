import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset.vision import Detections, ImageScores, aggregate
from coreset.vision.aggregate import empty_policy


def random_table(rng, images=30, boxes=150):
    image = rng.integers(0, images, boxes)
    corner, side = rng.uniform(0, 50, (boxes, 2)), rng.uniform(0, 30, (boxes, 2))
    return Detections(
        np.arange(images) * 3,
        image,
        np.hstack([corner, corner + side]),
        rng.uniform(size=boxes),
        rng.integers(1, 5, boxes),
    )


def reference(table, values, how, score_threshold, min_size, k, weights, max_aspect):
    out = []
    for i in range(len(table.ids)):
        kept = []
        for b in range(len(table)):
            x1, y1, x2, y2 = table.boxes[b]
            w, h = x2 - x1, y2 - y1
            aspect_ok = max_aspect is None or (w / h < max_aspect and h / w < max_aspect)
            if (
                table.image[b] == i
                and table.scores[b] >= score_threshold
                and math.sqrt(w * h) > min_size
                and aspect_ok
            ):
                kept.append(values[b] * (weights[int(table.labels[b])] if weights else 1))
        if not kept:
            out.append(math.nan)
        elif how == "max":
            out.append(max(kept))
        elif how == "mean":
            out.append(sum(kept) / len(kept))
        elif how in ("sum", "weighted_sum"):
            out.append(sum(kept))
        else:
            top = sorted(kept, reverse=True)[:k]
            out.append(sum(top) / len(top))
    return out


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    how=st.sampled_from(["max", "mean", "sum", "topk_mean", "weighted_sum"]),
    threshold=st.sampled_from([0.0, 0.4, 1.0]),
    min_size=st.sampled_from([0, 12]),
    k=st.integers(1, 4),
    max_aspect=st.sampled_from([None, 2.0]),
)
def test_every_aggregation_against_loops(seed, how, threshold, min_size, k, max_aspect):
    rng = np.random.default_rng(seed)
    table = random_table(rng)
    values = rng.normal(size=len(table))
    weights = {1: 1.0, 2: 0.5, 3: 2.0, 4: 0.0} if how == "weighted_sum" else None
    got = aggregate(
        table,
        values,
        how,
        score_threshold=threshold,
        min_size=min_size,
        empty="last",
        k=k,
        class_weights=weights,
        max_aspect=max_aspect,
    )
    want = reference(table, values, how, threshold, min_size, k, weights, max_aspect)
    np.testing.assert_allclose(got.values, want, rtol=1e-12, atol=1e-12)
    assert got.is_empty.tolist() == [math.isnan(v) for v in want]


def test_limits_are_where_they_are_said_to_be():
    boxes = [[0, 0, 16, 16], [0, 0, 17, 16], [0, 0, 10, 0]]
    table = Detections([1, 2, 3], [0, 1, 2], boxes, [0.05, 0.05, 0.05], [1, 1, 1])
    got = aggregate(table, np.ones(3), "sum", score_threshold=0.05, min_size=16, empty="last")
    np.testing.assert_array_equal(
        got.values, [np.nan, 1, np.nan]
    )  # the score at the threshold counts, the size at the minimum does not
    got = aggregate(table, np.ones(3), "sum", score_threshold=0.05, min_size=0, empty="last")
    np.testing.assert_array_equal(got.values, [1, 1, np.nan])  # a box without area is none
    got = aggregate(table, np.ones(3), "sum", score_threshold=0.05, min_size=-1, empty="last")
    np.testing.assert_array_equal(got.values, [1, 1, 1])


def test_no_boxes_anywhere():
    got = aggregate(
        Detections.nothing([1, 2]), np.empty(0), "max", score_threshold=0, min_size=0, empty="first"
    )
    assert got.is_empty.all()


def test_bad_input():
    table = Detections([7], [0], [[0, 0, 9, 9]], [0.5], [3], source="r.json")
    given_ = {"score_threshold": 0.0, "min_size": 0.0, "empty": "last"}
    with pytest.raises(ValueError, match="how: expected one of max, mean"):
        aggregate(table, [1.0], "median", **given_)
    with pytest.raises(ValueError, match=r"expected shape \(1,\), one per box of r.json"):
        aggregate(table, [1.0, 2.0], "max", **given_)
    with pytest.raises(ValueError, match="NaN or infinite for a box of image 7 of r.json"):
        aggregate(table, [np.nan], "max", **given_)
    with pytest.raises(KeyError, match=r"nothing for category 3 of r.json; given: \[1\]"):
        aggregate(table, [1.0], "weighted_sum", class_weights={1: 2.0}, **given_)
    with pytest.raises(ValueError, match="class_weights go with weighted_sum"):
        aggregate(table, [1.0], "sum", class_weights={3: 2.0}, **given_)
    with pytest.raises(ValueError, match="k: expected at least 1"):
        aggregate(table, [1.0], "topk_mean", k=0, **given_)
    with pytest.raises(TypeError, match="empty"):
        # the policy has to be stated
        aggregate(table, [1.0], "max", score_threshold=0.0, min_size=0.0)
    with pytest.raises(ValueError, match="the score is infinite"):
        ImageScores(np.array([1]), np.array([np.inf]), "last")


@pytest.mark.parametrize("policy", ["drop", "quota", "quota:2", "quota:x", "last:0.5", ""])
def test_unknown_policies(policy):
    with pytest.raises(ValueError, match="empty: expected exclude, last, first or quota:SHARE"):
        empty_policy(policy)
