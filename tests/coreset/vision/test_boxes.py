import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from coreset.vision import Detections
from coreset.vision.coco import CocoPool


def instances(tmp_path, **change):
    data = {
        "images": [
            {"id": 10 * (i + 1), "file_name": f"img/{i:04d}.jpg", "width": 100, "height": 50}
            for i in range(4)
        ],
        "annotations": [],
        "categories": [{"id": 3, "name": "cat"}, {"id": 8, "name": "dog"}],
        **change,
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(data))
    return path


@pytest.fixture
def pool(tmp_path):
    return CocoPool.from_coco(instances(tmp_path))


def entry(image_id=20, category_id=3, bbox=(10, 5, 20, 30), score=0.5, **more):
    return {
        "image_id": image_id,
        "category_id": category_id,
        "bbox": list(bbox),
        "score": score,
        **more,
    }


def test_results_come_in_the_order_of_the_pool_with_empty_images(pool, tmp_path):
    path = tmp_path / "results.json"
    path.write_text(
        json.dumps(
            [entry(30, 8, (0, 0, 5, 5), 0.25), entry(10), entry(30, 3, (1, 2, 3, 4), 0.75, tilt=2)]
        )
    )
    detections = Detections.from_coco_results(path, pool)
    assert detections.ids.tolist() == [10, 20, 30, 40]
    assert detections.image.tolist() == [0, 2, 2]
    # width and height became corners
    assert detections.boxes.tolist() == [[10, 5, 30, 35], [0, 0, 5, 5], [1, 2, 4, 6]]
    assert detections.scores.tolist() == [0.5, 0.25, 0.75]
    assert detections.labels.tolist() == [3, 8, 3]
    assert detections.offsets.tolist() == [0, 1, 1, 3, 3]
    assert detections.sizes.tolist() == [[100, 50]] * 4


def test_without_a_pool_only_the_images_in_the_file_or_those_named_were_looked_at(pool):
    rows = [entry(30), entry(10)]
    assert Detections.from_coco_results(rows).ids.tolist() == [30, 10]
    detections = Detections.from_coco_results(rows, images=[10, 20, 30])
    assert detections.ids.tolist() == [10, 20, 30]
    with pytest.raises(KeyError, match=r"no detections for 1 candidates, first 40"):
        detections.align(pool)
    assert detections.align(pool, missing="empty").offsets.tolist() == [0, 1, 1, 2, 2]
    with pytest.raises(KeyError, match="image 30 has detections but is not among"):
        Detections.from_coco_results(rows, images=[10])


def test_file_names_win_over_numbers_made_of_them(pool):
    # ultralytics writes int(stem) as image_id: 0003.jpg becomes 3, or here 20 although that is
    # another image
    detections = Detections.from_coco_results(
        [entry(20, file_name="0003.jpg"), entry("0001")], pool
    )
    assert detections.ids[detections.image].tolist() == [20, 40]
    assert detections.scores.tolist() == [0.5, 0.5]


def test_columns_of_the_user(pool):
    detections = Detections.from_coco_results(
        [entry(20, u=1.5), entry(10, u=2.5)], pool, columns=["u"]
    )
    assert detections.columns["u"].tolist() == [2.5, 1.5]
    with pytest.raises(ValueError, match=r"entry 1 \(image 10\) has no 'u'"):
        Detections.from_coco_results([entry(20, u=1.5), entry(10)], pool, columns=["u"])


