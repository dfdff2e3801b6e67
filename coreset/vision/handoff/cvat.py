"""CVAT for images 1.1: the XML that a task or a project exports."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from coreset.core.files import read_bytes
from coreset.vision.coco import CocoPool
from coreset.vision.handoff.names import category, place
from coreset.vision.handoff.returned import Returned, Shape, box_of, rle_of


def read_cvat(
    path: str | Path,
    pool: CocoPool,
    tag_skips: str | None = None,
    ignore: Collection[str] = (),
) -> Returned:
    """Return the labels of an export: boxes, polygons, masks, and tags as classes of whole images.

    Every image in the file counts as labeled. Its shapes come in their z order: later ones lie over
    earlier ones. tag_skips: an image with this tag is skipped instead. ignore: labels that are no
    classes, such as that of regions (see `write_masks`). Raises KeyError or ValueError naming file
    and image for one that the pool does not have or has in another size, one twice, tracks of a
    video, XML that declares entities, and a shape that is none.
    """
    source = str(path)
    data = read_bytes(path)
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise ValueError(f"{source}: XML that declares entities is not read")
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise ValueError(f"{source}: no XML ({error})") from error
    if root.tag != "annotations" or root.find("track") is not None:
        raise ValueError(f"{source}: expected CVAT for images 1.1, got <{root.tag}> or tracks")
    labeled, skipped, shapes = list[int](), list[int](), list[Shape]()
    seen: set[int] = set()
    for image in root.iter("image"):
        who = f"{source}: image {image.get('name')!r:.200}"
        at = place(pool, image.get("name"), who)
        if at in seen:
            raise ValueError(f"{who} is listed twice")
        seen.add(at)
        size = [int(image.get(k, "0")) for k in ("width", "height")]
        if size != pool.sizes[at].tolist():
            raise ValueError(
                f"{who}: {size} pixels here, {pool.sizes[at].tolist()} in {pool.source}"
            )
        if tag_skips and any(t.get("label") == tag_skips for t in image.iter("tag")):
            skipped.append(at)
            continue
        labeled.append(at)
        for element in sorted(image, key=lambda e: _layer(e, who)):
            if element.get("label") in ignore:
                continue
            shapes += _shape(element, at, pool, who)
    return Returned(pool, np.array(labeled, np.int64), np.array(skipped, np.int64), shapes, source)


def _layer(element: ElementTree.Element, who: str) -> int:
    order = element.get("z_order", "0")
    try:
        return int(order)
    except ValueError as error:
        raise ValueError(f"{who}: z_order {order!r:.80} is no whole number") from error


def _shape(element: ElementTree.Element, at: int, pool: CocoPool, who: str) -> list[Shape]:
    kind = element.tag
    if kind not in ("box", "polygon", "mask", "tag"):
        return []  # points and lines: no object with an area
    label = category(pool, element.get("label"), who)
    try:
        if kind == "tag":
            return [Shape(at, label)]
        if kind == "box":
            corners = [float(element.attrib[k]) for k in ("xtl", "ytl", "xbr", "ybr")]
            return [Shape(at, label, (corners[0], corners[1], corners[2], corners[3]))]
        if kind == "polygon":
            pairs = [p.split(",") for p in element.attrib["points"].split(";")]
            flat = [float(v) for x, y in pairs for v in (x, y)]
            return [Shape(at, label, box_of([flat]), "", [flat])]
        left, top, width, height = (
            int(element.attrib[k]) for k in ("left", "top", "width", "height")
        )
        counts = [int(v) for v in element.attrib["rle"].split(",")]
        values = np.arange(len(counts)) % 2 == 1
        inner = np.repeat(values, counts).reshape(height, width)
        mask = np.zeros(pool.sizes[at][::-1], bool)
        mask[top : top + height, left : left + width] = inner
        box = (float(left), float(top), float(left + width), float(top + height))
        return [Shape(at, label, box, "", None, rle_of(mask))]
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(f"{who}: no {kind} ({error})") from error
