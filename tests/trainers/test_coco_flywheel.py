"""A flywheel over a COCO folder: what an image counts as, and the command's turn on real stamps."""

import json
import sys

import numpy as np
import pytest

from coreset.trainers import flywheel as command
from coreset.trainers.coco_flywheel import (
    coco_flywheel,
    drawn_in,
    object_sizes,
    rarest_class,
)
from coreset.trainers.data.coco import coco_folder, joined
from coreset.trainers.learners.config import TrainingConfig


@pytest.fixture(scope="module")
def data(stamps_folder, tmp_path_factory):
    return coco_folder(str(stamps_folder), cache=str(tmp_path_factory.mktemp("cache")))


def test_pool_and_test_set_are_one_pool_with_ids_of_their_own(data):
    whole = joined(data)
    assert whole.part.pool.size == 40
    assert whole.ids[0] == f"p{data.part.pool.ids[0]}"
    assert whole.ids[30] == f"t{data.test_part.pool.ids[0]}"
    for at in (0, 29, 30, 39):
        part, own = (data.part, at) if at < 30 else (data.test_part, at - 30)
        np.testing.assert_array_equal(whole.part.image(at), part.image(own))
        np.testing.assert_array_equal(whole.part.boxes(at)[0], part.boxes(own)[0])


def test_an_image_is_of_the_class_in_it_that_the_start_set_has_fewest_of(data):
    part = joined(data).part
    start = np.arange(12)
    counts = np.bincount(np.concatenate([part.boxes(i)[1] for i in start]), minlength=4)
    for at, label in enumerate(rarest_class(part, start).tolist()):
        inside = part.boxes(at)[1]
        assert label in inside if len(inside) else label == 0
        assert all(counts[label] <= counts[c] for c in inside)


@pytest.mark.parametrize(
    ("sides", "size"),
    [([31], "small"), ([32], "medium"), ([95.9], "medium"), ([96], "large"),
     ([10, 20, 200], "small"), ([10, 96, 200], "large"), ([], "")],
)  # fmt: skip
def test_an_image_is_of_the_size_of_its_median_object_by_the_bounds_of_coco(data, sides, size):
    part = joined(data).part
    before = part.annotations[0]
    row = {**next(part.annotations[i][0] for i in range(40) if part.annotations[i]), "iscrowd": 0}
    part.put(0, [{**row, "bbox": [1, 2, side, side]} for side in sides])
    got = object_sizes(part)[0]
    part.put(0, before)
    assert got == size


def test_sizes_of_the_pool_are_unknown_until_its_boxes_are_bought(data, tmp_path):
    roles = np.array(["train"] * 8 + ["dev"] * 8 + ["pool"] * 14 + ["test"] * 10)
    features = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    wheel = coco_flywheel(tmp_path, data, roles, features, None, TrainingConfig(steps=1))
    sizes = wheel.data.metadata["size"]
    assert set(sizes[roles == "pool"]) == {""}
    assert set(sizes[roles == "dev"]) - {""} <= {"small", "medium", "large"}
    assert (sizes[roles == "test"] == object_sizes(joined(data).part)[roles == "test"]).all()


def test_crowds_stand_behind_the_objects_and_are_marked(data):
    part = joined(data).part
    at = next(i for i in range(40) if len(part.boxes(i)[1]) > 1)
    rows = [dict(r) for r in part.annotations[at]]
    rows[0]["iscrowd"] = 1
    before = part.annotations[at]
    part.put(at, rows)
    one = drawn_in(part, at)
    part.put(at, before)
    assert one.crowd.tolist() == [False] * (len(rows) - 1) + [True]


def test_roles_without_a_start_set_are_refused(data, tmp_path):
    roles = np.array(["dev"] * 30 + ["test"] * 10)
    features = np.zeros((40, 2), np.float32)
    with pytest.raises(ValueError, match="roles: expected examples of train, there is none"):
        coco_flywheel(tmp_path, data, roles, features, None, TrainingConfig(steps=1))


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["coreset-flywheel", *words])
    command.main()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objects", "word", "more"),
    [("boxes", "1 − mAP", "+boxes.model.min_size=72"),
     ("masks", "1 − mIoU", "masks.task.size=[72,96]")],
)  # fmt: skip
def test_the_command_turns_on_a_coco_folder(
    stamps_folder, tmp_path, monkeypatch, capsys, objects, word, more
):
    settings = (
        f"flywheel={tmp_path}/wheel", "data=coco_folder", f"data.root={stamps_folder}",
        f"data.cache={tmp_path}/cache", f"store={tmp_path}/store", "embedding=pixels",
        "split.train=0.3", "split.dev=0.3", "split.canary=0", "freeze.clusters=0",
        "freeze.leaks=drop", f"objects={objects}", f"{objects}.fit.steps=2",
        f"{objects}.fit.batch_size=2", more,
    )  # fmt: skip
    run(monkeypatch, "init", *settings)
    run(monkeypatch, "turn", *settings, "budget=8")
    capsys.readouterr()
    assert json.loads((tmp_path / "wheel/state.json").read_text())["turns"] == 1
    retrained = json.loads((tmp_path / "wheel/turns/001/retrain.json").read_text())["facts"]
    assert set(retrained["arms"]) == {"current", "candidate", "control"}
    assert all(0 <= a["error"] <= 1 for a in retrained["arms"].values())
    assert word in (tmp_path / "wheel/report.html").read_text()


@pytest.mark.parametrize(
    ("setting", "why"),
    [("objects=points", "objects: expected boxes or masks, got 'points'"),
     ("oracle=file", "oracle: with data=coco_folder expected hidden"),
     ("metadata={camera: c.npy}", "metadata: with data=coco_folder slices are classes")],
)  # fmt: skip
def test_settings_of_images_with_one_class_are_refused(
    stamps_folder, tmp_path, monkeypatch, capsys, setting, why
):
    with pytest.raises(SystemExit):
        run(
            monkeypatch, "init", f"flywheel={tmp_path}/wheel", "data=coco_folder",
            f"data.root={stamps_folder}", f"data.cache={tmp_path}/cache",
            f"store={tmp_path}/store", "embedding=pixels", setting,
        )  # fmt: skip
    assert why in capsys.readouterr().err.replace("\n", " ")
