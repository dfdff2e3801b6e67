"""Object frequency against its published definition, written out in loops."""

import numpy as np
import pytest

from coreset.vision import Detections, object_frequency


def published(labels_of_images, penalty, min_score):
    """The loops of lightly 1.2: per image a dictionary of classes, then np.interp over all images."""
    sums = []
    for labels in labels_of_images:
        counts = {}
        for label in labels:
            counts[label] = counts[label] + penalty if label in counts else 1.0
        sums.append(sum(counts.values()))
    return np.interp(sums, (min(sums), max(sums)), (min_score, 1.0))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("penalty", "min_score"), [(0.25, 0.9), (0.0, 0.0), (1.0, 0.5)])
def test_the_published_scores(seed, penalty, min_score):
    rng = np.random.default_rng(seed)
    image = np.sort(rng.integers(0, 20, 60))
    labels, scores = rng.integers(1, 5, 60), rng.uniform(size=60)
    boxes = np.tile([0.0, 0, 9, 9], (60, 1))
    table = Detections(np.arange(20) + 100, image, boxes, scores, labels)
    rules = {"score_threshold": 0.3, "min_size": 0, "empty": "last"}
    got = object_frequency(table, penalty=penalty, min_score=min_score, **rules)
    kept = [
        [int(c) for c, i, s in zip(labels, image, scores, strict=True) if i == k and s >= 0.3]
        for k in range(20)
    ]
    want = published(kept, penalty, min_score)
    full = np.array([len(k) > 0 for k in kept])
    np.testing.assert_allclose(got.values[full], want[full], rtol=0, atol=1e-12)
    assert got.is_empty.tolist() == (~full).tolist()


def test_edges():
    rules = {"score_threshold": 0.0, "min_size": -1, "empty": "last"}
    alike = Detections([1, 2], [0, 1], np.zeros((2, 4)), [1, 1], [3, 4])
    assert object_frequency(alike, **rules).values.tolist() == [1, 1]
    assert object_frequency(Detections.nothing([1, 2]), **rules).is_empty.all()
    with pytest.raises(ValueError, match=r"penalty: expected a number in \[0, 1\], got 2"):
        object_frequency(alike, penalty=2, **rules)
    with pytest.raises(ValueError, match="min_score: expected"):
        object_frequency(alike, min_score=-0.1, **rules)
