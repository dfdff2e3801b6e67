"""Arguments that look right and are not: masks, truth values as ids, plain arrays as scores, images
of one name in other folders.
"""

import json

import numpy as np
import pytest
import torch

from coreset.core.pool import Pool
from coreset.core.selection import Selection
from coreset.vision import CocoPool, Detections, select
from coreset.vision.aggregate import ImageScores
from coreset.vision.ledger import Ledger
from coreset.vision.segmentation import SegmentationScorer

IDS = np.array([1, 2, 3, 4])
MASKED = np.ma.masked_array([1.0, 9.0, 2.0, 3.0], mask=[False, True, False, False])


def coco(path, names):
    images = [
        {"id": i, "file_name": name, "width": 10, "height": 8} for i, name in enumerate(names, 1)
    ]
    data = {"images": images, "categories": [{"id": 1, "name": "cat"}], "annotations": []}
    path.write_text(json.dumps(data))
    return path


def test_an_image_of_the_same_name_in_another_folder_is_another_image(tmp_path):
    names = ["train/1.jpg", "train/2.jpg", "val/3.jpg"]
    pool = CocoPool.from_coco(coco(tmp_path / "all.json", names))
    ledger = Ledger(tmp_path / "al.jsonl")
    ledger.commit(Selection([0, 1, 2], ids=np.array([1, 2, 3])))
    with pytest.raises(ValueError, match=r"'train/1.jpg', in another folder"):
        ledger.ingest(coco(tmp_path / "f.json", ["val/1.jpg"]), pool, renumbered=True)
    assert ledger.ids("labeled") == []
    for given in (["/data/train/2.jpg"], ["3.png"]):
        ledger.ingest(coco(tmp_path / "f.json", given), pool, renumbered=True)
    assert ledger.ids("labeled") == [2, 3]


def test_truth_values_are_no_ids(tmp_path):
    ledger = Ledger(tmp_path / "al.jsonl")
    ledger.commit(Selection([0], ids=np.array([1])))
    for wrong in (True, None, [1]):
        with pytest.raises(TypeError, match="an image id is a whole number or a text, got"):
            ledger.ingest([wrong])
    assert ledger.ids("pending") == [1]


def test_scores_that_are_no_image_scores():
    with pytest.raises(TypeError, match="scores: expected ImageScores, .* got ndarray"):
        select(Pool(4), 2, scores=np.ones(4))


@pytest.mark.parametrize("line", ["[true]", "[NaN]", "[null]"])
def test_a_ledger_with_ids_that_are_none(tmp_path, line):
    path = tmp_path / "al.jsonl"
    path.write_text(f'{{"event": "commit", "ids": {line}}}\n')
    with pytest.raises(ValueError, match="line 1: .*an image id is a whole number or a text"):
        Ledger(path)


@pytest.mark.parametrize("limit", ["3", None, True, [3]])
def test_a_budget_that_is_no_number(limit):
    with pytest.raises(ValueError, match="budget: images: expected a positive number, got"):
        select(Pool(4), {"images": limit}, strategy="random")


@pytest.mark.parametrize("classes", [[1.5] * 4, [np.nan] * 4, [np.inf] * 4, list("abcd")])
def test_classes_that_are_no_whole_numbers(classes):
    with pytest.raises(ValueError, match="classes: expected one whole number per image"):
        select(Pool(4), 2, classes=classes, strategy="random_stratified")


@pytest.mark.parametrize("most", [1.5, True, "2"])
def test_a_most_per_group_that_is_no_whole_number(most):
    with pytest.raises(ValueError, match="max_per_group: expected at least 1"):
        select(Pool(4), 2, groups=IDS, max_per_group=most, strategy="random")


def test_maps_of_one_class_and_of_no_numbers():
    """The softmax of one class is 1 everywhere: its entropy says nothing."""
    one = torch.rand(1, 1, 4, 4)
    for maps in (one, one.numpy(), [one, one], [one.numpy()], one[None]):
        with pytest.raises(ValueError, match=r"at least two classes, got shape \(1, 1, 4, 4\)"):
            SegmentationScorer().update([7], maps)
    for maps in (torch.ones(1, 2, 4, 4, dtype=torch.uint8), [torch.ones(1, 2, 4, 4).int()], "ab"):
        with pytest.raises(TypeError, match="maps: expected floating-point tensors or arrays, got"):
            SegmentationScorer().update([7], maps)


def test_maps_as_arrays_are_maps_as_tensors():
    maps, values = torch.randn(2, 3, 4, 4), []
    for given in (maps, maps.numpy(), [maps], [maps.numpy()]):
        scorer = SegmentationScorer()
        scorer.update([7, 8], given)
        values.append(scorer.scores("mean", empty="exclude").values)
    for other in values[1:]:
        np.testing.assert_allclose(other, values[0], rtol=1e-6)


@pytest.mark.parametrize(
    "call",
    [
        lambda: select(Pool(4), {"boxes": 3}, costs={"boxes": MASKED}, strategy="random"),
        lambda: select(Pool(4), 2, groups=MASKED, max_per_group=1, strategy="random"),
        lambda: ImageScores(IDS, MASKED, "last"),
        lambda: ImageScores(MASKED, np.ones(4), "last"),
        lambda: Detections(IDS, IDS - 1, np.ones((4, 4)), MASKED / 10, IDS),
        lambda: Detections(IDS, IDS - 1, np.ones((4, 4)), IDS / 10, MASKED.astype(int)),
    ],
)
def test_masks_are_not_ignored(call):
    with pytest.raises(ValueError, match=r"masked, first 1"):
        call()
