"""The measure of boxes against pycocotools and numpy, and a whole turn with a made-up detector."""

import contextlib
import io

import numpy as np
import pytest

from coreset.core.learner import FitResult
from coreset.flywheel import Flywheel, FlywheelData, Freeze
from coreset.flywheel.boxes import Boxes, Drawn, average_precision, match_boxes
from coreset.flywheel.choose import Choose
from coreset.flywheel.decide import Decide
from coreset.flywheel.diagnose import Diagnose
from coreset.flywheel.gate import Gate
from coreset.flywheel.label import Label
from coreset.flywheel.measure import Subset
from coreset.flywheel.mine_objects import MineObjects
from coreset.flywheel.tables import read_table
from tests.coreset.flywheel.worlds import Truth

CLASSES = ("background", "cat", "dog", "owl")


def scenes(n, rng, most=3):
    """Images with boxes on a grid of cells, so that no two overlap, and one crowd."""
    out = []
    for i in range(n):
        k = int(rng.integers(0, most + 1))
        cells = rng.permutation(9)[:k]
        x, y = 40.0 * (cells % 3), 40.0 * (cells // 3)
        boxes = np.stack([x, y, x + 30, y + 30], axis=1).astype(np.float32).reshape(-1, 4)
        labels = rng.choice([1, 2, 3], k, p=[0.5, 0.4, 0.1]).astype(np.int64)
        out.append(Drawn(boxes, labels, (np.arange(k) == 2) & (i % 7 == 0)))
    return out


def seen(drawn, rng, recall=0.7, false=1):
    """A detector's table: shaken copies of some boxes, and false ones."""
    table = np.zeros((len(drawn), 8, 6), np.float32)
    table[:, :, 4] = -1
    for row, one in zip(table, drawn, strict=True):
        at = 0
        for box, label in zip(one.boxes, one.labels, strict=True):
            if rng.random() < recall:
                row[at] = [*(box + rng.normal(0, 3, 4)), rng.uniform(0.2, 1), label]
                at += 1
        for _ in range(false):
            x, y = rng.uniform(0, 90, 2)
            row[at] = [x, y, x + 25, y + 25, rng.uniform(0.05, 0.8), rng.integers(1, 4)]
            at += 1
    return table


def by_cocoeval(table, drawn, rows):
    """AP by class (NaN without objects) of the images `rows`, one image for each entry."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, results = [], []
    for image, at in enumerate(rows):
        for box, label, crowd in zip(
            drawn[at].boxes.astype(float), drawn[at].labels, drawn[at].crowd, strict=True
        ):
            x, y, x2, y2 = box
            truth.append({"id": len(truth) + 1, "image_id": image, "category_id": int(label),
                          "bbox": [x, y, x2 - x, y2 - y], "area": (x2 - x) * (y2 - y),
                          "iscrowd": int(crowd)})  # fmt: skip
        for x, y, x2, y2, score, label in table[at].astype(float):
            if score >= 0:
                results.append({"image_id": image, "category_id": int(label), "score": score,
                                "bbox": [x, y, x2 - x, y2 - y]})  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"images": [{"id": i} for i in range(len(rows))], "annotations": truth,
                        "categories": [{"id": c} for c in (1, 2, 3)]}  # fmt: skip
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(results), "bbox")
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"][:, :, :, 0, 2]  # (T, R, K): all areas, 100 detections
    return np.array(
        [np.nan if (precision[:, :, k] < 0).all() else precision[:, :, k].mean() for k in range(3)]
    )


def test_average_precision_is_that_of_pycocotools_on_any_sample_of_images():
    rng = np.random.default_rng(0)
    drawn = scenes(40, rng)
    table = seen(drawn, rng)
    matched = match_boxes(table, drawn)
    for sample in (np.arange(40), np.arange(10, 30), rng.integers(0, 40, 40)):
        weights = np.bincount(sample, minlength=40).astype(float)[None]
        ours = np.array([average_precision(matched[c], weights)[0] for c in (1, 2, 3)])
        np.testing.assert_allclose(ours, by_cocoeval(table, drawn, sample), atol=1e-9)


def test_the_error_of_a_set_is_one_minus_map_and_of_an_image_what_it_misses():
    box = np.array([[0, 0, 30, 30], [40, 0, 70, 30], [80, 0, 110, 30]], np.float32)
    no = np.zeros(3, bool)
    drawn = [
        Drawn(box, np.array([1, 1, 2]), no),
        Drawn(box[:0], np.empty(0, np.int64), no[:0]),
        Drawn(box[:0], np.empty(0, np.int64), no[:0]),
    ]
    table = np.zeros((3, 2, 6), np.float32)
    table[:, :, 4] = -1
    table[0, 0] = [*box[0], 0.9, 1]
    table[0, 1] = [*box[2], 0.1, 2]  # too unsure for one image, counts in mAP
    table[1, 0] = [*box[0], 0.8, 1]
    measure, labels = Boxes(drawn), np.array([2, 0, 0])
    columns = {"boxes": table}
    assert measure.errors(columns, labels).tolist() == [0.75, 1.0, 0.0]
    every = np.arange(3)
    # cat: one of two objects at precision 1 (51 of 101 recalls), dog: its one object
    assert measure.of_set(columns, labels, Subset(every, every)) == pytest.approx(
        1 - (51 / 101 + 1) / 2
    )
    cat = Subset(every[:1], every, (1,))
    assert measure.of_set(columns, labels, cat) == pytest.approx(1 - 51 / 101)
    empty = Subset(every[1:], every, (0,))
    assert measure.of_set(columns, labels, empty) == pytest.approx(0.5)
    with pytest.raises(ValueError, match=r"boxes: expected \(3, K, 6\), got \(2, 2, 6\)"):
        measure.errors({"boxes": table[:2]}, labels[:2])


def test_the_interval_of_a_gain_covers_the_truth():
    """Of many small test sets, about 95 % of the intervals hold the gain on a large one."""
    rng = np.random.default_rng(1)
    many = scenes(3000, rng)
    old, new = (seen(many, np.random.default_rng(s), r) for s, r in ((2, 0.5), (3, 0.65)))
    whole = match_boxes(old, many), match_boxes(new, many)
    ones = np.ones((1, 3000))
    true = np.mean([(average_precision(whole[1][c], ones) - average_precision(whole[0][c], ones))[0]
                    for c in (1, 2)])  # fmt: skip
    inside = 0
    for start in range(0, 3000, 100):  # thirty test sets of 100 images
        part = slice(start, start + 100)
        measure, at = Boxes(many[part], draws=40), np.arange(100)
        subset = Subset(at, at, (1, 2))
        columns = [{"boxes": t[part]} for t in (old, new)]
        gain, low, high = measure.gain(columns[:1], columns[1:], np.zeros(100), subset, 0.05)
        assert gain == pytest.approx(
            measure.of_set(columns[0], at, subset) - measure.of_set(columns[1], at, subset)
        )
        inside += low <= true <= high
    assert inside >= 25  # of 30; by chance below that once in 500


class MadeUpDetector:
    """Finds a class the oftener the more images of it are in the training set."""

    metric, classes = "mAP", CLASSES
    available = frozenset({"boxes", "features"})

    def __init__(self, data, drawn):
        self.data, self.drawn, self.size, self.ids = data, drawn, len(drawn), data.ids

    def fit(self, indices, labels, *, weights=None, seed, callbacks=()):
        self.counts = np.zeros(len(CLASSES))
        for i in indices:
            self.counts += np.bincount(self.drawn[i].labels, minlength=len(CLASSES)) > 0
        self.seed = list(seed)
        return FitResult(0.0)

    def signals(self, indices, names, *, seed=0):
        table = np.zeros((len(indices), 8, 6), np.float32)
        table[:, :, 4] = -1
        for row, i in zip(table, indices, strict=True):
            rng = np.random.default_rng([*self.seed, int(i)])
            one, at = self.drawn[i], 0
            for box, label in zip(one.boxes, one.labels, strict=True):
                share = self.counts[label] / (self.counts[label] + 15)
                if rng.random() < 0.2 + 0.75 * share:
                    row[at] = [*(box + rng.normal(0, 2, 4)), 0.35 + 0.6 * share, label]
                    at += 1
            row[at] = [60, 60, 85, 85, rng.uniform(0.02, 0.3), rng.integers(1, 4)]
        out = {"boxes": table, "features": self.data.features[indices]}
        return {n: out[n] for n in names}


@pytest.fixture(scope="module")
def turned(tmp_path_factory):
    rng = np.random.default_rng(0)
    drawn = scenes(900, rng)
    rare = np.array([3 in d.labels for d in drawn])
    roles = np.repeat(["train", "dev", "test", "pool"], [100, 200, 250, 350])
    swap = np.flatnonzero(rare & (roles == "train"))[2:]  # all but two of the start set's owls
    other = np.flatnonzero(~rare & (roles == "pool"))[: len(swap)]
    for a, b in zip(swap, other, strict=True):
        drawn[a], drawn[b] = drawn[b], drawn[a]
        rare[a], rare[b] = rare[b], rare[a]
    truth = np.array([int(d.labels.max(initial=0)) for d in drawn], np.int64)
    costs = np.array([max(len(d.labels), 1) for d in drawn], float)
    data = FlywheelData(
        [f"i{i:03d}" for i in range(900)], np.where(roles == "pool", -1, truth), roles,
        rng.normal(size=(900, 8)), CLASSES, costs=costs,
    )  # fmt: skip
    frozen = [drawn[i] for i in data.at("dev", "test", "canary")]
    wheel = Flywheel(
        tmp_path_factory.mktemp("boxes"), data, MadeUpDetector(data, drawn), Truth(truth),
        measure=Boxes(frozen, draws=60),
        stages={
            "diagnose": Diagnose(smallest=15), "gate": Gate(smallest=15, delta=0.1),
            "mine": MineObjects(), "label": Label(folds=0),
            "choose": Choose(strategy="top_k", options={"signal": "mined"}, relabel=0.0),
            "decide": Decide(shares=(0.4, 0.7), draws=20),
        },
    )  # fmt: skip
    wheel.init(Freeze(clusters=0))
    return wheel, wheel.turn(70, now="2026-01-01T00:00:00"), rare


def test_the_class_that_lacks_is_named_and_mined_by_its_own_boxes(turned):
    wheel, facts, rare = turned
    assert [w["name"] for w in facts["diagnose"]["weak"]] == ["class=owl"]
    batch = read_table(wheel.folder / "turns/001/label-batch.parquet")
    rows = wheel.data.where(batch["id"][batch["slice"] == "class=owl"])
    chance = rare[wheel.data.at("pool")].mean()
    assert rare[rows].mean() > 2 * chance


def test_the_rare_class_gains_map_against_the_control_at_equal_cost(turned):
    wheel, facts, _ = turned
    costs = {}
    for name in ("candidate", "control"):
        ids = read_table(wheel.folder / f"turns/001/version-{name}.parquet")["id"]
        costs[name] = wheel.data.costs[wheel.data.where(ids)].sum()
    assert 0 <= costs["candidate"] - costs["control"] <= 3
    assert facts["gate"]["versus_control"]["target"]["low"] > 0
    assert facts["gate"]["promoted"]
    lines = read_table(wheel.folder / "turns/001/gate-comparisons.parquet")
    target = lines["name"].tolist().index("class=owl")
    # the line is AP of the class on the whole test set, independent of the measure's bookkeeping
    drawn = wheel.trainings.learner.drawn
    test = wheel.data.at("test")
    errors = []
    for seed in wheel.seeds:
        learner = MadeUpDetector(wheel.data, drawn)
        learner.fit(wheel.data.at("train"), None, seed=(seed,))
        table = learner.signals(test, ["boxes"])["boxes"]
        errors.append(1 - by_cocoeval(table, [drawn[i] for i in test], np.arange(len(test)))[2])
    assert lines["before"][target] == pytest.approx(np.mean(errors), abs=1e-6)


def test_the_page_speaks_of_map(turned):
    wheel, _, _ = turned
    assert "test 1 − mAP" in wheel.show().read_text()
