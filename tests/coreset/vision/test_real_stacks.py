"""The packages users have, as they are: ultralytics and supervision give detections; they, globox
and Label Studio's own SDK read what a selection writes.
"""

import json
import os
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from coreset.vision import Detections, aggregate, box_scores, select
from coreset.vision.coco import CocoPool

ROOT = Path(__file__).parent.parent.parent.parent
NAMES = {3: "cat", 8: "dog"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve photographs of noise with their instances file, in two sizes."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "images").mkdir()
    rng, images = np.random.default_rng(0), []
    for i in range(12):
        width, height = (96, 64) if i % 2 else (64, 96)
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(
            folder / "images" / f"p{i:02d}.png"
        )
        images.append(
            {"id": 100 + i, "file_name": f"p{i:02d}.png", "width": width, "height": height}
        )
    categories = [{"id": k, "name": v} for k, v in NAMES.items()]
    (folder / "instances.json").write_text(
        json.dumps({"images": images, "annotations": [], "categories": categories})
    )
    return folder


@pytest.fixture(scope="module")
def ultralytics(tmp_path_factory):
    home = tmp_path_factory.mktemp("ultralytics")
    (home / "Ultralytics").mkdir()
    (home / "Ultralytics" / "Arial.ttf").touch()  # it would look for this font on the network
    os.environ |= {"YOLO_OFFLINE": "true", "YOLO_CONFIG_DIR": str(home), "YOLO_VERBOSE": "false"}
    with warnings.catch_warnings():
        return pytest.importorskip(
            "ultralytics", reason="pip install ultralytics opencv-python-headless"
        )


@pytest.fixture(scope="module")
def picked(folder):
    """A pool, boxes of a made-up model, and five images chosen by them."""
    pool = CocoPool.from_coco(folder / "instances.json")
    rng, rows = np.random.default_rng(1), []
    for i, (width, height) in enumerate(pool.sizes.tolist()):
        for _ in range(i % 4):
            x, y = rng.uniform(0, width - 20), rng.uniform(0, height - 20)
            box = [x, y, rng.uniform(5, width - x), rng.uniform(5, height - y)]
            rows.append(
                {
                    "image_id": 100 + i,
                    "category_id": int(rng.choice([3, 8])),
                    "bbox": box,
                    "score": float(rng.uniform(0.2, 1)),
                }
            )
    detections = Detections.from_coco_results(rows, pool)
    scores = aggregate(
        detections,
        box_scores(detections, "binary_entropy"),
        "sum",
        score_threshold=0.2,
        min_size=0,
        empty="quota:0.2",
    )
    return pool, detections, select(pool, 5, scores=scores)


def boxes_of(detections, chosen, threshold):
    """What was chosen, as {file name: sorted rows of (category id, x1, y1, x2, y2)}."""
    out = {}
    for name, at in zip(
        chosen.pool.names[chosen.indices].tolist(), chosen.indices.tolist(), strict=True
    ):
        rows = np.flatnonzero((detections.image == at) & (detections.scores >= threshold))
        out[name] = sorted((int(detections.labels[r]), *detections.boxes[r].tolist()) for r in rows)
    return out


@pytest.mark.slow
def test_results_of_a_real_yolo(folder, ultralytics):
    torch.manual_seed(0)
    model = ultralytics.YOLO("yolo11n.yaml", task="detect", verbose=False)
    model.model.names = {0: "dog", 1: "cat", **{i: f"c{i}" for i in range(2, 80)}}
    results = model.predict(
        str(folder / "images"),
        conf=1e-6,
        max_det=5,
        imgsz=96,
        classes=[0, 1],
        verbose=False,
        save=False,
    )
    assert sum(len(r.boxes) for r in results) > 0
    pool = CocoPool.from_coco(folder / "instances.json")
    detections = Detections.from_ultralytics(results, pool, outside="clip").align(pool)
    for i, r in enumerate(sorted(results, key=lambda r: r.path)):
        mine = slice(*detections.offsets[i : i + 2])
        np.testing.assert_allclose(detections.scores[mine], r.boxes.conf.cpu().numpy(), rtol=1e-6)
        assert detections.labels[mine].tolist() == [
            {0: 8, 1: 3}[int(c)] for c in r.boxes.cls
        ]  # by name
        np.testing.assert_allclose(detections.boxes[mine], r.boxes.xyxy.cpu().numpy(), atol=1.0)
    assert Detections.from_ultralytics(results).ids.tolist() == [Path(r.path).stem for r in results]
    supervision = pytest.importorskip("supervision")
    same = Detections.from_supervision(
        [supervision.Detections.from_ultralytics(r) for r in results],
        [Path(r.path).name for r in results],
        pool,
        categories={0: 8, 1: 3},
        outside="clip",
    ).align(pool)
    np.testing.assert_array_equal(same.boxes, detections.boxes)
    np.testing.assert_array_equal(same.labels, detections.labels)


def test_supervision_with_and_without_boxes(folder):
    supervision = pytest.importorskip("supervision", reason="pip install supervision")
    pool = CocoPool.from_coco(folder / "instances.json")
    some = supervision.Detections(
        xyxy=np.array([[1.0, 2, 30, 40], [0, 0, 5, 5]]),
        confidence=np.array([0.9, 0.4]),
        class_id=np.array([8, 3]),
    )
    detections = Detections.from_supervision(
        [some, supervision.Detections.empty(), some[some.confidence > 0.5]], [101, 100, 104], pool
    ).align(pool, missing="empty")
    assert np.diff(detections.offsets)[[0, 1, 4]].tolist() == [0, 2, 1]
    assert detections.labels.tolist() == [8, 3, 8]


def test_supervision_reads_the_coco_and_the_yolo_files(folder, picked, tmp_path):
    supervision = pytest.importorskip("supervision", reason="pip install supervision")
    _, detections, chosen = picked
    written = chosen.to_coco(tmp_path / "next.json", detections, 0.3)
    data = supervision.DetectionDataset.from_coco(str(folder / "images"), str(written))
    assert len(data) == 5
    names = {c: k for c, k in enumerate(data.classes)}
    by_name = {v: k for k, v in NAMES.items()}
    read = {
        Path(p).name: sorted(
            (by_name[names[int(c)]], *b.tolist()) for b, c in zip(d.xyxy, d.class_id, strict=True)
        )
        for p, _, d in data
    }
    want = boxes_of(detections, chosen, 0.3)
    assert read.keys() == want.keys()
    for name, rows in want.items():
        np.testing.assert_allclose(
            np.array(read[name]).reshape(-1, 5), np.array(rows).reshape(-1, 5), atol=1e-3
        )


def test_ultralytics_reads_the_yolo_files(folder, picked, ultralytics, tmp_path):
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    pool, detections, chosen = picked
    root = tmp_path / "yolo"
    yaml = chosen.to_yolo(root, detections, 0.3)
    (root / "images").symlink_to(folder / "images")
    data = check_det_dataset(str(yaml), autodownload=False)
    assert list(data["names"].values()) == ["cat", "dog"]
    read = YOLODataset(
        img_path=data["train"], data=data, task="detect", augment=False, imgsz=96, batch_size=2
    )
    assert sorted(Path(f).name for f in read.im_files) == sorted(
        pool.names[chosen.indices].tolist()
    )
    want = boxes_of(detections, chosen, 0.3)
    for label in read.labels:
        name = Path(label["im_file"]).name
        height, width = label["shape"]
        x, y, w, h = (label["bboxes"] * [width, height, width, height]).T
        rows = sorted(
            zip(
                [sorted(NAMES)[int(c)] for c in label["cls"][:, 0]],
                x - w / 2,
                y - h / 2,
                x + w / 2,
                y + h / 2,
                strict=True,
            )
        )
        np.testing.assert_allclose(
            np.array(rows).reshape(-1, 5), np.array(want[name]).reshape(-1, 5), atol=1e-3
        )


def test_globox_reads_the_cvat_file(picked, tmp_path):
    globox = pytest.importorskip("globox", reason="pip install globox")
    _, detections, chosen = picked
    read = globox.AnnotationSet.from_cvat(chosen.to_cvat(tmp_path / "a.xml", detections, 0.3))
    want = boxes_of(detections, chosen, 0.3)
    assert set(read.image_ids) == set(want)
    by_name = {v: k for k, v in NAMES.items()}
    for name, rows in want.items():
        got = sorted((by_name[b.label], b.xmin, b.ymin, b.xmax, b.ymax) for b in read[name].boxes)
        np.testing.assert_allclose(
            np.array(got).reshape(-1, 5), np.array(rows).reshape(-1, 5), atol=0.006
        )  # two digits
        assert read[name].image_size == tuple(chosen.pool.sizes[chosen.pool.places[name]])


CHECK = """
import json, sys
from label_studio_sdk.label_interface import LabelInterface
names = "".join(f'<Label value="{n}"/>' for n in ("cat", "dog"))
known = LabelInterface(f'<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">{names}</RectangleLabels></View>')
tasks = json.load(open(sys.argv[1]))
errors = [e for t in tasks for p in t["predictions"] for e in known.validate_prediction(p, return_errors=True)]
errors += [f"no {o.value_name}" for t in tasks for o in known.objects if t["data"].get(o.value_name) is None]
print(json.dumps([len(tasks), errors]))
"""


@pytest.mark.slow
def test_label_studio_accepts_the_tasks(picked, tmp_path):
    # of its own: its pins contradict ours
    python = ROOT / ".cache" / "label-studio" / "bin" / "python"
    if not python.exists():
        pytest.skip("make tools installs label-studio-sdk beside the project")
    _, detections, chosen = picked

    def check(path):
        ran = subprocess.run(
            [python, "-c", CHECK, path], capture_output=True, text=True, check=True
        )
        return json.loads(ran.stdout.splitlines()[-1])

    written = chosen.to_label_studio(tmp_path / "tasks.json", detections, 0.3)
    assert check(written) == [5, []]
    broken = written.read_text().replace('"cat"', '"cow"').replace('"dog"', '"cow"')
    (tmp_path / "broken.json").write_text(broken)
    assert check(tmp_path / "broken.json")[1]  # it does look
