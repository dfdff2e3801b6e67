"""COCO files that a tool has written: Label Studio's, CVAT's, anyone's."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from coreset.vision.coco import CocoPool, read_json
from coreset.vision.coco_check import parts_of
from coreset.vision.handoff.names import category, place
from coreset.vision.handoff.returned import Returned, Shape, box_of, rle_of


def read_coco(path: str | Path, pool: CocoPool, ignore: Collection[str] = ()) -> Returned:
    """Return the labels of an instances file of a tool, whose image and category ids are its own:
    images go by file name, classes by name.

    Every image that the file lists counts as labeled. ignore: classes that are none, such as that
    of regions (see `write_masks`): their annotations are left out. Raises KeyError or ValueError
    naming file and image for one that the pool does not have, one twice, another size, and an
    annotation of no image or class of the file.
    """
    source = str(path)
    data = read_json(path)
    entries, classes, rows = parts_of(data, source)
    passed = {k for k, name in classes.items() if name in ignore}
    rows = [row for row in rows if row.get("category_id") not in passed]
    used = {row.get("category_id") for row in rows}
    numbers = {k: category(pool, name, source) for k, name in classes.items() if k in used}
    where: dict[Any, int] = {}
    labeled: dict[int, int] = {}
    for i, image in enumerate(entries):
        who = f"{source}: image {image.get('id')!r:.40}"
        at = place(pool, image.get("file_name"), who)
        if at in labeled or image.get("id") in where:
            raise ValueError(f"{who}: entry {i} is an image that was listed before")
        given = [image.get("width"), image.get("height")]
        if None not in given and given != pool.sizes[at].tolist():
            raise ValueError(
                f"{who}: {given} pixels here, {pool.sizes[at].tolist()} in {pool.source}"
            )
        where[image.get("id")] = at
        labeled[at] = i
    shapes = []
    for i, row in enumerate(rows):
        who = f"{source}: annotation {i}"
        if row.get("image_id") not in where or row.get("category_id") not in numbers:
            raise ValueError(
                f"{who}: image {row.get('image_id')!r:.40} or category"
                f" {row.get('category_id')!r:.40} is none of the file"
            )
        shapes.append(_shape(row, where[row["image_id"]], numbers[row["category_id"]], who))
    return Returned(pool, np.array(list(labeled), np.int64), np.empty(0, np.int64), shapes, source)


def _shape(row: Any, at: int, label: int, who: str) -> Shape:
    mask = row.get("segmentation")
    polygons = [list(map(float, p)) for p in mask] if isinstance(mask, list) and mask else None
    rle = mask if isinstance(mask, dict) else None
    if rle is not None and not isinstance(rle.get("counts"), list):
        from pycocotools import mask as tools

        rle = rle_of(np.asarray(tools.decode(rle), bool))
    box = row.get("bbox")
    try:
        if box:
            x, y, w, h = map(float, box)
            corners = (x, y, x + w, y + h)
        elif polygons:
            corners = box_of(polygons)
        else:
            raise ValueError("neither a box nor a polygon")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{who}: no box ({error})") from error
    return Shape(at, label, corners, "", polygons, rle)
