import math

import numpy as np
import pytest

from coreset.vision import BoxSets, Detections


def table(rng, counts, dtype=np.float64, classes=3, dim=5):
    n = sum(counts)
    image = np.repeat(np.arange(len(counts)), counts)
    x = rng.normal(size=(n, dim)).astype(dtype)
    return Detections(
        np.arange(len(counts)) + 100,
        image,
        np.zeros((n, 4)),
        rng.uniform(0.1, 1, n),
        rng.integers(0, classes, n),
        features=x,
    )


def ccms(detections, a, b):
    """By the paper: every box is matched to the most similar one of its category, similarity -1
    without; weighted by score; both directions.
    """

    def one_way(a, b):
        boxes_a, boxes_b = (
            np.flatnonzero(detections.image == a),
            np.flatnonzero(detections.image == b),
        )
        total = weight = 0.0
        for i in boxes_a:
            best = -1.0
            for j in boxes_b:
                if detections.labels[i] == detections.labels[j]:
                    x, y = (
                        detections.features[i].astype(float),
                        detections.features[j].astype(float),
                    )
                    best = max(best, float(x @ y) / math.sqrt(float(x @ x) * float(y @ y)))
            total += detections.scores[i] * best
            weight += detections.scores[i]
        return total / weight

    return 1 - (one_way(a, b) + one_way(b, a)) / 2


def chamfer(detections, a, b):
    x, y = (detections.features[detections.image == i].astype(float) for i in (a, b))
    d = np.array([[math.dist(u, v) for v in y] for u in x])
    return (d.min(axis=1).mean() + d.min(axis=0).mean()) / 2


@pytest.mark.parametrize(("kind", "reference"), [("ccms", ccms), ("chamfer", chamfer)])
@pytest.mark.parametrize(
    ("dtype", "atol"), [(np.float64, 1e-7), (np.float32, 2e-3), (np.float16, 2e-3)]
)
def test_by_definition(kind, reference, dtype, atol):
    detections = table(np.random.default_rng(0), [3, 1, 5, 2, 4], dtype)
    got = BoxSets.of(detections, kind).between(np.arange(5))
    want = np.array([[reference(detections, a, b) for b in range(5)] for a in range(5)])
    off = ~np.eye(5, dtype=bool)
    np.testing.assert_allclose(
        got[off],
        want[off],
        rtol=0,
        atol=(
            1e-12
            if (kind, dtype) == ("ccms", np.float64)
            else atol / 100
            if dtype != np.float64
            else atol
        ),
    )
    # an image and itself: 0 up to rounding
    np.testing.assert_allclose(got, want, rtol=0, atol=atol)
    np.testing.assert_allclose(got, got.T, atol=1e-6)


def test_boxes_in_the_same_slot_are_not_taken_for_the_same():
    # one box each, same category, opposite features: the authors' code calls this distance 0
    detections = Detections(
        [1, 2],
        [0, 1],
        np.zeros((2, 4)),
        [0.5, 0.9],
        [4, 4],
        features=np.array([[1.0, 0.0], [-1.0, 0.0]]),
    )
    assert BoxSets.of(detections).between([0], [1]).tolist() == [[2.0]]


def test_no_common_category_is_as_far_as_can_be():
    detections = Detections(
        [1, 2], [0, 1], np.zeros((2, 4)), [0.5, 0.9], [4, 5], features=np.ones((2, 2))
    )
    assert BoxSets.of(detections).between([0], [1]).tolist() == [[2.0]]


def test_images_without_boxes():
    for kind in ("ccms", "chamfer"):
        sets = BoxSets.of(table(np.random.default_rng(1), [2, 0, 3, 0]), kind)
        got = sets.between(np.arange(4))
        assert got[1, 3] == got[1, 1] == 0
        assert (got[1, [0, 2]] == sets.farthest).all()
        assert (got[[0, 2], 3] == sets.farthest).all()
        assert got.max() <= sets.farthest
    with_threshold = BoxSets.of(table(np.random.default_rng(1), [2, 3]), score_threshold=2.0)
    assert with_threshold.between([0]).tolist() == [[0.0, 0.0]]


def test_any_block_gives_the_same(monkeypatch):
    import coreset.vision.distance as module

    sets = BoxSets.of(table(np.random.default_rng(2), [3, 0, 1, 4] * 40))
    whole = sets.between(np.arange(160))
    monkeypatch.setattr(module, "_BLOCK", 64)
    np.testing.assert_allclose(sets.between(np.arange(160)), whole, atol=1e-14)
    np.testing.assert_allclose(
        sets.between([5, 2], [9, 0, 3]), whole[np.ix_([5, 2], [9, 0, 3])], atol=1e-14
    )
    parts = np.concatenate([part for _, part in sets.blocks([7, 1], size=50)])
    np.testing.assert_allclose(parts, whole[:, [7, 1]], atol=1e-14)


def test_bad_input():
    detections = table(np.random.default_rng(0), [1, 1])
    with pytest.raises(ValueError, match="kind: expected ccms or chamfer"):
        BoxSets.of(detections, "emd")
    with pytest.raises(ValueError, match="distances between boxes need the features"):
        BoxSets.of(Detections([1], [0], np.zeros((1, 4)), [0.5], [1]))
    with pytest.raises(ValueError, match="image 1: a box with an all-zero feature"):
        BoxSets.of(Detections([1], [0], np.zeros((1, 4)), [0.5], [1], features=np.zeros((1, 2))))
    with pytest.raises(ValueError, match="image 1: all of its boxes have score 0"):
        BoxSets.of(Detections([1], [0], np.zeros((1, 4)), [0.0], [1], features=np.ones((1, 2))))