def test_distributions_and_features_beside_the_file(pool, tmp_path):
    np.save(tmp_path / "f.npy", np.array([[1.0, 2.0], [3.0, 4.0]], np.float32))
    rows, probs = [entry(20), entry(10)], torch.tensor([[0.25, 0.75], [1.0, 0.0]])
    detections = Detections.from_coco_results(rows, pool, features=tmp_path / "f.npy", probs=probs)
    assert detections.image.tolist() == [0, 1]  # rows follow their boxes
    assert detections.features.tolist() == [[3, 4], [1, 2]]
    assert detections.probs.tolist() == [[1, 0], [0.25, 0.75]]
    with pytest.raises(
        ValueError,
        match=r"f.npy: expected one row for each of the 1 entries of results, got shape \(2, 2\)",
    ):
        Detections.from_coco_results(rows[:1], pool, features=tmp_path / "f.npy")
    with pytest.raises(ValueError, match="image 20: probs must be non-negative and sum to 1"):
        Detections.from_coco_results(rows, pool, probs=np.array([[3.0, 1.0], [0.5, 0.5]]))


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([], ValueError, "holds no detection at all"),
        ({"images": []}, ValueError, "no COCO results file, expected a list"),
        ([entry(99)], KeyError, r"results.json: 1 image ids are not in .*instances.json, first 99"),
        ([entry(20, 4)], ValueError, r"results.json: image 20: category 4 is not one of \[3, 8\]"),
        ([entry(score=float("nan"))], ValueError, r"results.json: image 20: scores must be finite"),
        (
            [entry(score=3.2)],
            ValueError,
            r"results.json: image 20: a score must lie in \[0, 1\]; pass logits",
        ),
        (
            [entry(bbox=(90, 0, 20, 5))],
            ValueError,
            r"results.json: image 20: the box lies outside the image",
        ),
        (
            [entry(bbox=(5, 0, -2, 5))],
            ValueError,
            r"results.json: image 20: a box must be x1, y1, x2, y2",
        ),
        (
            [entry(bbox=(1, 2, 3))],
            ValueError,
            r"results.json: image 20: bbox: expected 4 numbers, got \[1, 2, 3\]",
        ),
        (
            [entry(), entry(30, "cat")],
            ValueError,
            r"results.json: image 30: category_id: expected a whole number, got 'cat'",
        ),
        (
            [entry(), entry(30, 1.5)],
            ValueError,
            r"results.json: image 30: category_id: expected a whole number, got 1.5",
        ),
        (
            [entry(), entry(30, score=None)],
            ValueError,
            r"results.json: image 30: scores must be finite",
        ),
        (
            [entry(), entry(30, bbox=(1, 2))],
            ValueError,
            r"results.json: image 30: bbox: expected 4 numbers, got \[1, 2\]",
        ),
        (
            [{"image_id": 20, "bbox": [0, 0, 1, 1], "score": 1}],
            ValueError,
            r"entry 0 \(image 20\) has no 'category_id'",
        ),
        (
            [entry(segmentation={"size": [100, 50], "counts": "0"})],
            ValueError,
            r"results.json: image 20: a mask of \[100, 50\].* in an image of \[50, 100\]",
        ),
    ],
)
def test_bad_results_name_file_and_image(pool, tmp_path, rows, error, message):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(rows))
    with pytest.raises(error, match=message):
        Detections.from_coco_results(path, pool)


def test_a_file_that_is_no_json_is_named(pool, tmp_path):
    (tmp_path / "r.json").write_text("[")
    with pytest.raises(ValueError, match="r.json: not a JSON file"):
        Detections.from_coco_results(tmp_path / "r.json", pool)


def test_clipping_is_asked_for(pool):
    detections = Detections.from_coco_results([entry(bbox=(90, -4, 20, 5))], pool, outside="clip")
    assert detections.boxes.tolist() == [[90, 0, 100, 1]]
    Detections.from_coco_results([entry(bbox=(80.5, 0, 20, 5))], pool)  # half a pixel is rounding


def test_torchvision_outputs_with_distributions(pool):
    outputs = [
        {
            "boxes": torch.tensor([[0.0, 0, 5, 5], [1, 1, 2, 2]]),
            "labels": torch.tensor([1, 2]),
            "scores": torch.tensor([0.9, 0.5]),
        },
        {
            "boxes": torch.zeros(0, 4),
            "labels": torch.zeros(0, dtype=torch.int64),
            "scores": torch.zeros(0),
        },
    ]
    for out, n in zip(outputs, (2, 0), strict=True):
        out["probs"], out["features"] = torch.full((n, 4), 0.25), torch.ones(n, 6)
    detections = Detections.from_torchvision(outputs, [20, 10], pool, categories={1: 8, 2: 3})
    assert detections.ids.tolist() == [20, 10]
    assert detections.labels.tolist() == [8, 3]
    assert detections.probs.shape == (2, 4)
    assert detections.features.shape == (2, 6)
    assert detections.align(pool, missing="empty").offsets.tolist() == [0, 0, 2, 2, 2]
    with pytest.raises(ValueError, match="image 20: class 2 has no category"):
        Detections.from_torchvision(outputs, [20, 10], pool, categories={1: 8})
    with pytest.raises(ValueError, match="2 images but 1 ids"):
        Detections.from_torchvision(outputs, [20], pool)
    with pytest.raises(ValueError, match="category 1 is not one of"):
        Detections.from_torchvision(outputs, [20, 10], pool)
    empty = Detections.from_torchvision(outputs[1:], [20])
    assert empty.boxes.shape == (0, 4)
    # an untrained detector finds nothing anywhere: scores and distances still work
    assert empty.probs.shape == (0, 4)
    assert empty.features.shape == (0, 6)


