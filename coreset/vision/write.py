"""The files behind `ImageSelection`: COCO, YOLO, Label Studio, CVAT; in order of priority, with
pre-labels.

Pre-labels are detections of at least `score_threshold`, which is asked for: a box too many costs
the annotator more than one too few. Files are whole or not there. Formats: the COCO data format;
YOLO label files (class x y w h, relative); Label Studio's JSON tasks with predictions; CVAT for
images 1.1.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

import numpy as np

from coreset.core.pool import Indices
from coreset.core.ranges import check_range
from coreset.core.selection import Selection
from coreset.core.store import write_atomic
from coreset.vision.boxes import Detections
from coreset.vision.coco import CocoPool, check_annotations
from coreset.vision.coco_check import inside
from coreset.vision.handoff.label_studio import rectangle


def _prelabels(
    chosen: Selection, pool: CocoPool, predictions: Detections | None, score_threshold: float | None
) -> list[tuple[Any, int, Indices, Detections | None]]:
    """Return (id, position, pre-labels, their table) per chosen image, in order."""
    if (predictions is None) != (score_threshold is None):
        raise ValueError(
            "predictions and score_threshold go together: which boxes become pre-labels?"
        )
    ids = pool.ids[chosen.indices].tolist()
    if predictions is None or score_threshold is None:
        return [
            (k, at, np.empty(0, np.int64), None)
            for k, at in zip(ids, chosen.indices.tolist(), strict=True)
        ]
    aligned = predictions.align(pool, missing="empty")
    start = aligned.offsets
    rows: list[tuple[Any, int, Indices, Detections | None]] = []
    for k, at in zip(ids, chosen.indices.tolist(), strict=True):
        boxes = np.arange(start[at], start[at + 1])
        boxes = boxes[aligned.scores[boxes] >= score_threshold]
        rows.append((k, at, boxes[np.argsort(-aligned.scores[boxes], kind="stable")], aligned))
    return rows


def to_coco(
    chosen: Selection,
    pool: CocoPool,
    path: str | Path,
    predictions: Detections | None,
    score_threshold: float | None,
    annotations: Sequence[dict[str, Any]] | None,
) -> Path:
    """Do what `ImageSelection.to_coco` says."""
    if annotations is not None and predictions is not None:
        raise ValueError("annotations are known or predicted: give one of them")
    images, rows = [], []
    for rank, (k, at, boxes, table) in enumerate(
        _prelabels(chosen, pool, predictions, score_threshold)
    ):
        width, height = pool.sizes[at].tolist()
        images.append(
            {
                "id": k,
                "file_name": str(pool.names[at]),
                "width": width,
                "height": height,
                "priority": rank,
            }
        )
        for box in boxes.tolist() if table is not None else ():
            x, y, x2, y2 = table.boxes[box].tolist()  # type: ignore[union-attr]
            w, h = x2 - x, y2 - y
            label = int(table.labels[box])  # type: ignore[union-attr]
            score = float(table.scores[box])  # type: ignore[union-attr]
            rows.append(
                {
                    "image_id": k,
                    "category_id": label,
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": 0,
                    "score": score,
                }
            )
    if annotations is not None:
        wanted = {image["id"] for image in images}
        rows = [dict(row) for row in annotations if row["image_id"] in wanted]
    rows = [{**row, "id": i} for i, row in enumerate(rows, 1)]
    categories = [{"id": k, "name": name} for k, name in sorted(pool.categories.items())]
    return write_atomic(
        path,
        json.dumps({"images": images, "annotations": rows, "categories": categories}, indent=1),
    )


def to_yolo(
    chosen: Selection,
    pool: CocoPool,
    folder: str | Path,
    predictions: Detections | None,
    score_threshold: float | None,
    images: str,
    annotations: Sequence[Mapping[str, Any]] | None,
    source: str | Path | None,
    val: float,
) -> Path:
    """Do what `ImageSelection.to_yolo` says."""
    if annotations is not None and predictions is not None:
        raise ValueError("annotations are known or predicted: give one of them")
    check_range("a share in [0, 1)", val=val)
    folder, order = Path(folder), sorted(pool.categories)
    lines: list[str] = []
    written: set[Path] = set()
    known = _known_boxes(pool, annotations)
    images_of = _prelabels(chosen, pool, predictions, score_threshold)
    names_of = [inside(pool.names[at], f"{pool.source}: image {k!r}") for k, at, _, _ in images_of]
    for (k, at, boxes, predicted), name in zip(images_of, names_of, strict=True):
        lines.append(f"./{PurePosixPath(images) / name}\n")
        if source is not None:
            _link(Path(source) / name, folder / images / name)
        if predicted is not None:
            table, labels = predicted.boxes[boxes], predicted.labels[boxes].tolist()
        elif known is not None:
            labels = [c for c, _ in known.get(k, ())]
            table = np.array([box for _, box in known.get(k, ())], np.float64).reshape(-1, 4)
        else:
            continue
        target = folder / "labels" / name.with_suffix(".txt")
        if target in written:
            raise ValueError(
                f"{pool.source}: image {pool.ids[at].item()!r}: another chosen image has the label"
                f" file {target}, names must differ before the suffix"
            )
        written.add(target)
        table = np.clip(table / np.tile(pool.sizes[at], 2), 0, 1)
        center, side = (table[:, :2] + table[:, 2:]) / 2, table[:, 2:] - table[:, :2]
        write_atomic(target, "".join(
            f"{order.index(c)} {x:.6f} {y:.6f} {w:.6f} {h:.6f}\n"
            for c, (x, y), (w, h) in zip(labels, center, side, strict=True)
        ))  # fmt: skip
    held_out = round(val * len(lines)) or (1 if val else 0)
    first, last = lines[: len(lines) - held_out], lines[len(lines) - held_out :]
    write_atomic(folder / "train.txt", "".join(first))
    write_atomic(folder / "val.txt", "".join(last or first))
    names = "".join(f"  {i}: {json.dumps(pool.categories[c])}\n" for i, c in enumerate(order))
    about = f"path: {json.dumps(str(folder.resolve()))}\ntrain: train.txt\nval: val.txt\n"
    return write_atomic(folder / "data.yaml", f"{about}names:\n{names}")


def _known_boxes(
    pool: CocoPool, annotations: Sequence[Mapping[str, Any]] | None
) -> dict[Any, list[tuple[int, list[float]]]] | None:
    """Return category and corners of known annotations by image id."""
    if annotations is None:
        return None
    check_annotations(pool, annotations, "annotations")
    out: dict[Any, list[tuple[int, list[float]]]] = {}
    for row in annotations:
        x, y, w, h = row["bbox"]
        out.setdefault(row["image_id"], []).append((row["category_id"], [x, y, x + w, y + h]))
    return out


def _link(image: Path, target: Path) -> None:
    """Put an image where a trainer looks for it: a hard link, or a copy on another disk."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(image)
    except OSError:
        shutil.copyfile(image, target)


