"""What people draw reaches the train dataset of a user's own project."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch.utils.data import Subset

sys.path.insert(0, str(Path(__file__).parents[1] / "projects"))

from own_detection import LitCount, Street, StreetData

import coreset.trainers
from coreset.trainers.data.coco import read_part
from coreset.trainers.learners.lightning import LightningLearner
from coreset.trainers.learners.lightning.drawn import DrawnImages, put_labels
from coreset.trainers.oracles import AwaitingLabels
from tests.tools import label_studio
from tests.trainers.test_drawn_labels import boxes_of, tasks

pytestmark = pytest.mark.filterwarnings("ignore")
CPU = {"accelerator": "cpu", "max_epochs": 1}


@dataclass(frozen=True, eq=False)
class Annotator:
    """Draws the true boxes, at the second time of asking."""

    path: Path
    ids: Any
    classes: Any
    drawing: Any = None
    truth: str = ""
    asked: ClassVar[set] = set()

    def label(self, indices):
        fresh = set(indices.tolist()) - self.asked
        if fresh:
            self.asked.update(fresh)
            raise AwaitingLabels("here", len(fresh))
        true = read_part(self.truth, "train.json", "images")
        places = {k: i for i, k in enumerate(true.pool.ids.tolist())}
        part = self.drawing.part
        each = [true.annotations[places[part.pool.ids[i].item()]] for i in indices.tolist()]
        return np.array([part.put(i, rows) for i, rows in zip(indices.tolist(), each, strict=True)])


def active(undrawn_stamps, tmp_path, name, oracle=None, **options):
    return coreset.trainers.active(
        LitCount(), StreetData(str(undrawn_stamps)), strategy="kcenter", budget=[4, 7], trainer=CPU, seed=3, baseline=(),
        oracle=oracle, folder=tmp_path / name, **options,
    )  # fmt: skip


def test_training_sees_what_was_drawn_as_if_it_had_been_in_the_file(
    undrawn_stamps, stamps_folder, tmp_path
):
    oracle = {"_target_": f"{__name__}.Annotator", "_partial_": True, "truth": str(stamps_folder)}
    LitCount.seen.clear()
    for _ in range(2):  # one stop a round; every time the dataset is made anew
        torch.manual_seed(0)
        with pytest.raises(AwaitingLabels):
            active(undrawn_stamps, tmp_path, "drawn", oracle, drawn={"root": str(undrawn_stamps)})
    torch.manual_seed(0)
    ran = active(undrawn_stamps, tmp_path, "drawn", oracle, drawn={"root": str(undrawn_stamps)})
    drawn = list(LitCount.seen)
    LitCount.seen.clear()
    torch.manual_seed(0)
    known = active(stamps_folder, tmp_path, "known")
    assert drawn == LitCount.seen
    assert sum(len(boxes) for _, boxes, _ in drawn) > 0
    assert ran.selection.indices.tolist() == known.selection.indices.tolist()
    assert ran.curve.values.tolist() == known.curve.values.tolist()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "oracle: the examples of the train dataset have no class number .* learner.drawn"),
        ({"drawn": {"root": "nowhere"}}, "nowhere/train.json: no such file"),
        ({"drawn": {"root": "{root}"}, "oracle": {"_target_": "coreset.trainers.oracles.file.LabelFile", "_partial_": True}}, "a table holds one class an example, not boxes"),
        ({"drawn": {"root": "{root}", "train": "test.json"}}, "image ids are not in"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_before_anything_trains(
    undrawn_stamps, tmp_path, options, words
):
    file = {"_target_": f"{__name__}.Annotator", "_partial_": True}
    options = json.loads(json.dumps(options).replace("{root}", str(undrawn_stamps)))
    LitCount.seen.clear()
    with pytest.raises((ValueError, KeyError, FileNotFoundError), match=words):
        active(undrawn_stamps, tmp_path, "run", **{"oracle": file, **options})
    assert not LitCount.seen
    assert not (tmp_path / "run").exists()


class Fixed:
    """A dataset without `set_label` and without ids."""

    def __len__(self):
        return 29


def test_datasets_that_take_no_labels_or_are_in_no_known_order(undrawn_stamps):
    about = DrawnImages(str(undrawn_stamps))
    with pytest.raises(ValueError, match=r"Fixed has no method set_label\(position, annotations\)"):
        about.part(Fixed())
    nameless = type("Nameless", (Fixed,), {"set_label": lambda self, position, rows: None})
    with pytest.raises(
        ValueError, match="lists 30 images, the train dataset has 29 examples and no `ids`"
    ):
        about.part(nameless())
    whole = Street(undrawn_stamps, "train.json")
    with pytest.raises(FileNotFoundError, match="30 of 30 images of .* are not there, first"):
        DrawnImages(str(undrawn_stamps), images="pictures").part(whole)
    part = about.part(whole)
    assert part.pool.ids.tolist() == whole.ids
    assert part.image(3).shape[2] == 3
    some = Subset(whole, [5, 2])
    put_labels(some, {1: [{"bbox": [1, 2, 3, 4], "category_id": 1}]})
    assert whole[2][1]["boxes"].tolist() == [[1, 2, 3, 4]]
    assert len(whole[5][1]["boxes"]) == 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_boxes_of_a_real_server_reach_the_users_dataset(
    undrawn_stamps, stamps_folder, tmp_path, annotation_server, monkeypatch
):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", label_studio.TOKEN)
    oracle = {
        "_target_": "coreset.trainers.oracles.label_studio.LabelStudio", "_partial_": True,
        "url": str(annotation_server.base_url),
    }  # fmt: skip
    true = read_part(stamps_folder, "train.json", "images")
    places = {k: i for i, k in enumerate(true.pool.ids.tolist())}
    ids = LightningLearner(
        LitCount(), StreetData(str(undrawn_stamps)), CPU, drawn={"root": str(undrawn_stamps)}
    ).part.pool.ids.tolist()
    LitCount.seen.clear()
    for _ in range(2):
        with pytest.raises(AwaitingLabels):
            active(undrawn_stamps, tmp_path, "run", oracle, drawn={"root": str(undrawn_stamps)})
        number = json.loads((tmp_path / "run" / "label_studio.json").read_text())["project"]
        for task in tasks(annotation_server, number):
            if not task["annotations"]:
                label_studio.annotate(
                    annotation_server,
                    task["id"],
                    boxes_of(true, places[ids[task["data"]["index"]]]),
                )
    ran = active(undrawn_stamps, tmp_path, "run", oracle, drawn={"root": str(undrawn_stamps)})
    assert len(ran.selection.indices) == 7
    for image, boxes, kinds in LitCount.seen:
        rows = true.annotations[places[image]]
        assert kinds == [row["category_id"] for row in rows]
        np.testing.assert_allclose(boxes, [row["bbox"] for row in rows], atol=1e-3)
    assert {image for image, _, _ in LitCount.seen} == {ids[i] for i in ran.selection.indices}
