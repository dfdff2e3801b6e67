import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as codec

from coreset.trainers.data.coco import coco_folder

IMAGES = [
    {"id": 7, "file_name": "a.png", "width": 8, "height": 6},
    {"id": 3, "file_name": "b.png", "width": 4, "height": 4},
]
CATEGORIES = [{"id": 9, "name": "nut"}, {"id": 2, "name": "tree"}]
SQUARE = [[1, 1, 3, 1, 3, 3, 1, 3]]
ROWS = [
    {
        "id": 1,
        "image_id": 7,
        "category_id": 9,
        "bbox": [0, 0, 4, 4],
        "iscrowd": 0,
        "segmentation": {"size": [6, 8], "counts": [0, 12, 36]},
    },
    {
        "id": 2,
        "image_id": 7,
        "category_id": 2,
        "bbox": [1, 1, 2, 2],
        "iscrowd": 0,
        "segmentation": SQUARE,
    },
    {
        "id": 3,
        "image_id": 7,
        "category_id": 2,
        "bbox": [6, 0, 2, 6],
        "iscrowd": 1,
        "segmentation": {"size": [6, 8], "counts": [36, 12]},
    },
    {
        "id": 4,
        "image_id": 7,
        "category_id": 2,
        "bbox": [5, 5, 0, 1],
        "iscrowd": 0,
        "segmentation": SQUARE,
    },
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for image in IMAGES:
        Image.fromarray(
            rng.integers(0, 256, (image["height"], image["width"], 3), dtype=np.uint8)
        ).save(tmp_path / "images" / image["file_name"])
    write(tmp_path, "train", ROWS)
    write(tmp_path, "test", [])
    return tmp_path


def write(folder, name, annotations, images=IMAGES, categories=CATEGORIES):
    (folder / f"{name}.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )


def load(folder):
    return coco_folder(str(folder), size=4, cache=str(folder / "cache"))


def test_classes_boxes_masks_and_main_classes(folder):
    data = load(folder)
    assert data.classes == ("background", "tree", "nut")  # by ascending id
    assert data.ids.tolist() == [7, 3]
    assert data.images.shape == (2, 4, 4, 3)
    assert data.labels.tolist() == [2, 0]  # the nut covers more; nothing in the other
    boxes, classes = data.part.boxes(0)
    assert boxes.tolist() == [[0, 0, 4, 4], [1, 1, 3, 3]]  # no crowd, no box without area
    assert classes.tolist() == [2, 1]
    assert data.part.boxes(0, crowd=True)[0].tolist() == [[6, 0, 8, 6]]
    want = np.zeros((6, 8), np.uint8)
    want[:, :2] = 2
    want[codec.decode(codec.merge(codec.frPyObjects(SQUARE, 6, 8))).astype(bool)] = 1
    want[:, 6:] = 255
    assert data.part.class_map(0).tolist() == want.tolist()
    assert not data.part.class_map(1).any()
    assert data.part.image(0).shape == (6, 8, 3)


def test_the_fingerprint_knows_the_annotations(folder):
    first = load(folder).fingerprint
    assert load(folder).fingerprint == first
    write(folder, "train", [{**ROWS[0], "bbox": [0, 0, 4, 5]}, *ROWS[1:]])
    assert load(folder).fingerprint != first


def test_bad_folders(folder):
    with pytest.raises(FileNotFoundError, match=r"train.json: no such file; set data.root"):
        coco_folder(str(folder / "nowhere"))
    write(folder, "test", [], categories=CATEGORIES[:1])
    with pytest.raises(ValueError, match=r"test.json: categories .* are not those of"):
        load(folder)
    write(folder, "test", [], images=[{**IMAGES[0], "file_name": "gone.png"}])
    with pytest.raises(FileNotFoundError, match=r"1 of 3 images are not there, first .*gone.png"):
        load(folder)
    write(folder, "test", [], images=[{**IMAGES[0], "width": 9}])
    data = load(folder)
    with pytest.raises(ValueError, match=r"a.png: 8 x 6 pixels, but .*test.json says 9 x 6"):
        data.test_part.image(0)
    write(folder, "train", [{k: v for k, v in ROWS[0].items() if k != "segmentation"}])
    with pytest.raises(ValueError, match="image 7: an annotation without 'segmentation'"):
        load(folder).part.class_map(0)


def test_a_file_name_outside_the_images_is_refused(tmp_path):
    about = {"categories": [{"id": 1, "name": "x"}], "annotations": []}
    for name, words in (
        ("/etc/hostname", "is an absolute path"),
        ("../../x.png", "leaves the folder of the images"),
    ):
        image = {"id": 7, "file_name": name, "width": 4, "height": 4}
        for part in ("train", "test"):
            (tmp_path / f"{part}.json").write_text(json.dumps({**about, "images": [image]}))
        with pytest.raises(ValueError, match=f"train.json: image 7: file_name .*{words}"):
            coco_folder(str(tmp_path), cache=str(tmp_path / "cache"))
