import math

import numpy as np
import pytest

from coreset.vision import Detections, box_scores

PROBS = np.array([[0.7, 0.2, 0.1], [1.0, 0.0, 0.0], [0.4, 0.35, 0.25]])


def table(probs=None, **columns):
    return Detections(
        [4],
        [0, 0, 0],
        np.zeros((3, 4)),
        [0.7, 1.0, 0.0],
        [1, 1, 2],
        probs=probs,
        columns={k: np.array(v) for k, v in columns.items()},
        source="r.json",
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_scores_from_distributions(dtype):
    p = PROBS.astype(dtype)
    rows = [[float(v) for v in row] for row in p]
    entropy = [-sum(v * math.log(v) for v in row if v > 0) for row in rows]
    margin = [1 - (sorted(row)[-1] - sorted(row)[-2]) for row in rows]
    least = [1 - max(row) for row in rows]
    for kind, want in (("entropy", entropy), ("margin", margin), ("least_confidence", least)):
        np.testing.assert_allclose(box_scores(table(p), kind), want, rtol=0, atol=1e-12)


def test_scores_from_top_1():
    h = -(0.7 * math.log(0.7) + 0.3 * math.log(0.3))
    np.testing.assert_allclose(box_scores(table(), "binary_entropy"), [h, 0, 0], atol=1e-15)
    np.testing.assert_allclose(box_scores(table(), "least_confidence"), [0.3, 0, 1], atol=1e-15)


def test_columns_of_the_user():
    detections = table(objectness=[0.1, 0.9, 0.5], jitter=[3, 1, 2])
    np.testing.assert_allclose(box_scores(detections, "objectness"), [0.9, 0.1, 0.5], atol=1e-15)
    assert box_scores(detections, "jitter").tolist() == [3, 1, 2]


def test_what_is_not_there_is_named():
    with pytest.raises(
        ValueError, match="r.json: entropy needs the class distribution of every box"
    ):
        box_scores(table(), "entropy")
    with pytest.raises(
        KeyError, match="r.json: no score or column 'jiter'; there are: entropy, .*, jitter"
    ):
        box_scores(table(jitter=[1, 2, 3]), "jiter")
    with pytest.raises(ValueError, match="a margin needs at least two classes"):
        box_scores(table(np.ones((3, 1))), "margin")


def test_no_boxes():
    detections = Detections.nothing([1, 2])
    assert box_scores(detections, "binary_entropy").shape == (0,)
