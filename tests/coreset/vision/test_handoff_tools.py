"""1,000 images handed out, edited by the tool's own code with permuted ids and renamed files, and
read back: none lost, none misassigned. Label Studio's server takes a quarter of a second for every
annotation: 200 here, 1,000 in `scripts/benchmarks/handoffs.py`.
"""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from coreset.core.selection import Selection
from coreset.vision import CocoPool, Detections, ImageSelection
from coreset.vision.handoff import fiftyone as fiftyone_file
from coreset.vision.handoff import lightly as lightly_file
from coreset.vision.handoff import read_coco, read_cvat, read_label_studio, read_yolo
from coreset.vision.handoff.hugging_face import to_hugging_face
from tests.tools import label_studio
from tests.tools.envs import TOOLS, python_of, run_tool
from tests.tools.mongo import database

N = 1000
FEW = 200  # that somebody labels by hand
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]


@pytest.fixture(scope="module")
def pool() -> CocoPool:
    rng = np.random.default_rng(0)
    names = [f"part_{i % 5}/street {i:04d} é.jpg" for i in range(N)]
    sizes = rng.integers(20, 90, (N, 2))
    return CocoPool(
        N,
        ids=rng.permutation(10 * N)[:N],
        names=np.array(names),
        sizes=sizes,
        categories={3: "cat", 1: "dog", 8: "bus"},
    )


@pytest.fixture(scope="module")
def detections(pool: CocoPool) -> Detections:
    rng = np.random.default_rng(1)
    image = np.sort(rng.integers(0, N, 2500))
    low = rng.random((2500, 2)) * 0.5
    high = low + 0.1 + rng.random((2500, 2)) * 0.35
    boxes = np.round(np.concatenate([low, high], 1) * np.tile(pool.sizes[image], 2), 2)
    return Detections(pool.ids, image, boxes, rng.random(2500), rng.choice([1, 3, 8], 2500))


@pytest.fixture(scope="module")
def chosen(pool: CocoPool) -> ImageSelection:
    order = np.random.default_rng(2).permutation(N)
    return ImageSelection.over(
        pool, Selection(order, scores=np.linspace(1, 0, N), ids=pool.ids[order])
    )


