import contextlib
import io
import json
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml

from coreset.core.pool import Pool
from coreset.core.selection import Selection
from coreset.vision import CocoPool, Detections, ImageScores, ImageSelection, select

POOL = CocoPool(
    3,
    ids=np.array([11, 12, 13]),
    names=np.array(["a/x.jpg", "a/y.png", "z & w.jpg"]),
    sizes=np.array([[100, 50], [40, 80], [10, 10]]),
    categories={7: "cat", 2: 'the "dog"'},
    source="all.json",
)
FOUND = Detections(
    [13, 11],
    [1, 1, 1, 0],
    [[10, 5, 30, 25], [0, 0, 100, 50], [1, 1, 2, 2], [0, 0, 5, 10]],
    [0.6, 0.9, 0.1, 0.5],
    [7, 2, 7, 2],
)
CHOSEN = ImageSelection.over(POOL, Selection([2, 0], scores=[0.5, 0.25], ids=np.array([13, 11])))


def test_coco_in_order_with_prelabels(tmp_path):
    data = json.loads(CHOSEN.to_coco(tmp_path / "out.json", FOUND, 0.3).read_text())
    assert data["images"] == [
        {"id": 13, "file_name": "z & w.jpg", "width": 10, "height": 10, "priority": 0},
        {"id": 11, "file_name": "a/x.jpg", "width": 100, "height": 50, "priority": 1},
    ]
    assert data["categories"] == [{"id": 2, "name": 'the "dog"'}, {"id": 7, "name": "cat"}]
    assert [
        (a["image_id"], a["category_id"], a["bbox"], a["score"], a["area"], a["id"])
        for a in data["annotations"]
    ] == [
        (13, 2, [0, 0, 5, 10], 0.5, 50, 1),
        (11, 2, [0, 0, 100, 50], 0.9, 5000, 2),  # the surest box first
        (11, 7, [10, 5, 20, 20], 0.6, 400, 3),
    ]
    known = [
        {"id": 5, "image_id": 11, "category_id": 7, "bbox": [0, 0, 1, 1]},
        {"id": 6, "image_id": 12, "category_id": 7, "bbox": [0, 0, 1, 1]},
    ]
    data = json.loads(CHOSEN.to_coco(tmp_path / "train.json", annotations=known).read_text())
    assert data["annotations"] == [
        {"id": 1, "image_id": 11, "category_id": 7, "bbox": [0, 0, 1, 1]}
    ]


