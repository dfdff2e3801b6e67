"""Rounds through ultralytics: its data set class, its splits, its converter and its label files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from coreset.vision.handoff import read_yolo
from scripts.benchmarks.handoff_rounds.case import Case, Round, compare_objects
from scripts.benchmarks.handoff_rounds.files import MORE

TENTH = 10  # every tenth image is edited


def ultralytics(case: Case, folder: Path) -> list[Round]:
    """A YOLO folder and a COCO file, read, edited and written by ultralytics' own code."""
    import ultralytics as package

    tool = f"ultralytics {package.__version__}"
    return [_folder(case, tool, folder / "yolo"), _converted(case, tool, folder / "coco")]


def labels_of(data: Path, split: Path | str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return data.yaml and the labels of images as ultralytics' own classes read them to train."""
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    about = check_det_dataset(str(data), autodownload=False)
    path = about[split] if isinstance(split, str) else str(split)
    return about, YOLODataset(img_path=path, data=about, task="detect", augment=False).labels


def _folder(case: Case, tool: str, folder: Path) -> Round:
    """Split anew by autosplit, read by YOLODataset, written as `predict(save_txt=True)` does: flat,
    by the name of the image alone, no file where there is no box.
    """
    from ultralytics.data.split import autosplit
    from ultralytics.engine.results import Results

    by = "autosplit, YOLODataset, edited and written by Results.save_txt"
    one = case.begin(tool, "boxes, YOLO folder", by, "names (folders)", "order")
    expected, labeled = case.objects, set[int]()
    by_name = {Path(str(n)).name: i for i, n in enumerate(case.pool.names)}
    with one.clock():
        data = case.chosen.to_yolo(folder, case.boxes, 0.0, source=case.files)
        autosplit(folder / "images", (0.6, 0.3, 0.1))
        labels = []
        for part in ("train", "val", "test"):
            about, some = labels_of(data, folder / f"autosplit_{part}.txt")
            labels += some
        assert len(labels) == case.pool.size
        for label in labels:
            at = by_name[Path(label["im_file"]).name]
            height, width = label["shape"]
            center, side = label["bboxes"][:, :2], label["bboxes"][:, 2:]
            corners = np.concatenate([center - side / 2, center + side / 2], 1)
            rows = np.ones((len(corners), 6))
            rows[:, :4], rows[:, 5] = corners * [width, height, width, height], label["cls"][:, 0]
            if at % TENTH == 0:
                bus = next(k for k, name in about["names"].items() if name == "bus")
                rows = np.concatenate([rows, [[*MORE, 1, bus]]])
                expected[at].append(("bus", MORE))
                one.edits += 1
            elif at % TENTH == 5:
                rows = rows[:0]
                expected[at] = []
                one.edits += 1
            if len(rows):
                labeled.add(at)
            image = np.zeros((height, width, 3), np.uint8)
            result = Results(image, label["im_file"], about["names"], boxes=_tensor(rows))
            name = Path(label["im_file"]).stem
            result.save_txt(folder / "back" / "labels" / f"{name}.txt")
        shutil.copy(data, folder / "back")
        returned = read_yolo(folder / "back", case.pool)
    return compare_objects(one, returned, expected, labeled, 0.001)


def _converted(case: Case, tool: str, folder: Path) -> Round:
    """A COCO file through convert_coco: a folder before the names, classes numbered by id - 1, no
    file where there is no box; every tenth image gets one more line, by hand.
    """
    from ultralytics.data.converter import convert_coco

    by = "convert_coco, lines added, YOLODataset"
    one = case.begin(tool, "boxes, COCO 1.0", by, "class numbers", "names (folders)")
    expected = case.objects
    labeled = {i for i, objects in enumerate(expected) if objects}
    back = folder / "back"
    with one.clock():
        case.chosen.to_coco(folder / "given" / "instances_streets.json", case.boxes, 0.0)
        convert_coco(str(folder / "given"), str(back), cls91to80=False)
        (back / "images" / "streets").symlink_to(case.files)
        names = {k - 1: name for k, name in case.pool.categories.items()}
        names = {k: names.get(k, f"unused {k}") for k in range(max(names) + 1)}
        about = {"path": str(back), "train": "images", "val": "images", "names": names}
        (back / "data.yaml").write_text(yaml.safe_dump(about))
        for at in sorted(labeled):
            if at % TENTH == 0:
                file = (
                    back / "labels" / "streets" / Path(str(case.pool.names[at])).with_suffix(".txt")
                )
                size = np.tile(case.pool.sizes[at], 2)
                x, y, x2, y2 = (MORE / size).tolist()
                with file.open("a") as lines:
                    print(0, (x + x2) / 2, (y + y2) / 2, x2 - x, y2 - y, file=lines)
                expected[at].append(("dog", MORE))
                one.edits += 1
        _, labels = labels_of(back / "data.yaml", "train")
        assert sum(len(label["cls"]) for label in labels) == sum(map(len, expected))
        returned = read_yolo(back, case.pool)
    return compare_objects(one, returned, expected, labeled, 0.001)


def _tensor(rows: Any) -> Any:
    import torch

    return torch.as_tensor(rows)