@pytest.fixture(scope="module")
def images(pool: CocoPool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for name, size in zip(pool.names, pool.sizes, strict=True):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", tuple(size.tolist()), (90, 120, 40)).save(folder / name)
    return folder


def boxes_of(detections: Detections, pool: CocoPool) -> dict[int, list[tuple[str, list[float]]]]:
    out: dict[int, list[tuple[str, list[float]]]] = {i: [] for i in range(N)}
    for i, box, label in zip(detections.image, detections.boxes, detections.labels, strict=True):
        out[int(i)].append((pool.categories[int(label)], box.tolist()))
    return out


def assert_same(returned, expected, tolerance: float) -> None:
    pool = returned.pool
    assert sorted(returned.labeled.tolist()) == list(range(N))
    got: dict[int, list[tuple[str, list[float]]]] = {i: [] for i in range(N)}
    for s in returned.shapes:
        got[s.position].append((pool.categories[s.category], list(s.box)))
    for i in range(N):
        a = sorted(got[i], key=lambda s: (s[0], s[1]))
        b = sorted(expected[i], key=lambda s: (s[0], s[1]))
        assert [x[0] for x in a] == [x[0] for x in b], str(pool.names[i])
        if a:
            np.testing.assert_allclose(
                np.array([x[1] for x in a]), np.array([x[1] for x in b]), atol=tolerance
            )


@pytest.mark.parametrize(("form", "reader"), [("cvat", read_cvat), ("coco_instances", read_coco)])
def test_datumaro_reads_edits_and_writes(
    form, reader, pool, detections, chosen, images, tmp_path: Path
) -> None:
    python = python_of("datumaro")
    given = tmp_path / "given"
    if form == "cvat":
        chosen.to_cvat(given / "annotations.xml", detections, 0.0)
    else:
        chosen.to_coco(given / "annotations" / "instances_default.json", detections, 0.0)
    (given / "images").symlink_to(images)
    run_tool(python, TOOLS / "datumaro_round.py", form, given, tmp_path / "back", 5)
    file = next((tmp_path / "back").rglob("*.xml" if form == "cvat" else "instances_*.json"))
    expected = boxes_of(detections, pool)
    # datumaro's own order of items decides which got the extra box: count them by name
    returned = reader(file, pool)
    extra = [
        s
        for s in returned.shapes
        if s.box is not None and np.allclose(s.box, (1, 2, 4, 6), atol=1e-6)
    ]
    assert len(extra) == -(-N // 3)
    for shape in extra:
        expected[shape.position].append((pool.categories[shape.category], [1.0, 2.0, 4.0, 6.0]))
    assert_same(returned, expected, 0.011)
    assert len({s.position for s in extra}) == len(extra)


def test_a_yolo_folder_moved_and_numbered_anew_comes_back(
    pool, detections, chosen, tmp_path
) -> None:
    chosen.to_yolo(tmp_path / "a", detections, 0.0)
    back = tmp_path / "b"
    order = sorted(pool.categories)
    numbers = {0: 2, 1: 0, 2: 1}  # the tool numbers the classes its own way
    for k, file in enumerate(sorted((tmp_path / "a" / "labels").rglob("*.txt"))):
        lines = [line.split(" ", 1) for line in file.read_text().splitlines()]
        target = back / "labels" / f"batch_{k % 7}" / file.relative_to(tmp_path / "a" / "labels")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("".join(f"{numbers[int(c)]} {rest}\n" for c, rest in lines[::-1]))
    names = {numbers[i]: pool.categories[k] for i, k in enumerate(order)}
    (back / "classes.txt").write_text("\n".join(names[i] for i in range(3)))
    assert_same(read_yolo(back, pool), boxes_of(detections, pool), 1e-3)


def test_datasets_reads_the_hugging_face_folder(pool, detections, chosen, images, tmp_path) -> None:
    datasets = pytest.importorskip("datasets")
    folder = to_hugging_face(chosen.to_rows(images, detections, 0.0), tmp_path / "hf", "streets")
    loaded = datasets.load_dataset(
        "imagefolder", data_dir=str(folder), split="train", cache_dir=str(tmp_path / "cache")
    ).shuffle(seed=3)
    at = {str(k): i for i, k in enumerate(pool.ids.tolist())}
    expected = boxes_of(detections, pool)
    assert sorted(at[row] for row in loaded["id"]) == list(range(N))
    for row in loaded.remove_columns("image"):
        i, got = at[row["id"]], row["objects"]
        assert row["priority"] == int(np.flatnonzero(chosen.indices == i)[0])
        want = sorted((n, [b[0], b[1], b[2] - b[0], b[3] - b[1]]) for n, b in expected[i])
        have = sorted(zip(got["category"], got["bbox"], strict=True))
        assert [n for n, _ in have] == [n for n, _ in want]
        np.testing.assert_allclose([b for _, b in have], [b for _, b in want], atol=1e-6)
    for row in loaded.select(range(20)):
        assert list(row["image"].size) == pool.sizes[at[row["id"]]].tolist()


CONFIG = """<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">
<Label value="bus"/><Label value="cat"/><Label value="dog"/></RectangleLabels></View>"""


def test_label_studio_shows_takes_labels_and_exports(
    pool, detections, chosen, tmp_path: Path, annotation_server
) -> None:
    client = annotation_server
    tasks = json.loads(
        chosen.to_label_studio(
            tmp_path / "tasks.json", detections, 0.0, prefix="/data/local-files/?d=photos/"
        ).read_text()
    )[:FEW]
    by_name = {str(n): i for i, n in enumerate(pool.names)}
    expected = boxes_of(detections, pool)
    done, skipped = set(), set()
    number, held = label_studio.project(client, CONFIG, tasks)
    assert len(held) == FEW
    for task in np.random.default_rng(3).permutation(np.array(held, object)).tolist():
        at = by_name[task["data"]["image"].removeprefix("/data/local-files/?d=photos/")]
        kind = at % 10
        if kind == 8:
            continue
        if kind == 9:
            label_studio.annotate(client, task["id"], [], skip=True)
            skipped.add(at)
            continue
        result = [
            {k: v for k, v in r.items() if k != "score"} for r in task["predictions"][0]["result"]
        ]
        if kind == 0:
            value = {**label_studio.EXTRA, "rectanglelabels": ["bus"]}
            width, height = pool.sizes[at].tolist()
            result.append(
                {
                    "id": "extra",
                    "type": "rectanglelabels",
                    "from_name": "label",
                    "to_name": "image",
                    "original_width": width,
                    "original_height": height,
                    "image_rotation": 0,
                    "value": value,
                }
            )
            w, h = pool.sizes[at]
            expected[at].append(("bus", [0.1 * w, 0.2 * h, 0.4 * w, 0.6 * h]))
        label_studio.annotate(client, task["id"], result)
        done.add(at)
    native = tmp_path / "native.json"
    native.write_bytes(label_studio.export(client, number, "JSON", download_all_tasks="true"))
    (tmp_path / "coco.zip").write_bytes(label_studio.export(client, number, "COCO"))
    (tmp_path / "yolo.zip").write_bytes(label_studio.export(client, number, "YOLO"))
    returned = read_label_studio(native, pool)
    assert set(returned.skipped.tolist()) == skipped
    assert 100 < len(done) < FEW - len(skipped)
    assert_some(returned, expected, done, done, 1e-6)
    for name in ("coco", "yolo"):
        with zipfile.ZipFile(tmp_path / f"{name}.zip") as archive:
            archive.extractall(tmp_path / name)
    assert_some(read_coco(tmp_path / "coco" / "result.json", pool), expected, done, None, 1e-3)
    assert_some(read_yolo(tmp_path / "yolo", pool), expected, done, None, 1e-3)


def assert_some(
    returned, expected, done: set[int], images: set[int] | None, tolerance: float
) -> None:
    """done: the images that somebody labeled; images: those that must be labeled, None: at least
    those done that have an object, and no other's.
    """
    labeled = set(returned.labeled.tolist())
    if images is not None:
        assert labeled == images
    assert len(labeled) == len(returned.labeled)
    got: dict[int, list[tuple[str, list[float]]]] = {i: [] for i in labeled}
    for s in returned.shapes:
        got[s.position].append((returned.pool.categories[s.category], list(s.box)))
    assert {i for i in done if expected[i]} <= labeled
    for i in labeled:
        if i not in done:
            assert got[i] == []
            continue
        a, b = (
            sorted(x, key=lambda s: (s[0], np.round(s[1], 1).tolist()))
            for x in (got[i], expected[i])
        )
        assert [x[0] for x in a] == [x[0] for x in b], str(returned.pool.names[i])
        if a:
            np.testing.assert_allclose(
                np.array([x[1] for x in a]),
                np.array([x[1] for x in b]),
                atol=max(tolerance, 1e-6) * 100 if tolerance > 1e-5 else 1e-6,
            )


@pytest.mark.filterwarnings("ignore")  # ultralytics looks for Ray, which warns
def test_ultralytics_trains_on_the_folder_as_it_is(
    pool, detections, chosen, images, tmp_path: Path
) -> None:
    pytest.importorskip("ultralytics")
    rows = [
        {"image_id": int(pool.ids[i]), "category_id": int(c), "bbox": [b[0], b[1], b[2] - b[0], b[3] - b[1]]}
        for i, b, c in zip(detections.image, detections.boxes, detections.labels, strict=True)
    ]  # fmt: skip
    few = chosen.prefix(64)
    data = few.to_yolo(tmp_path / "yolo", annotations=rows, source=images, val=0.25)
    from ultralytics import YOLO

    model = YOLO("yolov8n.yaml", verbose=False)
    done = model.train(
        data=str(data),
        epochs=1,
        imgsz=32,
        batch=16,
        workers=0,
        plots=False,
        val=True,
        device="cpu",
        project=str(tmp_path / "runs"),
        verbose=False,
        amp=False,
    )
    assert done is not None
    assert len((tmp_path / "yolo" / "val.txt").read_text().split("\n")) == 17
    taken = model.trainer.train_loader.dataset
    assert len(taken) == 48
    want = boxes_of(detections, pool)
    for label in taken.labels:
        i = next(i for i in few.indices.tolist() if label["im_file"].endswith(str(pool.names[i])))
        names = sorted(model.names[int(c)] for c in label["cls"].ravel())
        assert names == sorted(n for n, _ in want[i])


def test_fiftyone_tags_and_labels_come_back(
    pool, detections, chosen, images, tmp_path: Path
) -> None:
    python = python_of("fiftyone")
    rows = chosen.to_rows(images, detections, 0.0)
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    script = Path(fiftyone_file.__file__)
    with database(python, tmp_path) as home:
        if home is None:
            pytest.skip("FiftyOne has no MongoDB that runs here")
        run_tool(python, script, "load", tmp_path / "rows.json", "round", **home)
        run_tool(python, TOOLS / "fiftyone_edit.py", "round", **home)
        run_tool(python, script, "dump", "round", tmp_path / "back.json", **home)
    back = {r["file_name"]: r for r in json.loads((tmp_path / "back.json").read_text())}
    assert len(back) == N
    expected = boxes_of(detections, pool)
    for row in rows:
        one, i = back[row["file_name"]], pool.places[row["file_name"]]
        assert one["tags"] == ["chosen", "drop"] if row["priority"] % 4 == 0 else ["chosen"]
        assert sorted(b["label"] for b in one["boxes"]) == sorted(n for n, _ in expected[i])
        for b in one["boxes"]:
            assert any(
                np.allclose(b["box"], box, atol=1e-6) and n == b["label"] for n, box in expected[i]
            )


def test_lightly_studio_tags_come_back(pool, detections, chosen, images, tmp_path: Path) -> None:
    python = python_of("lightly-studio")
    (tmp_path / "rows.json").write_text(json.dumps(chosen.to_rows(images)))
    script, here = Path(lightly_file.__file__), {"PWD": str(tmp_path)}
    run_tool(
        python,
        TOOLS / "lightly_round.py",
        script,
        tmp_path / "rows.json",
        tmp_path / "back.json",
        **here,
    )
    back = {r["file_name"]: r["tags"] for r in json.loads((tmp_path / "back.json").read_text())}
    assert set(back) == set(pool.names.tolist())
    for row in chosen.to_rows(images):
        assert back[row["file_name"]] == (
            ["chosen", "drop"] if row["priority"] % 4 == 0 else ["chosen"]
        )