# Stand-ins of the documented shape: neither ultralytics nor supervision is a dependency, and
# neither is installed where this runs.
def ultralytics_result(path, xyxy, conf, cls):
    boxes = SimpleNamespace(
        xyxy=torch.tensor(xyxy).reshape(-1, 4), conf=torch.tensor(conf), cls=torch.tensor(cls)
    )
    return SimpleNamespace(
        path=path, names={0: "dog", 1: "cat", 2: "horse"}, boxes=boxes, orig_shape=(50, 100)
    )


def test_ultralytics_results_match_stems_and_class_names(pool):
    results = [
        ultralytics_result("/data/img/0002.jpg", [[0.0, 0, 9, 9]], [0.5], [0.0]),
        ultralytics_result("/data/img/0000.jpg", [], [], []),
    ]
    detections = Detections.from_ultralytics(results, pool)
    assert detections.ids.tolist() == [30, 10]
    assert detections.labels.tolist() == [8]
    assert Detections.from_ultralytics(results).ids.tolist() == ["0002", "0000"]
    with pytest.raises(ValueError, match=r"0002.jpg': class 2 has no category"):
        Detections.from_ultralytics(
            [ultralytics_result("/data/img/0002.jpg", [[0.0, 0, 9, 9]], [0.5], [2.0])], pool
        )
    with pytest.raises(ValueError, match="has no boxes"):
        Detections.from_ultralytics([SimpleNamespace(path="a.jpg", boxes=None)])


def test_supervision_detections(pool):
    d = SimpleNamespace(
        xyxy=np.array([[0.0, 0, 5, 5]]), confidence=np.array([0.4]), class_id=np.array([8])
    )
    detections = Detections.from_supervision([d], [40], pool)
    assert detections.ids.tolist() == [40]
    assert detections.boxes.tolist() == [[0, 0, 5, 5]]
    with pytest.raises(ValueError, match="image 40 has"):
        Detections.from_supervision(
            [SimpleNamespace(xyxy=d.xyxy, confidence=None, class_id=d.class_id)], [40], pool
        )


def test_rows_are_put_in_the_order_of_the_images_stably():
    detections = Detections(
        [5, 6],
        [1, 0, 1],
        np.arange(12).reshape(3, 4) % 4,
        [0.1, 0.2, 0.3],
        [1, 2, 3],
        features=np.eye(3),
        columns={"u": np.array([7, 8, 9])},
    )
    assert detections.scores.tolist() == [0.2, 0.1, 0.3]
    assert detections.features.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
    assert detections.columns["u"].tolist() == [8, 7, 9]
    assert detections.keep(detections.scores > 0.15).columns["u"].tolist() == [8, 9]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": [5, 5]}, r"twice: \[5\]"),
        ({"image": [0, 2]}, "positions in the 2 ids"),
        ({"boxes": np.zeros((2, 5))}, r"boxes: expected shape \(2, 4\), got \(2, 5\)"),
        ({"scores": [0.1]}, r"scores: expected shape \(2\), got \(1,\)"),
        (
            {"probs": np.array([[0.5, 0.5], [0.9, 0.9]])},
            "image 6: probs must be non-negative and sum to 1",
        ),
        ({"probs": np.zeros(2)}, r"probs: expected shape \(2, C\)"),
        ({"features": np.array([[1.0], [np.inf]])}, "image 6: features must be finite"),
        ({"columns": {"u": np.array([np.nan, 1.0])}}, "image 5: u must be finite"),
        ({"columns": {"u": np.array([1.0])}}, "u: expected shape"),
        ({"sizes": np.ones((1, 2))}, r"sizes: expected shape \(2, 2\)"),
    ],
)
def test_bad_tables(change, message):
    good = {
        "ids": [5, 6],
        "image": [0, 1],
        "boxes": np.zeros((2, 4)),
        "scores": [0.1, 0.2],
        "labels": [1, 1],
    }
    with pytest.raises(ValueError, match=message):
        Detections(**{**good, **change})


def test_no_detections_at_all_can_be_said(pool):
    detections = Detections.nothing(pool.ids)
    assert len(detections) == 0
    assert detections.align(pool).offsets.tolist() == [0] * 5
