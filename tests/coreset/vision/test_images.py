import numpy as np
import pytest

from coreset.vision import Detections, crop_features, foreground, predicted_class


def test_class_and_foreground_against_loops():
    rng = np.random.default_rng(0)
    detections = Detections(
        np.arange(20),
        rng.integers(0, 15, 80),
        np.zeros((80, 4)),
        rng.integers(0, 5, 80) / 4,
        rng.choice([2, 7, 9], 80),
    )
    classes, boxes = predicted_class(detections, 0.5), foreground(detections, 0.5)
    for i in range(20):
        total, count = {}, 0
        for b in np.flatnonzero((detections.image == i) & (detections.scores >= 0.5)):
            total[int(detections.labels[b])] = (
                total.get(int(detections.labels[b]), 0) + detections.scores[b]
            )
            count += 1
        assert classes[i] == (min(total, key=lambda c: (-total[c], c)) if total else -1)
        assert boxes[i] == count
    assert predicted_class(Detections.nothing([1, 2]), 0).tolist() == [-1, -1]


def test_crop_features_are_weighted_means():
    x = np.array([[1.0, 0.0], [0.0, 2.0], [4.0, 4.0]])
    detections = Detections(
        [1, 2], [0, 0, 0], np.zeros((3, 4)), [0.5, 0.25, 0.1], [1, 1, 1], features=x
    )
    got = crop_features(detections, 0.2)
    np.testing.assert_allclose(got, [[0.5 / 0.75, 0.5 / 0.75], [0, 0]], rtol=1e-6)
    with pytest.raises(ValueError, match="crop features need the features"):
        crop_features(Detections.nothing([1]), 0)