def test_pycocotools_reads_it(tmp_path):
    coco = pytest.importorskip(
        "pycocotools.coco", reason="pycocotools is not installed: pip install pycocotools"
    )
    evaluation = pytest.importorskip(
        "pycocotools.cocoeval", reason="pycocotools is not installed: pip install pycocotools"
    )
    path = CHOSEN.to_coco(tmp_path / "out.json", FOUND, 0.3)
    with contextlib.redirect_stdout(io.StringIO()):
        read = coco.COCO(str(path))
        assert sorted(read.getImgIds()) == [11, 13]
        assert sorted(read.getCatIds()) == [2, 7]
        assert [a["bbox"] for a in read.loadAnns(read.getAnnIds(imgIds=[11]))] == [
            [0, 0, 100, 50],
            [10, 5, 20, 20],
        ]
        results = read.loadRes(
            [
                {k: a[k] for k in ("image_id", "category_id", "bbox", "score")}
                for a in read.dataset["annotations"]
            ]
        )
        run = evaluation.COCOeval(read, results, "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    assert run.stats[0] == pytest.approx(1)  # the boxes found again are the boxes written


def test_yolo(tmp_path):
    path = CHOSEN.to_yolo(tmp_path / "yolo", FOUND, 0.3)
    assert (tmp_path / "yolo/train.txt").read_text() == "./images/z & w.jpg\n./images/a/x.jpg\n"
    assert yaml.safe_load(path.read_text()) == {
        "path": str(tmp_path / "yolo"),
        "train": "train.txt",
        "val": "val.txt",
        "names": {0: 'the "dog"', 1: "cat"},
    }
    rows = [
        [float(v) for v in line.split()]
        for line in (tmp_path / "yolo/labels/a/x.txt").read_text().splitlines()
    ]
    assert rows == [[0, 0.5, 0.5, 1, 1], [1, 0.2, 0.3, 0.2, 0.4]]
    CHOSEN.to_yolo(tmp_path / "bare")
    assert not (tmp_path / "bare/labels").exists()


def test_label_studio(tmp_path):
    # No package that carries Label Studio's schema is installed: the structure is that of its
    # documented JSON task format.
    tasks = json.loads(
        CHOSEN.to_label_studio(tmp_path / "t.json", FOUND, 0.3, prefix="/data/?d=").read_text()
    )
    assert [t["data"] for t in tasks] == [
        {"image": "/data/?d=z & w.jpg", "image_id": 13, "priority": 0, "acquisition_score": 0.5},
        {"image": "/data/?d=a/x.jpg", "image_id": 11, "priority": 1, "acquisition_score": 0.25},
    ]
    # uncertainty sampling shows the lowest first
    assert [t["predictions"][0]["score"] for t in tasks] == [0, 0.5]
    box = tasks[1]["predictions"][0]["result"][1]
    assert box == {
        "id": "11-1",
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        "score": 0.6,
        "original_width": 100,
        "original_height": 50,
        "image_rotation": 0,
        "value": {
            "x": 10,
            "y": 10,
            "width": pytest.approx(20),
            "height": pytest.approx(40),
            "rotation": 0,
            "rectanglelabels": ["cat"],
        },
    }
    bare = json.loads(CHOSEN.to_label_studio(tmp_path / "b.json").read_text())
    assert [t["predictions"][0]["result"] for t in bare] == [[], []]


def test_an_image_without_a_score_gets_none(tmp_path):
    scores = ImageScores(POOL.ids, np.array([np.nan, 0.5, np.nan]), "last")
    chosen = select(POOL, 3, scores=scores)
    tasks = json.loads(chosen.to_label_studio(tmp_path / "t.json").read_text())
    assert [t["data"].get("acquisition_score") for t in tasks] == [0.5, None, None]
    assert "-1.0" not in (tmp_path / "t.json").read_text()


def test_no_label_file_leaves_its_folder(tmp_path):
    for name in ("/etc/x.jpg", "../x.jpg", "a/../../x.jpg"):
        pool = CocoPool(
            2,
            names=np.array(["a.jpg", name]),
            sizes=np.array([[9, 9], [9, 9]]),
            categories={1: "x"},
        )
        with pytest.raises(
            ValueError, match="image 1: file_name .* (is an absolute path|leaves the folder)"
        ):
            ImageSelection.over(pool, Selection([0, 1])).to_yolo(
                tmp_path / "yolo", Detections.nothing([0, 1]), 0.1
            )
        assert not list(tmp_path.iterdir())


def test_what_is_long_is_shown_in_one_line():
    for shown in (repr(CHOSEN), repr(FOUND), repr(ImageScores(POOL.ids, np.zeros(3), "last"))):
        assert "\n" not in shown
        assert len(shown) < 200


def test_cvat(tmp_path):
    # No package that carries CVAT's schema is installed: the structure is that of its documented
    # XML format 1.1.
    root = ElementTree.parse(CHOSEN.to_cvat(tmp_path / "annotations.xml", FOUND, 0.3)).getroot()
    assert root.findtext("version") == "1.1"
    assert [e.text for e in root.findall("meta/task/labels/label/name")] == ['the "dog"', "cat"]
    assert [
        (e.get("id"), e.get("name"), e.get("width"), e.get("height")) for e in root.findall("image")
    ] == [
        ("0", "z & w.jpg", "10", "10"),
        ("1", "a/x.jpg", "100", "50"),
    ]
    box = root.findall("image")[1].findall("box")[1]
    assert {k: box.get(k) for k in ("label", "xtl", "ytl", "xbr", "ybr", "source")} == {
        "label": "cat",
        "xtl": "10.00",
        "ytl": "5.00",
        "xbr": "30.00",
        "ybr": "25.00",
        "source": "auto",
    }
    assert (tmp_path / "annotations.txt").read_text() == "z & w.jpg\na/x.jpg\n"


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match=r"not those of all.json at its positions"):
        ImageSelection.over(POOL, Selection([0], ids=np.array([13])))
    with pytest.raises(ValueError, match=r"holds position 3, but the pool has 3 images"):
        ImageSelection.over(POOL, Selection([3]))
    with pytest.raises(TypeError, match=r"expected a pool of CocoPool.from_coco, got Pool"):
        ImageSelection.over(Pool(2), Selection([1])).to_coco(tmp_path / "x.json")
    with pytest.raises(ValueError, match="predictions and score_threshold go together"):
        CHOSEN.to_cvat(tmp_path / "x.xml", FOUND)
    with pytest.raises(ValueError, match="known or predicted"):
        CHOSEN.to_coco(tmp_path / "x.json", FOUND, 0.3, annotations=[])
    with pytest.raises(ValueError, match="image 13: category 9 is not one of"):
        CHOSEN.to_yolo(tmp_path, Detections([13], [0], [[0, 0, 1, 1]], [0.5], [9]), 0.1)
    assert not list(tmp_path.iterdir())
    duplicates = CocoPool(
        2, names=np.array(["a.jpg", "a.png"]), sizes=np.array([[9, 9], [9, 9]]), categories={1: "x"}
    )
    with pytest.raises(ValueError, match="image 1: another chosen image has the label file"):
        ImageSelection.over(duplicates, Selection([0, 1])).to_yolo(
            tmp_path, Detections.nothing([0, 1]), 0.1
        )
