"""The data set maker: exact boxes and masks, imbalance as asked, no image that depends on another."""

import contextlib
import io
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO


@pytest.fixture(scope="module")
def coco(stamps_folder):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(stamps_folder / "train.json"))


def test_boxes_and_areas_are_those_of_the_masks(coco):
    rows = coco.dataset["annotations"]
    assert len(rows) > 10
    for row in rows:
        mask = coco.annToMask(row).astype(bool)
        ys, xs = np.nonzero(mask)
        assert row["bbox"] == [xs.min(), ys.min(), xs.max() + 1 - xs.min(), ys.max() + 1 - ys.min()]
        assert row["area"] == mask.sum()


def test_no_two_objects_share_a_pixel_and_some_images_are_empty(coco):
    per_image = [coco.loadAnns(coco.getAnnIds(imgIds=[i])) for i in coco.getImgIds()]
    assert any(not rows for rows in per_image)
    for rows in per_image:
        if rows:
            assert np.sum([coco.annToMask(r) for r in rows], axis=0).max() == 1


def test_fifteen_classes_of_many_cutouts(stamps):
    cutouts = stamps.cutouts()
    assert len(cutouts) == len(stamps.CLASSES) == 15
    assert min(len(c) for c in cutouts) >= 5
    assert all(p.getchannel("A").getextrema()[1] > 127 for c in cutouts for p in c)


def test_imbalance_and_a_larger_set_begins_with_the_smaller(stamps, tmp_path):
    a = stamps.build(tmp_path / "a", 12, 1, size=(48, 36), classes=3, imbalance=50, most=6)
    b = stamps.build(tmp_path / "b", 6, 1, size=(48, 36), classes=3, imbalance=50, most=6)
    first, second = (json.loads((f / "train.json").read_text()) for f in (a, b))
    assert first["images"][:6] == second["images"]
    assert first["annotations"][: len(second["annotations"])] == second["annotations"]
    for image in second["images"]:
        assert np.array_equal(
            *(np.asarray(Image.open(f / "images" / image["file_name"])) for f in (a, b))
        )
    counts = np.bincount([r["category_id"] for r in first["annotations"]], minlength=4)[1:]
    assert counts[0] > counts[1] > counts[2]


def test_run_lengths_begin_with_the_background(stamps):
    from pycocotools import mask as codec

    for mask in (
        np.zeros((3, 4), bool),
        np.ones((3, 4), bool),
        np.eye(3, 4, dtype=bool),
        np.arange(12).reshape(3, 4) > 5,
    ):
        coded = stamps.run_lengths(mask)
        assert np.array_equal(codec.decode(codec.frPyObjects(coded, 3, 4)).astype(bool), mask)
        assert sum(coded["counts"]) == 12
