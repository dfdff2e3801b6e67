"""Rounds through a Label Studio server: classes of uploaded images, boxes, brush masks."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import numpy as np
from numpy.typing import NDArray

from coreset.vision.handoff import class_maps, read_coco, read_label_studio, read_yolo, write_masks
from coreset.vision.handoff.label_studio import brush
from coreset.vision.handoff.returned import Returned
from scripts.benchmarks.handoff_rounds.case import Case, Round, compare_maps, compare_objects
from tests.tools import label_studio

Mask = NDArray[np.bool_]
TOOL = "Label Studio 1.23"
ACCEPTED = "predictions accepted by its action, API of annotations"
PREFIX = "/data/local-files/?d=photos/"
LABELS = "".join(f'<Label value="{name}"/>' for name in ("bus", "cat", "dog"))
BOXES = f'<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">{LABELS}</RectangleLabels></View>'
BRUSH = BOXES.replace("RectangleLabels", "BrushLabels")
CLASSES = BOXES.replace("RectangleLabels", "Choices").replace("Label value", "Choice value")


def rounds(case: Case, client: httpx.Client, folder: Path) -> list[Round]:
    """Return the rounds of all kinds."""
    return [
        classes(case, client, folder),
        *boxes(case, client, folder),
        *masks(case, client, folder),
    ]


def classes(case: Case, client: httpx.Client, folder: Path) -> Round:
    """Images dragged into a project, which renames them, get a class each; some are skipped, some
    corrected, some left open.
    """
    by = "files uploaded, API of annotations"
    one = case.begin(TOOL, "classification, native JSON", by, "ids", "names (the server's)")
    rng = np.random.default_rng(1)
    names = [
        case.pool.categories[k] for k in rng.choice(list(case.pool.categories), case.pool.size)
    ]
    with one.clock():
        number = (
            client.post("/api/projects", json={"title": "classes", "label_config": CLASSES})
            .raise_for_status()
            .json()["id"]
        )
        order = case.chosen.indices.tolist()
        where: dict[str, int] = {}
        for start in range(0, len(order), 100):
            files = {
                str(i): (
                    Path(str(case.pool.names[i])).name,
                    (case.files / str(case.pool.names[i])).read_bytes(),
                    "image/jpeg",
                )
                for i in order[start : start + 100]
            }
            sent = (
                client.post(f"/api/projects/{number}/import", files=files).raise_for_status().json()
            )
            listed = (
                client.get(
                    f"/api/projects/{number}/file-uploads",
                    params={"ids": json.dumps(sent["file_upload_ids"])},
                )
                .raise_for_status()
                .json()
            )
            by_id = {row["id"]: row["file"] for row in listed}
            # the server answers in the order of what was sent
            where |= {
                by_id[k]: i
                for k, i in zip(sent["file_upload_ids"], order[start : start + 100], strict=True)
            }
        labeled: set[int] = set()
        for task in label_studio.tasks_of(client, number):
            at = where[unquote(task["data"]["image"]).removeprefix("/data/")]
            if at % 20 == 18:
                continue
            if at % 20 == 19:
                label_studio.annotate(client, task["id"], [], skip=True)
                one.skipped += 1
                continue
            result: list[dict[str, Any]] = [
                {
                    "type": "choices",
                    "from_name": "label",
                    "to_name": "image",
                    "value": {"choices": [names[at]]},
                }
            ]
            held = label_studio.annotate(client, task["id"], result)
            labeled.add(at)
            if at % 20 == 0:  # a second thought
                names[at] = "bus" if names[at] != "bus" else "dog"
                result[0]["value"]["choices"] = [names[at]]
                client.patch(
                    f"/api/annotations/{held['id']}", json={"result": result}
                ).raise_for_status()
            one.edits += 1
        native = folder / "classes.json"
        native.write_bytes(label_studio.export(client, number, "JSON", download_all_tasks="true"))
        returned = read_label_studio(native, case.pool)
    assert len(returned.skipped) == one.skipped
    got = {i: case.pool.categories[k] for i, k in returned.classes().items()}
    return one.count(labeled, got, lambda i: got[i] == names[i])


def _accepted(
    case: Case, client: httpx.Client, config: str, file: Path
) -> tuple[int, list[tuple[int, dict[str, Any]]]]:
    """Import tasks, make annotations of all predictions; return the project and (position, task)."""
    by_name = {str(n): i for i, n in enumerate(case.pool.names)}
    number, _ = label_studio.project(client, config, json.loads(file.read_text()))
    client.post(
        "/api/dm/actions", params={"id": "predictions_to_annotations", "project": number},
        json={"selectedItems": {"all": True, "excluded": []}, "ordering": []},
    ).raise_for_status()  # fmt: skip
    held = label_studio.tasks_of(client, number)
    return number, [(by_name[t["data"]["image"].removeprefix(PREFIX)], t) for t in held]


def boxes(case: Case, client: httpx.Client, folder: Path) -> list[Round]:
    """Boxes proposed and accepted; every tenth image gets one more, every twentieth is skipped."""
    one = case.begin(TOOL, "boxes, native JSON", ACCEPTED, "ids")
    expected = case.objects
    labeled: set[int] = set()
    with one.clock():
        file = case.chosen.to_label_studio(folder / "boxes.json", case.boxes, 0.0, prefix=PREFIX)
        number, held = _accepted(case, client, BOXES, file)
        for at, task in held:
            (given,) = task["annotations"]
            if at % 20 == 19:
                client.delete(f"/api/annotations/{given['id']}").raise_for_status()
                label_studio.annotate(client, task["id"], [], skip=True)
                one.skipped += 1
                continue
            labeled.add(at)
            if at % 10 == 0:
                width, height = case.pool.sizes[at].tolist()
                about = {"original_width": width, "original_height": height, "image_rotation": 0}
                names = {
                    "from_name": "label",
                    "to_name": "image",
                    "type": "rectanglelabels",
                    "id": "more",
                }
                value = {**label_studio.EXTRA, "rectanglelabels": ["bus"]}
                result = [*given["result"], {**names, **about, "value": value}]
                client.patch(
                    f"/api/annotations/{given['id']}", json={"result": result}
                ).raise_for_status()
                expected[at].append(("bus", (0.1 * width, 0.2 * height, 0.4 * width, 0.6 * height)))
                one.edits += 1
        native = folder / "boxes_native.json"
        native.write_bytes(label_studio.export(client, number, "JSON", download_all_tasks="true"))
        returned = read_label_studio(native, case.pool)
    assert len(returned.skipped) == one.skipped
    compare_objects(one, returned, expected, labeled, 1e-6)
    rounds = [one]
    # an image without an object is not in Label Studio's own YOLO and COCO exports of some versions
    for kind, changed in (("COCO", ["ids from 0", "names"]), ("YOLO", ["class numbers", "names"])):
        more = case.begin(TOOL, f"boxes, {kind} export", "the same project", *changed)
        more.edits, more.skipped = one.edits, one.skipped
        with more.clock():
            archive = folder / f"{kind}.zip"
            archive.write_bytes(label_studio.export(client, number, kind))
            with zipfile.ZipFile(archive) as file_:
                file_.extractall(folder / kind)
            back = (
                read_coco(folder / kind / "result.json", case.pool)
                if kind == "COCO"
                else read_yolo(folder / kind, case.pool)
            )
        there = labeled | {
            i for i in back.labeled.tolist() if not any(s.position == i for s in back.shapes)
        }
        for i in there - labeled:
            expected[i] = []  # skipped tasks are exported as images without an object
        rounds.append(compare_objects(more, back, expected, there, 0.01))
    return rounds


def masks(case: Case, client: httpx.Client, folder: Path) -> list[Round]:
    """Brush masks proposed and accepted; every tenth image is painted over in one class."""
    one = case.begin(TOOL, "masks (brush), native JSON", ACCEPTED, "ids")
    expected = dict(case.maps)
    order = sorted(case.pool.categories)
    drawn = {
        at: [
            (case.pool.categories[order[c]], expected[int(k)] == c)
            for c in range(3)
            if (expected[int(k)] == c).any()
        ]
        for at, k in enumerate(case.pool.ids)
    }
    with one.clock():
        file = write_masks(
            folder / "masks.json", "label_studio", case.pool, case.maps, prefix=PREFIX
        )
        number, held = _accepted(case, client, BRUSH, file)
        for at, task in held:
            if at % 10:
                continue
            (given,) = task["annotations"]
            key = int(case.pool.ids[at])
            painted = np.zeros(expected[key].shape, bool)
            painted[2:9, 3:14] = True
            result = [*given["result"], brush(painted, "bus", id="more")]
            client.patch(
                f"/api/annotations/{given['id']}", json={"result": result}
            ).raise_for_status()
            expected[key] = np.where(painted, order.index(8), expected[key])
            drawn[at].append(("bus", painted))
            one.edits += 1
        native = folder / "masks_native.json"
        native.write_bytes(label_studio.export(client, number, "JSON", download_all_tasks="true"))
        back = class_maps(read_label_studio(native, case.pool))
    compare_maps(one, case.pool, back, expected)
    changed = ("ids from 0", "names", "masks to contours")
    more = case.begin(TOOL, "masks, COCO export (contours)", "the same project", *changed)
    more.edits = one.edits
    with more.clock():
        archive = folder / "brush.zip"
        archive.write_bytes(label_studio.export(client, number, "BRUSH_TO_COCO"))
        with zipfile.ZipFile(archive) as file_:
            file_.extractall(folder / "brush")
        returned = read_coco(next((folder / "brush").rglob("*.json")), case.pool)
    return [one, _compare_contours(more, case, returned, drawn)]


def _compare_contours(
    one: Round, case: Case, returned: Returned, drawn: dict[int, list[tuple[str, Mask]]]
) -> Round:
    """Count images by their outer contours: this export holds no more of a mask."""
    import cv2

    def contours(mask: Mask) -> Iterator[list[float]]:
        lines, _ = cv2.findContours(
            mask.astype(np.uint8) * 255, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
        )
        yield from (c.ravel().astype(float).tolist() for c in lines if len(c) >= 3)

    expected = {
        at: sorted((name, c) for name, mask in shapes for c in contours(mask))
        for at, shapes in drawn.items()
    }
    got: dict[int, list[tuple[str, list[float]]]] = {int(i): [] for i in returned.labeled}
    for s in returned.shapes:
        name = case.pool.categories[s.category]
        got[s.position] += [(name, list(p)) for p in s.polygons or ()]
    there = [at for at, shapes in expected.items() if shapes]
    return one.count(there, got, lambda i: sorted(got[i]) == expected[i])
