import json

import numpy as np
import pytest

from coreset import Curve, Point
from coreset.runs.curve import mean_curve, read_curves


def curve(*points, name="a", seed=0, **more):
    return Curve(name, seed, [Point(n, n / 1000, v, i) for i, (n, v) in enumerate(points)], **more)


def test_areas_by_hand():
    c = curve((10, 0.2), (100, 0.6), (1000, 0.8))
    assert c.area("log") == pytest.approx((0.4 + 0.7) / 2)  # equal widths in log labels
    assert c.area("labels") == pytest.approx((90 * 0.4 + 900 * 0.7) / 990)
    assert c.area("round") == pytest.approx((0.4 + 0.7) / 2)
    uneven = curve((10, 0.2), (20, 0.6), (80, 0.8))
    assert uneven.area("log") == uneven.area() == pytest.approx((1 * 0.4 + 2 * 0.7) / 3)
    assert curve((7, 0.3)).area("labels") == 0.3
    assert curve((10, 0.5), (500, 0.5)).area() == pytest.approx(0.5)


def test_an_area_needs_points_and_a_known_axis():
    with pytest.raises(ValueError, match="a, seed 3: a curve without points"):
        Curve("a", 3, []).area()
    with pytest.raises(ValueError, match="axis: expected labels, log or round, got 'epochs'"):
        curve((1, 0.1)).area("epochs")


def test_labels_to_reach_by_hand():
    c = curve((10, 0.2), (1000, 0.6), (2000, 0.5), (4000, 0.9))
    assert c.labels_to_reach(0.4) == pytest.approx(100)  # half way in log labels
    assert c.labels_to_reach(0.6) == pytest.approx(1000)
    assert c.labels_to_reach(0.7) == pytest.approx(2000 * 2**0.5)
    assert c.labels_to_reach(0.1) == 10
    assert c.labels_to_reach(0.91) is None
    assert curve().labels_to_reach(0.1) is None


def test_labels_to_reach_linear_in_labels():
    c = curve((10, 0.2), (1000, 0.6), (2000, 0.5), (4000, 0.9))
    # plain interpolation on the first rising segment that holds it
    for target in (0.25, 0.4, 0.55, 0.7, 0.8999):
        low, high = ((10, 0.2), (1000, 0.6)) if target <= 0.6 else ((2000, 0.5), (4000, 0.9))
        want = np.interp(target, [low[1], high[1]], [low[0], high[0]])
        assert c.labels_to_reach(target, "labels") == pytest.approx(want, rel=1e-12)
        assert c.labels_to_reach(target, "labels") > c.labels_to_reach(target)
    assert c.labels_to_reach(0.1, "labels") == 10
    assert c.labels_to_reach(0.91, "labels") is None
    assert c.labels_to_reach(0.4) == c.labels_to_reach(0.4, "log") == pytest.approx(100)
    slow, fast = curve((100, 0.5), (1000, 0.8)), curve((100, 0.6), (500, 0.9))
    assert fast.label_saving(slow, "labels") == pytest.approx(1 - (100 + 400 * 2 / 3) / 1000)
    assert fast.label_saving(slow) == pytest.approx(1 - 100 * 5 ** (2 / 3) / 1000)
    with pytest.raises(ValueError, match="axis: expected labels or log, got 'round'"):
        c.labels_to_reach(0.4, "round")


def test_label_saving():
    slow, fast = curve((100, 0.5), (1000, 0.8)), curve((100, 0.6), (400, 0.8), (1000, 0.9))
    assert fast.label_saving(slow) == pytest.approx(0.6)
    assert slow.label_saving(fast) is None
    assert slow.label_saving(slow) == 0


def test_points_must_grow():
    with pytest.raises(ValueError, match=r"a, seed 0: points must grow in labels, got \[10, 10\]"):
        curve((10, 0.1), (10, 0.2))


def test_lines_round_trip(tmp_path):
    a = curve((10, 0.2), (20, 0.6))
    b = Curve("ä", 1, [Point(5, 0.5, 0.25, 0, {"loss": 1.5})], "f1")
    path = tmp_path / "curve.jsonl"
    path.write_text(a.lines() + b.lines())
    assert read_curves([path]) == [a, b]
    assert [json.loads(line)["labels"] for line in path.read_text().splitlines()] == [10, 20, 5]


def test_a_point_met_again_replaces_and_order_does_not_matter(tmp_path):
    first, again = tmp_path / "1", tmp_path / "2"
    first.write_text(curve((20, 0.6)).lines() + curve((10, 0.2)).lines())
    again.write_text(curve((10, 0.3)).lines())
    assert read_curves([first, again])[0].values.tolist() == [0.3, 0.6]


@pytest.mark.parametrize(
    "line",
    ["{", "5", "[]", '{"strategy": "a"}', '{"strategy":"a","seed":0,"metric":"m","mistake":1}', ""],
)
def test_a_line_that_is_no_point_is_named(tmp_path, line):
    path = tmp_path / "curve.jsonl"
    path.write_text(curve((10, 0.2)).lines() + line + "\n")
    with pytest.raises(ValueError, match=r"curve.jsonl, line 2: not a point of a curve"):
        read_curves([path])


def test_mean_curve_over_what_all_have():
    labels, mean, sd = mean_curve(
        [curve((10, 0.2), (20, 0.4), (30, 1.0)), curve((10, 0.4), (20, 0.4), seed=1)]
    )
    assert labels == [10, 20]
    np.testing.assert_allclose(mean, [0.3, 0.4])
    np.testing.assert_allclose(sd, [np.sqrt(0.02), 0.0])
    assert mean_curve([curve((10, 0.2))])[2].tolist() == [0.0]
