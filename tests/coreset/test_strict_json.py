"""What the loops write is JSON for every reader, and what they wrote before is still read."""

import json

import numpy as np

from coreset.core.store import to_json as dumps
from coreset.runs.curve import Curve, Point, read_curves


def no_constant(name):
    raise AssertionError(f"{name} is no JSON")


def test_what_is_not_a_number_is_null():
    value = {
        "a": [1.5, float("nan"), np.float64("inf")],
        "b": np.array([np.nan, 2]),
        3: (True, None),
    }
    assert json.loads(dumps(value), parse_constant=no_constant) == {
        "a": [1.5, None, None],
        "b": [None, 2.0],
        "3": [True, None],
    }


def test_curves_are_strict_and_old_ones_are_read(tmp_path):
    extra = {"imbalance": float("inf")}
    curve = Curve("x", 0, [Point(5, 0.1, float("nan"), 0, extra), Point(9, 0.2, 0.5, 1)])
    lines = curve.lines()
    rows = [json.loads(line, parse_constant=no_constant) for line in lines.splitlines()]
    assert rows[0]["value"] is None
    assert rows[0]["extra"] == {"imbalance": None}
    for text in (lines, lines.replace('"value": null', '"value": NaN')):
        (tmp_path / "curve.jsonl").write_text(text)
        (back,) = read_curves([tmp_path / "curve.jsonl"])
        np.testing.assert_array_equal(back.values, [np.nan, 0.5])
        assert back.lines() == lines
