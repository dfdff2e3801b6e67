"""Mining by what regions look like, against loops over numpy float64."""

from types import SimpleNamespace

import numpy as np
import pytest

from coreset.flywheel.boxes import Boxes, Drawn
from coreset.flywheel.measure import Wrong
from coreset.flywheel.mine_objects import MineObjects, region_scores, surest_boxes
from coreset.flywheel.regions import class_scores, region_classes

CLASSES = ("background", "cat", "dog", "owl")


def iou(a, b):
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(wide, 0) * max(high, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def test_a_region_is_of_the_object_that_it_meets_best_at_half_or_more():
    rng = np.random.default_rng(0)
    drawn, tables = [], np.zeros((60, 6, 6), np.float32)
    for table in tables:
        corner = rng.uniform(0, 60, (4, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(10, 40, (4, 2))], axis=1)
        drawn.append(Drawn(boxes.astype(np.float32), rng.integers(1, 4, 4), rng.random(4) < 0.2))
        table[:, :4] = boxes[rng.integers(0, 4, 6)] + rng.normal(0, 3, (6, 4))
        table[:, 4] = np.where(rng.random(6) < 0.2, -1, rng.random(6))
    got = region_classes(tables, drawn)
    for row, table, one in zip(got, tables.astype(float), drawn, strict=True):
        for label, region in zip(row, table, strict=True):
            meets = [
                (iou(region[:4], box), c)
                for box, c, crowd in zip(one.boxes, one.labels, one.crowd, strict=True)
                if not crowd
            ]
            best, c = max(meets, default=(0.0, 0), key=lambda m: m[0])
            assert label == (-1 if region[4] < 0 else c if best >= 0.5 else 0)
    assert {-1, 0, 1, 2, 3} == set(got.ravel().tolist())


def test_scores_are_votes_of_the_nearest_regions_by_their_cosines():
    rng = np.random.default_rng(1)
    known, labels = rng.normal(size=(80, 5)).astype(np.float32), rng.integers(0, 4, 80)
    regions, there = rng.normal(size=(30, 4, 5)).astype(np.float32), rng.random((30, 4)) < 0.7
    there[3] = False
    got = class_scores(regions, there, known, labels, 4, neighbors=7)
    unit = [k / np.linalg.norm(k) for k in known.astype(float)]
    for image in range(30):
        want = np.zeros(4)
        for r in np.flatnonzero(there[image]):
            one = regions[image, r].astype(float) / np.linalg.norm(regions[image, r].astype(float))
            cosines = np.array([one @ u for u in unit])
            votes = np.zeros(4)
            for j in np.argsort(-cosines)[:7]:
                votes[labels[j]] += max(cosines[j], 0) / 7
            want = np.maximum(want, votes)
        np.testing.assert_allclose(got[image], want, atol=1e-6)
    assert (got[3] == 0).all()
    assert class_scores(regions, there, known[:0], labels[:0], 4).sum() == 0


def turn(blind):
    """A turn in which the model sees every object, takes all for cats where it is blind, and gives
    each region a feature near that of its class.
    """
    rng = np.random.default_rng(2)
    looks = np.eye(4, 8)
    truth = [rng.choice([1, 1, 1, 2, 2, 3], rng.integers(1, 3)) for _ in range(400)]
    boxes = np.zeros((400, 4, 6), np.float32)
    boxes[:, :, 4] = -1
    regions = np.zeros((400, 4, 8), np.float32)
    drawn = []
    for i, labels in enumerate(truth):
        own = np.array([[50 * j, 0, 50 * j + 30, 30] for j in range(len(labels))], np.float32)
        drawn.append(Drawn(own, labels.astype(np.int64), np.zeros(len(labels), bool)))
        n = len(labels)
        boxes[i, :n, :4] = own
        boxes[i, :n, 4] = rng.uniform(0.2, 1, n)
        boxes[i, :n, 5] = 1 if blind else labels
        boxes[i, n] = [200, 200, 240, 240, 0.3, 1]  # nothing is there
        regions[i, : n + 1] = looks[[*labels, 0]] + rng.normal(0, 0.25, (n + 1, 8))
    columns = {"boxes": boxes, "regions": regions}
    trainings = SimpleNamespace(
        rows=np.arange(150),
        of_role=lambda role: np.arange(100) if role == "dev" else None,
        signals=lambda version, seed, rows, names: {n: columns[n][rows] for n in names},
    )
    owl = np.array([3 in t for t in truth])
    return SimpleNamespace(
        measure=Boxes(drawn[:150]), trainings=trainings, data=SimpleNamespace(classes=CLASSES),
        version=None, seeds=(0,),
    ), owl  # fmt: skip


def test_a_class_that_the_model_calls_by_another_name_is_mined_by_its_regions():
    one, owl = turn(blind=True)
    pool = np.arange(150, 400)
    scores = region_scores(one, pool, 10)[:, 3]
    many = int(owl[pool].sum())
    first = np.argsort(-scores)[:many]
    assert owl[pool[first]].mean() > 0.9 > 2 * owl[pool].mean()
    assert surest_boxes(one, pool)[:, 3].max() == 0  # by boxes there is nothing


def test_regions_need_the_measure_of_boxes_and_an_option_that_exists():
    with pytest.raises(ValueError, match="by: expected boxes or regions, got 'looks'"):
        MineObjects(by="looks")
    one, _ = turn(blind=False)
    one.measure = Wrong()
    with pytest.raises(ValueError, match="by: regions needs the measure Boxes, got Wrong"):
        region_scores(one, np.arange(3), 10)
