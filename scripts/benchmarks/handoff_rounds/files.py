"""Rounds through files that real tools read and write: datumaro, supervision, datasets."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any

import numpy as np

from coreset.vision.adapters import from_rows
from coreset.vision.conventions import Convention
from coreset.vision.handoff import class_maps, read_coco, read_cvat, read_yolo, write_masks
from coreset.vision.handoff.hugging_face import to_hugging_face
from coreset.vision.handoff.returned import Returned
from scripts.benchmarks.handoff_rounds.case import (
    Case,
    Round,
    compare_maps,
    compare_objects,
    same_objects,
)
from tests.tools.envs import TOOLS, run_tool

MORE = (1.0, 2.0, 4.0, 6.0)  # the box that an annotator adds, in pixels


def datumaro(case: Case, python: str, folder: Path) -> list[Round]:
    """CVAT for images and COCO, boxes and masks, read, edited and written by datumaro."""
    return [
        measure(case, python, form, folder / f"{form}_{measure.__name__}")
        for form in ("cvat", "coco_instances")
        for measure in (_boxes, _masks)
    ]


FORMS = {"cvat": "CVAT for images 1.1", "coco_instances": "COCO 1.0"}
FILES = {"cvat": "annotations.xml", "coco_instances": "annotations/instances_default.json"}
READERS = {"cvat": read_cvat, "coco_instances": read_coco}


def _boxes(case: Case, python: str, form: str, folder: Path) -> Round:
    """Every third image gets one more box."""
    one = _begin(case, "boxes", form)
    given = folder / "given"
    with one.clock():
        write = case.chosen.to_cvat if form == "cvat" else case.chosen.to_coco
        write(given / FILES[form], case.boxes, 0.0)
        returned, edited = _edit(case, python, "datumaro_round.py", form, folder, 5)
    expected = case.objects
    first = case.pool.categories[min(case.pool.categories)]
    for (at,) in edited:
        expected[at].append((first, MORE))
    one.edits = len(edited)
    return compare_objects(one, returned, expected, range(case.pool.size), 0.0051)


def _masks(case: Case, python: str, form: str, folder: Path) -> Round:
    """Every third image is painted over, in every next one a rectangle is erased."""
    one = _begin(case, "masks", form)
    with one.clock():
        kind = "cvat" if form == "cvat" else "coco"
        write_masks(folder / "given" / FILES[form], kind, case.pool, case.maps)
        returned, edited = _edit(case, python, "datumaro_masks.py", form, folder)
        maps = class_maps(returned)
    expected = {key: whole.copy() for key, whole in case.maps.items()}
    for kind, at in edited:
        expected[int(case.pool.ids[at])][2:9, 3:14] = 0 if kind == "painted" else -1
    one.edits = len(edited)
    return compare_maps(one, case.pool, maps, expected)


def _begin(case: Case, what: str, form: str) -> Round:
    by = "read, edited and written by its own code"
    changed = ("ids", "order", "names (folders)")
    return case.begin("datumaro 1.13", f"{what}, {FORMS[form]}", by, *changed)


def _edit(
    case: Case, python: str, script: str, form: str, folder: Path, *more: object
) -> tuple[Returned, list[tuple[Any, ...]]]:
    """Have datumaro edit `folder/given`; return what comes back and, as the script says it of its
    own order, which images were edited: words, and the position last.
    """
    (folder / "given" / "images").symlink_to(case.files)
    run_tool(python, TOOLS / script, form, folder / "given", folder / "back", *more)
    file = next((folder / "back").rglob("*.xml" if form == "cvat" else "instances_*.json"))
    names = [str(PurePath(n).with_suffix("")) for n in case.pool.names.tolist()]
    place = {name: i for i, name in enumerate(names)}
    lines = (folder / "back" / "edited.txt").read_text(encoding="utf-8").split("\n")
    edited = [line.split("\t") for line in lines]
    read: Any = READERS[form]
    return read(file, case.pool), [(*words, place[name]) for *words, name in edited]


def supervision(case: Case, folder: Path) -> list[Round]:
    """A YOLO folder read part by part, merged (which numbers its classes anew), edited and written
    flat by supervision.
    """
    import supervision as sv

    by = "read, merged, edited and written by its own code"
    changed = ("class numbers", "names (folders)")
    one = case.begin(f"supervision {sv.__version__}", "boxes, YOLO folder", by, *changed)
    expected = case.objects
    by_name = {Path(str(n)).name: i for i, n in enumerate(case.pool.names)}
    given, back = folder / "yolo", folder / "yolo_back"
    with one.clock():
        data = case.chosen.to_yolo(given, case.boxes, 0.0, source=case.files)
        parts = sorted(p for p in (given / "images").iterdir())
        whole = sv.DetectionDataset.merge([
            sv.DetectionDataset.from_yolo(str(p), str(given / "labels" / p.name), str(data))
            for p in parts
        ])  # fmt: skip
        for path, found in list(whole.annotations.items()):
            at = by_name[Path(path).name]
            if at % 10 == 0:
                box = sv.Detections(
                    np.array([MORE]), class_id=np.array([whole.classes.index("bus")])
                )
                # what comes from YOLO files has no other column
                whole.annotations[path] = sv.Detections(
                    np.concatenate([found.xyxy, box.xyxy]),
                    class_id=np.concatenate([found.class_id, box.class_id]),
                )
                expected[at].append(("bus", MORE))
                one.edits += 1
        whole.as_yolo(str(back / "images"), str(back / "labels"), str(back / "data.yaml"))
        returned = read_yolo(back, case.pool)
    assert whole.classes != [case.pool.categories[k] for k in sorted(case.pool.categories)]
    return [compare_objects(one, returned, expected, range(case.pool.size), 0.01)]


def datasets(case: Case, folder: Path) -> list[Round]:
    """A Hugging Face image folder: loaded, shuffled, edited, written as Parquet, read by id."""
    import datasets as hf

    by = "load_dataset, shuffle, map, to_parquet"
    changed = ("order", "names (none left)")
    one = case.begin(f"datasets {hf.__version__}", "boxes, image folder", by, *changed)
    expected = case.objects
    place = {str(k): i for i, k in enumerate(case.pool.ids.tolist())}

    def edit(row: dict[str, Any]) -> dict[str, Any]:
        if place[row["id"]] % 10 == 0:
            objects = row["objects"]
            x, y, x2, y2 = MORE
            objects["bbox"].append([x, y, x2 - x, y2 - y])
            objects["category"].append("bus")
            objects["score"].append(1.0)
        return row

    with one.clock():
        given = to_hugging_face(
            case.chosen.to_rows(case.files, case.boxes, 0.0), folder / "hf", "streets"
        )
        loaded = hf.load_dataset(
            "imagefolder", data_dir=str(given), split="train", cache_dir=str(folder / "hf_cache")
        )
        loaded.shuffle(seed=3).map(edit).remove_columns("image").to_parquet(
            str(folder / "hf.parquet")
        )
        rows = hf.Dataset.from_parquet(
            str(folder / "hf.parquet"), cache_dir=str(folder / "hf_cache")
        ).to_list()
        boxes = [
            {
                "boxes": r["objects"]["bbox"],
                "scores": r["objects"]["score"],
                "labels": r["objects"]["category"],
            }
            for r in rows
        ]
        found = from_rows(
            boxes, [int(r["id"]) for r in rows], case.pool, Convention("xywh", labels="name")
        )
    for at in range(0, case.pool.size, 10):
        expected[at].append(("bus", MORE))
        one.edits += 1
    got: dict[int, list[Any]] = {place[r["id"]]: [] for r in rows}
    numbers = case.pool.categories
    where = {k: i for i, k in enumerate(case.pool.ids.tolist())}
    for i, box, label in zip(found.image, found.boxes, found.labels, strict=True):
        got[where[found.ids[int(i)].item()]].append((numbers[int(label)], tuple(box.tolist())))

    return [
        one.count(range(case.pool.size), got, lambda i: same_objects(got[i], expected[i], 1e-6))
    ]
