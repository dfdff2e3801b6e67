"""Chosen images as a Hugging Face image folder: `datasets.load_dataset(folder)` reads it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from coreset.core.store import to_json, write_atomic
from coreset.vision.coco_check import inside


def to_hugging_face(rows: Sequence[Mapping[str, Any]], folder: str | Path, title: str) -> Path:
    """Write images and `metadata.jsonl` (file_name, id, priority, score, objects) in the order
    chosen, and a card; return the folder.

    rows: what `ImageSelection.to_rows` gives. objects: boxes in pixels x, y, width, height, with
    their classes. Raises FileNotFoundError for an image that is not there, before anything is
    written.
    """
    folder = Path(folder)
    names = [inside(row["file_name"], f"image {row['id']!r}") for row in rows]
    missing = [row["filepath"] for row in rows if not Path(row["filepath"]).is_file()]
    if missing:
        raise FileNotFoundError(2, f"{len(missing)} images are not there, the first", missing[0])
    lines = []
    for row, name in zip(rows, names, strict=True):
        target = folder / "train" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            try:
                target.hardlink_to(row["filepath"])
            except OSError:
                shutil.copyfile(row["filepath"], target)
        boxes = row["boxes"]
        objects = {
            "bbox": [[b["box"][0], b["box"][1], b["box"][2] - b["box"][0],
                      b["box"][3] - b["box"][1]] for b in boxes],
            "category": [b["label"] for b in boxes], "score": [b["score"] for b in boxes],
        }  # fmt: skip
        lines.append(
            to_json({"file_name": str(PurePosixPath(name)), "id": str(row["id"]),
                     "priority": row["priority"], "score": row["score"], "objects": objects})
        )  # fmt: skip
    write_atomic(folder / "train" / "metadata.jsonl", "".join(f"{line}\n" for line in lines))
    head = {"pretty_name": title, "tags": ["coreset", "image"]}
    body = (
        f"# {title}\n\n{len(rows):,} images in the order chosen (`priority` from 0); boxes are"
        " predictions.\n"
    )
    write_atomic(folder / "README.md", f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n{body}")
    return folder
