import math

import numpy as np
import pytest

from coreset.vision import Detections, class_quality, dcus, difficulty_weights

QUALITY = {1: 0.9, 2: 0.2, 3: 0.0}


def test_weights_follow_the_formula():
    a, ub = 0.3, 0.2
    b = math.exp(1 / a) - 1
    want = {c: 1 + a * ub * math.log(b * (1 - q) + 1) for c, q in QUALITY.items()}
    got = difficulty_weights(QUALITY)
    assert got == pytest.approx(want, abs=1e-14)
    assert difficulty_weights({1: 1.0})[1] == 1
    assert difficulty_weights({1: 0.0})[1] == pytest.approx(1.2)
    with pytest.raises(ValueError, match="category 4 has 1.5"):
        difficulty_weights({4: 1.5})


def test_uncertainty_against_loops():
    rng = np.random.default_rng(0)
    n = 200
    corner, side = rng.uniform(0, 50, (n, 2)), rng.uniform(0, 80, (n, 2))
    detections = Detections(
        np.arange(40),
        rng.integers(0, 30, n),
        np.hstack([corner, corner + side]),
        rng.uniform(0, 1, n) ** 3,
        rng.integers(1, 4, n),
    )
    b = math.exp(1 / 0.3) - 1
    want = [0.0] * 40
    for i, box, s, c in zip(
        detections.image, detections.boxes, detections.scores, detections.labels, strict=True
    ):
        w, h = box[2] - box[0], box[3] - box[1]
        if s >= 0.05 and math.sqrt(w * h) > 16 and w / h < 5 and h / w < 5:
            entropy = -s * math.log(s) - (1 - s) * math.log(1 - s)
            want[i] += entropy * (1 + 0.3 * 0.2 * math.log(b * (1 - QUALITY[int(c)]) + 1))
    got = dcus(detections, QUALITY, empty="last")
    np.testing.assert_allclose(np.nan_to_num(got.values), want, rtol=1e-12)
    assert got.is_empty[30:].all()
    other = dcus(detections, QUALITY, empty="last", beta=0.0)
    assert (np.nan_to_num(other.values) <= np.nan_to_num(got.values)).all()


def test_quality_is_the_mean_over_matches():
    labels, p, iou = [1, 1, 2], [0.5, 0.9, 0.4], [0.8, 0.6, 1.0]
    got = class_quality(labels, p, iou, [1, 2, 3])
    assert got[1] == pytest.approx((0.5**0.6 * 0.8**0.4 + 0.9**0.6 * 0.6**0.4) / 2)
    assert got[2] == pytest.approx(0.4**0.6)
    assert got[3] == 0
    with pytest.raises(ValueError, match=r"numbers in \[0, 1\]"):
        class_quality([1], [2.0], [0.5], [1])
    with pytest.raises(ValueError, match="three lists of one length"):
        class_quality([1], [0.5, 0.1], [0.5], [1])
