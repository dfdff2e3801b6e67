"""Label Studio's own JSON export: boxes, polygons, brush masks, classes of whole images."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.vision.coco import CocoPool, read_json
from coreset.vision.handoff.brush import decode_brush, encode_brush
from coreset.vision.handoff.names import category, place
from coreset.vision.handoff.returned import Returned, Shape, box_of, mask_box, rle_of

_KINDS = ("rectanglelabels", "polygonlabels", "brushlabels", "choices")


def read_label_studio(
    path: str | Path, pool: CocoPool, field: str = "image", ignore: Collection[str] = ()
) -> Returned:
    """Return the labels of an export in Label Studio's native JSON.

    field: the name of the image in the tasks' data. ignore: labels that are no classes, such as
    that of regions (see `write_masks`). An image belongs to a task by its file name; task ids mean
    nothing, and predictions are no labels. A task without an annotation is open, one whose
    annotations were all cancelled is skipped. Raises KeyError or ValueError naming file and task
    for an image or a class that the pool does not have, a name and an `image_id` that contradict
    each other, a task twice, and a shape of another kind.
    """
    source = str(path)
    tasks = read_json(path)
    if not isinstance(tasks, list):
        raise ValueError(f"{source}: expected a list of tasks, got {type(tasks).__name__}")
    ids = {k: i for i, k in enumerate(pool.ids.tolist())}
    seen: dict[int, int] = {}
    labeled, skipped, shapes = list[int](), list[int](), list[Shape]()
    annotators: dict[int, list[str]] = {}
    for number, task in enumerate(tasks):
        who = f"{source}: task {number}"
        if not isinstance(task, Mapping) or not isinstance(task.get("data"), Mapping):
            raise ValueError(f"{who}: expected an object with 'data'")
        data = task["data"]
        at = place(pool, data.get(field), who)
        by_id = ids.get(data["image_id"], -1) if "image_id" in data else at
        if by_id != at:
            other = str(pool.names[by_id]) if by_id >= 0 else "no image"
            raise ValueError(
                f"{who}: the image is {data[field]!r:.200}, but image_id {data['image_id']!r:.40}"
                f" is {other!r} in {pool.source}"
            )
        if at in seen:
            raise ValueError(
                f"{who} and task {seen[at]} are the same image {str(pool.names[at])!r}"
            )
        seen[at] = number
        given = [a for a in task.get("annotations") or [] if isinstance(a, Mapping)]
        done = [a for a in given if not a.get("was_cancelled")]
        if not done:
            skipped += [at] if given else []
            continue
        labeled.append(at)
        names = _annotators(done)
        annotators[at] = names
        for name, one in zip(names, done, strict=True):
            for shape in one.get("result") or []:
                shapes += shapes_of(shape, at, name, pool, who, ignore)
    return Returned(
        pool, np.array(labeled, np.int64), np.array(skipped, np.int64), shapes, source, annotators
    )


def _annotators(done: list[Mapping[str, Any]]) -> list[str]:
    """Return a name per annotation; one person's second is another name."""
    out: list[str] = []
    for one in done:
        by = one.get("completed_by")
        name = str(by.get("email") or by.get("id") if isinstance(by, Mapping) else by)
        times = sum(o == name or o.startswith(f"{name} (") for o in out)
        out.append(name if not times else f"{name} ({times + 1})")
    return out


def shapes_of(
    shape: Any, at: int, name: str, pool: CocoPool, who: str, ignore: Collection[str] = ()
) -> list[Shape]:
    """Return what one result of an annotation draws in the image at position `at`; nothing for
    what is no shape (relations, ratings, texts) or has a label of `ignore`.

    name: of the annotator; who: begins the messages. Raises KeyError for a class that the pool does
    not have, ValueError for a shape of another kind or size.
    """
    if not isinstance(shape, Mapping) or not isinstance(shape.get("value"), Mapping):
        raise ValueError(f"{who}: expected results with a 'value', got {shape!r:.80}")
    value, kind = shape["value"], shape.get("type")
    if kind not in _KINDS:
        return []  # relations, ratings, texts: of no image
    labels = value.get(kind) or []
    if any(label in ignore for label in labels):
        return []
    if len(labels) != 1 and kind != "choices":
        raise ValueError(f"{who}: expected one class per shape, got {labels!r:.80}")
    classes = [category(pool, label, who) for label in labels]
    if kind == "choices":
        return [Shape(at, k, None, name) for k in classes]
    width, height = (int(v) for v in pool.sizes[at])
    try:
        if kind == "rectanglelabels":
            return [Shape(at, classes[0], _box(value, width, height), name)]
        if kind == "polygonlabels":
            points = [v for x, y in value["points"] for v in (x * width / 100, y * height / 100)]
            return [Shape(at, classes[0], box_of([points]), name, [points])]
        size = int(shape["original_width"]), int(shape["original_height"])
        if size != (width, height):
            raise ValueError(f"a mask of {size} pixels, the image has {(width, height)}")
        mask = decode_brush(value["rle"], width, height)
        return [Shape(at, classes[0], mask_box(mask), name, None, rle_of(mask))]
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{who}: no shape of kind {kind} ({error!r})") from error
    except ValueError as error:
        raise ValueError(f"{who}: {error}") from error


def _box(value: Mapping[str, Any], width: int, height: int) -> tuple[float, float, float, float]:
    """Return a box in pixels; of a rotated one (clockwise about its first corner) the box around
    it, inside the image.
    """
    x, y = value["x"] * width / 100, value["y"] * height / 100
    w, h = value["width"] * width / 100, value["height"] * height / 100
    turn = np.deg2rad(float(value.get("rotation") or 0))
    if not turn:
        return x, y, x + w, y + h
    corners = np.array([[0, 0], [w, 0], [w, h], [0, h]])
    turned = corners @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    points = np.clip(turned + np.array([x, y]), 0, [width, height])
    low, high = points.min(axis=0), points.max(axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def rectangle(
    box: Sequence[float], label: str, width: int, height: int, **about: Any
) -> dict[str, Any]:
    """Return a box x1, y1, x2, y2 in pixels as a result: percents of the image, inside it."""
    x, y, x2, y2 = np.clip(np.asarray(box) / np.array([width, height] * 2), 0, 1).tolist()
    value = {"x": 100 * x, "y": 100 * y, "width": 100 * (x2 - x), "height": 100 * (y2 - y)}
    value |= {"rotation": 0, "rectanglelabels": [label]}
    return _result("rectanglelabels", value, width, height, about)


def brush(mask: NDArray[np.bool_], label: str, **about: Any) -> dict[str, Any]:
    """Return a mask (H, W) as a result."""
    height, width = mask.shape
    value = {"format": "rle", "rle": encode_brush(mask), "brushlabels": [label]}
    return _result("brushlabels", value, width, height, about)


def _result(
    kind: str, value: Mapping[str, Any], width: int, height: int, about: Mapping[str, Any]
) -> dict[str, Any]:
    size = {"original_width": width, "original_height": height, "image_rotation": 0}
    names = {"from_name": "label", "to_name": "image"}
    return {"type": kind, **names, **about, **size, "value": dict(value)}
