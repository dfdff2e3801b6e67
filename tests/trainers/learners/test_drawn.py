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

from own_detection import LitCount, LitWrites, OutlinesData, Street, StreetData, area

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


def test_two_processes_by_ddp_train_on_the_masks_that_were_drawn(
    undrawn_stamps, stamps_folder, tmp_path
):
    learner = LightningLearner(
        LitWrites(str(tmp_path)), OutlinesData(str(undrawn_stamps)),
        {**CPU, "devices": 2, "strategy": "ddp"}, drawn={"root": str(undrawn_stamps), "masks": True},
    )  # fmt: skip
    true, indices = read_part(stamps_folder, "train.json", "images"), np.array([3, 8, 12, 20])
    places = {k: i for i, k in enumerate(true.pool.ids.tolist())}
    expected = {}
    for i in indices.tolist():
        number = learner.part.pool.ids[i].item()
        rows = true.annotations[places[number]]
        learner.part.put(i, rows)
        height, width = true.image(places[number]).shape[:2]
        areas = [area(row["segmentation"], height, width) for row in rows]
        expected[number] = {"id": number, "boxes": [r["bbox"] for r in rows], "areas": areas}
    ran = learner.fit(indices, np.zeros(learner.size, np.int64), seed=(0, 1))
    assert ran.info["fit"]["processes"] == 2
    files = [tmp_path / f"seen-{rank}.jsonl" for rank in range(2)]
    each = [[json.loads(line) for line in file.read_text().splitlines()] for file in files]
    assert [len(rows) for rows in each] == [2, 2]
    seen = {row["id"]: row for rows in each for row in rows}
    assert seen.keys() == expected.keys()
    for number, row in seen.items():
        assert row["areas"] == expected[number]["areas"]
        np.testing.assert_allclose(row["boxes"], expected[number]["boxes"], atol=1e-3)
    assert sum(sum(row["areas"]) for row in seen.values()) > 0


class Halved(Street):
    """Shows images at half their size."""

    def __getitem__(self, i):
        pixels, target = super().__getitem__(i)
        return pixels[:, ::2, ::2], target


class HalvedData(StreetData):
    def setup(self, stage):
        self.train, self.test = Halved(self.root, self.name), Halved(self.root, "test.json")


class LitFinds(LitCount):
    """Finds a sure object in the upper left, an unsure one, and one of no category."""

    def predict_step(self, batch, batch_idx):
        _, _, height, width = batch[0].shape
        masks = torch.zeros(3, 1, height, width)
        masks[:, :, 2:8, 4:20] = 0.9
        boxes = torch.tensor([[4.0, 2.0, 20.0, 8.0]] * 3)
        one = {
            "boxes": boxes, "labels": torch.tensor([2, 1, 99]),
            "scores": torch.tensor([0.8, 0.2, 0.9]), "masks": masks,
        }  # fmt: skip
        return [one] * len(batch[0])


class LitMaps(LitCount):
    """Logits of a class at every pixel, at a quarter of the size."""

    def predict_step(self, batch, batch_idx):
        count, _, height, width = batch[0].shape
        logits = torch.zeros(count, 3, height // 4, width // 4)
        logits[:, 0], logits[:, 2, : height // 8] = 1.0, 5.0
        return logits


def finder(root, module=LitFinds, **drawn):
    return LightningLearner(
        module(), HalvedData(str(root)), CPU, drawn={"root": str(root), **drawn}
    )


def test_a_detector_proposes_boxes_and_masks_in_the_size_of_the_file(undrawn_stamps):
    indices = np.array([4, 9, 1])
    with pytest.warns(UserWarning, match=r"classes \[99\] are no category ids of"):
        rows = finder(undrawn_stamps).propose(indices)
    for (row,) in rows:
        assert row["category_id"] == 2
        assert row["score"] == pytest.approx(0.8)
        assert row["bbox"] == pytest.approx([8, 4, 32, 12])
    assert [len(r) for r in finder(undrawn_stamps, prelabels=0.1).propose(indices)] == [2, 2, 2]
    learner = finder(undrawn_stamps, masks=True)
    for at, (row,) in zip(indices, learner.propose(indices), strict=True):
        width, height = learner.part.pool.sizes[at].tolist()
        expected = np.zeros((height, width), bool)
        expected[4:16, 8:40] = True
        assert (row["segmentation"] != expected).sum() <= 8  # bilinear corners


def test_a_class_map_proposes_one_mask_a_class(undrawn_stamps):
    learner = finder(undrawn_stamps, LitMaps, masks=True)
    ((row,),) = learner.propose(np.array([5]))
    width, height = learner.part.pool.sizes[5].tolist()
    assert row["category_id"] == 2
    assert row["segmentation"].shape == (height, width)
    assert row["segmentation"].mean() == pytest.approx(0.5, abs=0.1)
    assert row["segmentation"][0].all()


def test_what_is_no_proposal_is_said_before_anything_trains(undrawn_stamps):
    with pytest.warns(UserWarning, match="people who draw see no proposals: expected of predict"):
        assert finder(undrawn_stamps, LitMaps).propose is None
    assert finder(undrawn_stamps, LitCount).propose is None
    with pytest.raises(ValueError, match="prelabels: expected a score in"):
        finder(undrawn_stamps, prelabels=3)


def test_people_see_what_the_module_of_the_round_before_proposes(
    undrawn_stamps, stamps_folder, tmp_path
):
    oracle = {"_target_": f"{__name__}.Asked", "_partial_": True, "truth": str(stamps_folder)}
    Asked.requests.clear()
    coreset.trainers.active(
        LitFinds(), HalvedData(str(undrawn_stamps)), strategy="kcenter", budget=[4, 7], trainer=CPU,
        baseline=(), oracle=oracle, folder=tmp_path / "run", drawn={"root": str(undrawn_stamps)},
    )  # fmt: skip
    first, second = Asked.requests
    assert first.drawn is None
    assert [[row["category_id"] for row in rows] for rows in second.drawn] == [[2]] * 3


class Asked(Annotator):
    requests: ClassVar[list] = []

    def check(self):
        pass

    def ask(self, request):
        self.requests.append(request)
        self.asked.update(request.indices.tolist())  # answers at once


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
