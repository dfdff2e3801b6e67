"""Rounds through files that real tools read and write: datumaro, supervision, datasets."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any

import numpy as np

from coreset.vision.adapters import from_rows
from coreset.vision.conventions import Convention
from coreset.vision.handoff import class_maps, read_coco, read_cvat, read_yolo, write_masks
from coreset.vision.handoff.hugging_face import to_hugging_face
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
    """CVAT for images and COCO, boxes and masks, read and written by datumaro."""
    rounds = []
    for form, name in (("CVAT for images 1.1", "cvat"), ("COCO 1.0", "coco_instances")):
        given = folder / f"{name}_boxes"
        file = "annotations.xml" if name == "cvat" else "annotations/instances_default.json"
        one = Round(
            "datumaro 1.13",
            f"boxes, {form}",
            "read, edited and written by its own code",
            case.pool.size,
        )
        one.changed = ["ids", "order", "names (folders)"]
        with one.clock():
            if name == "cvat":
                case.chosen.to_cvat(given / file, case.boxes, 0.0)
            else:
                case.chosen.to_coco(given / file, case.boxes, 0.0)
            (given / "images").symlink_to(case.files)
            run_tool(python, TOOLS / "datumaro_round.py", name, given, folder / f"{name}_back", 5)
            back = next(
                (folder / f"{name}_back").rglob("*.xml" if name == "cvat" else "instances_*.json")
            )
            returned = (read_cvat if name == "cvat" else read_coco)(back, case.pool)
        # it edits every third image of its own order, and says which
        edited = (folder / f"{name}_back" / "edited.txt").read_text(encoding="utf-8").split("\n")
        expected = case.objects
        place = {
            str(PurePath(n).with_suffix("")): i for i, n in enumerate(case.pool.names.tolist())
        }
        first = case.pool.categories[min(case.pool.categories)]
        for line in edited:
            expected[place[line]].append((first, MORE))
        one.edits = len(edited)
        rounds.append(compare_objects(one, returned, expected, range(case.pool.size), 0.0051))
        more = Round(
            "datumaro 1.13",
            f"masks, {form}",
            "read by its own code, written as COCO",
            case.pool.size,
        )
        more.changed = ["ids", "order", "names (folders)"]
        given = folder / f"{name}_masks"
        with more.clock():
            write_masks(given / file, "cvat" if name == "cvat" else "coco", case.pool, case.maps)
            (given / "images").symlink_to(case.files)
            run_tool(
                python, TOOLS / "datumaro_masks.py", name, given, folder / f"{name}_masks_back"
            )
            back = next((folder / f"{name}_masks_back").rglob("instances_*.json"))
            maps = class_maps(read_coco(back, case.pool))
        rounds.append(compare_maps(more, case.pool, maps, case.maps))
    return rounds


def supervision(case: Case, folder: Path) -> list[Round]:
    """A YOLO folder read part by part, merged (which numbers its classes anew), edited and written
    flat by supervision.
    """
    import supervision as sv

    one = Round(
        f"supervision {sv.__version__}",
        "boxes, YOLO folder",
        "read, merged, edited and written by its own code",
        case.pool.size,
    )
    one.changed = ["class numbers", "names (folders)"]
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

    one = Round(
        f"datasets {hf.__version__}",
        "boxes, image folder",
        "load_dataset, shuffle, map, to_parquet",
        case.pool.size,
    )
    one.changed = ["order", "names (none left)"]
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