def to_label_studio(
    chosen: Selection,
    pool: CocoPool,
    path: str | Path,
    predictions: Detections | None,
    score_threshold: float | None,
    prefix: str,
    from_name: str,
    to_name: str,
) -> Path:
    """Do what `ImageSelection.to_label_studio` says."""
    tasks = []
    for rank, (k, at, boxes, table) in enumerate(
        _prelabels(chosen, pool, predictions, score_threshold)
    ):
        width, height = pool.sizes[at].tolist()
        data = {"image": prefix + str(pool.names[at]), "image_id": k, "priority": rank}
        if chosen.scores is not None and np.isfinite(chosen.scores[rank]):
            data["acquisition_score"] = float(chosen.scores[rank])
        result = []
        for i, box in enumerate(boxes.tolist()):
            assert table is not None
            label = pool.categories[int(table.labels[box])]
            about = {"id": f"{k}-{i}", "score": float(table.scores[box])}
            names = {"from_name": from_name, "to_name": to_name}
            result.append(rectangle(table.boxes[box], label, width, height, **names, **about))
        tasks.append(
            {
                "data": data,
                "predictions": [
                    {"model_version": "coreset", "score": rank / len(chosen), "result": result}
                ],
            }
        )
    return write_atomic(path, json.dumps(tasks, indent=1))


def to_cvat(
    chosen: Selection,
    pool: CocoPool,
    path: str | Path,
    predictions: Detections | None,
    score_threshold: float | None,
) -> Path:
    """Do what `ImageSelection.to_cvat` says."""
    path = Path(path)
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    ElementTree.SubElement(task, "size").text = str(len(chosen))
    ElementTree.SubElement(task, "mode").text = "annotation"
    labels = ElementTree.SubElement(task, "labels")
    for _, name in sorted(pool.categories.items()):
        ElementTree.SubElement(ElementTree.SubElement(labels, "label"), "name").text = name
    names = []
    for rank, (_, at, boxes, table) in enumerate(
        _prelabels(chosen, pool, predictions, score_threshold)
    ):
        width, height = pool.sizes[at].tolist()
        names.append(str(pool.names[at]))
        image = ElementTree.SubElement(
            root, "image", id=str(rank), name=names[-1], width=str(width), height=str(height)
        )
        for box in boxes.tolist():
            assert table is not None
            corners = np.clip(table.boxes[box], 0, [width, height] * 2)
            about = {
                key: f"{v:.2f}"
                for key, v in zip(("xtl", "ytl", "xbr", "ybr"), corners, strict=True)
            }
            about |= {
                "label": pool.categories[int(table.labels[box])],
                "source": "auto",
                "occluded": "0",
                "z_order": "0",
            }
            ElementTree.SubElement(image, "box", about)
    ElementTree.indent(root)
    write_atomic(path.with_suffix(".txt"), "".join(f"{name}\n" for name in names))
    return write_atomic(path, ElementTree.tostring(root, encoding="unicode", xml_declaration=True))


def to_rows(
    chosen: Selection,
    pool: CocoPool,
    source: str | Path,
    predictions: Detections | None,
    score_threshold: float | None,
) -> list[dict[str, Any]]:
    """Do what `ImageSelection.to_rows` says."""
    rows = []
    for rank, (k, at, boxes, table) in enumerate(
        _prelabels(chosen, pool, predictions, score_threshold)
    ):
        width, height = pool.sizes[at].tolist()
        score = None if chosen.scores is None else float(chosen.scores[rank])
        name = str(pool.names[at])
        row = {"filepath": str((Path(source) / name).resolve()), "file_name": name, "id": k,
               "width": width, "height": height, "priority": rank,
               "score": score if score is None or np.isfinite(score) else None}  # fmt: skip
        row["boxes"] = [] if table is None else [
            {"label": pool.categories[int(table.labels[b])], "box": table.boxes[b].tolist(),
             "score": float(table.scores[b])}
            for b in boxes.tolist()
        ]  # fmt: skip
        rows.append(row)
    return rows
