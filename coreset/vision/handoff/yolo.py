"""YOLO folders: one text file per image, class and box relative to its size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import yaml

from coreset.vision.coco import CocoPool
from coreset.vision.handoff.names import category, place
from coreset.vision.handoff.returned import Returned, Shape, box_of


def read_yolo(folder: str | Path, pool: CocoPool) -> Returned:
    """Return the labels in `folder/labels`: lines `class x y w h`, or `class x y x y ...` for
    polygons, relative to the size of the image, which the pool knows.

    Classes go by their name in data.yaml, classes.txt or notes.json of the folder (as ultralytics,
    CVAT and Label Studio write them). An image with an empty file is labeled and has no object; one
    without a file is open. Raises KeyError or ValueError naming file and line.
    """
    folder = Path(folder)
    names = class_names(folder)
    files = sorted(p for p in (folder / "labels").rglob("*.txt"))
    if not files:
        raise ValueError(f"{folder}: no label files in labels/")
    labeled, shapes = dict[int, Path](), list[Shape]()
    for file in files:
        name = file.relative_to(folder / "labels").with_suffix("").as_posix()
        at = place(pool, name, str(file))
        if at in labeled:
            raise ValueError(f"{file} and {labeled[at]} are the same image")
        labeled[at] = file
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if line.strip():
                shapes.append(_shape(line.split(), at, names, pool, f"{file}, line {number}"))
    return Returned(
        pool, np.array(list(labeled), np.int64), np.empty(0, np.int64), shapes, str(folder)
    )


def class_names(folder: Path) -> dict[int, str]:
    """Return the classes of a folder by number. Raises ValueError where it does not say them."""
    for place_ in (folder / "data.yaml", folder / "dataset.yaml"):
        if place_.exists():
            names = yaml.safe_load(place_.read_text(encoding="utf-8")).get("names")
            if isinstance(names, list):
                return dict(enumerate(map(str, names)))
            return {int(k): str(v) for k, v in names.items()}
    if (folder / "classes.txt").exists():
        return dict(enumerate((folder / "classes.txt").read_text(encoding="utf-8").split("\n")))
    if (folder / "notes.json").exists():
        notes = json.loads((folder / "notes.json").read_text(encoding="utf-8"))
        return {int(c["id"]): str(c["name"]) for c in notes["categories"]}
    raise ValueError(f"{folder}: expected data.yaml, classes.txt or notes.json with class names")


def _shape(words: list[str], at: int, names: dict[int, str], pool: CocoPool, who: str) -> Shape:
    try:
        number, values = int(words[0]), [float(w) for w in words[1:]]
    except ValueError as error:
        raise ValueError(f"{who}: expected numbers, got {' '.join(words)[:80]!r}") from error
    if number not in names:
        raise ValueError(f"{who}: class {number} is none of {len(names)}")
    label = category(pool, names[number], who)
    size = pool.sizes[at].astype(np.float64)
    if len(values) not in (4,) and (len(values) < 6 or len(values) % 2):
        raise ValueError(
            f"{who}: expected a box (4 numbers) or a polygon, got {len(values)} numbers"
        )
    if min(values) < -1e-6 or max(values) > 1 + 1e-6:
        raise ValueError(f"{who}: expected numbers from 0 to 1, relative to the image")
    if len(values) == 4:
        center, side = np.array(values[:2]) * size, np.array(values[2:]) * size
        (x, y), (x2, y2) = center - side / 2, center + side / 2
        return Shape(at, label, (float(x), float(y), float(x2), float(y2)))
    flat = (np.array(values).reshape(-1, 2) * size).ravel().tolist()
    return Shape(at, label, box_of([flat]), "", [flat])
