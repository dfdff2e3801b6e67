"""Checks of COCO files, entry by entry: every refusal names the file and the id."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

OUTSIDE = 1.0  # pixels by which rounding may carry a box over the edge of its image
LONGEST = 4096  # characters of an id or a file name
SIDE = 2**31 - 1  # pixels of one side of an image
_BAD = re.compile("[\\x00-\\x1f\\x7f\\ud800-\\udfff]")


def whole(value: Any) -> int | None:
    """Return a whole number of 64 bits as an int, None for anything else; 3.0 is whole, True is
    not.

    >>> whole(3.0), whole(True), whole("3"), whole(float("nan"))
    (3, None, None, None)
    """
    value = value.item() if isinstance(value, np.generic) else value
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not -(2**63) <= value < 2**63
    ):
        return None
    return int(value) if value == math.floor(value) else None


def number(value: Any) -> float:
    """Return a number as a float, NaN for anything else."""
    try:
        return float("nan") if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def keys_of(values: Sequence[Any], source: str, what: str) -> NDArray[Any]:
    """Return image ids (N,): all whole numbers or all texts. Raises ValueError naming file and
    entry.
    """
    texts = isinstance(values[0], str) if len(values) else False
    out: list[Any] = []
    for i, value in enumerate(values):
        key = value if isinstance(value, str) and texts else None if texts else whole(value)
        if key is None or (isinstance(key, str) and ("\0" in key or len(key) > LONGEST)):
            kind = f"a text of at most {LONGEST} characters" if texts else "a whole number"
            raise ValueError(
                f"{source}: entry {i} of {what}: id: expected {kind} (all ids are whole numbers,"
                f" or all are texts), got {value!r:.80}"
            )
        out.append(key)
    keys = np.array(out) if out else np.empty(0, np.int64)
    unique, counts = np.unique(keys, return_counts=True)
    if len(unique) != len(keys):
        raise ValueError(
            f"{source}: image id {unique[counts > 1][0].item()!r} occurs more than once"
        )
    return keys


def check_name(name: Any, who: str) -> str:
    """Return a file name that stays inside its folder. Raises ValueError for `..`, control
    characters, no text.

    >>> check_name("../../etc/passwd", "all.json: image 7")
    Traceback (most recent call last):
    ValueError: all.json: image 7: file_name '../../etc/passwd' leaves the folder of the images
    """
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST or _BAD.search(name):
        raise ValueError(
            f"{who}: file_name: expected a text of 1 to {LONGEST} characters without control"
            f" characters, got {name!r:.80}"
        )
    if ".." in name.replace("\\", "/").split("/"):
        raise ValueError(f"{who}: file_name {name!r} leaves the folder of the images")
    if not PurePosixPath(name).name:
        raise ValueError(f"{who}: file_name {name!r} names no file")
    return name


def inside(name: Any, who: str) -> PurePosixPath:
    """Return the path of a file name below a folder. Raises ValueError where it would lie
    elsewhere.
    """
    path = PurePosixPath(check_name(str(name), who))
    if path.is_absolute():
        raise ValueError(
            f"{who}: file_name {str(name)!r} is an absolute path, expected one below a folder"
        )
    return path


def check_images(images: Sequence[Any], source: str, groups: str | None) -> dict[str, NDArray[Any]]:
    """Return ids (N,), names (N,), sizes (N, 2) and, with a key of the entries for it,
    groups (N,).
    """
    for i, image in enumerate(images):
        if not isinstance(image, Mapping):
            raise ValueError(
                f"{source}: entry {i} of 'images': expected an object, got {image!r:.80}"
            )
        if "id" not in image:
            raise ValueError(f"{source}: entry {i} of 'images' has no 'id'")
    ids = keys_of([image["id"] for image in images], source, "'images'")
    sizes = np.empty((len(images), 2), np.int64)
    names: dict[str, Any] = {}
    for i, image in enumerate(images):
        who = f"{source}: image {image['id']!r}"
        for key in ("file_name", "width", "height", *([groups] if groups else [])):
            if key not in image:
                raise ValueError(f"{who} has no {key!r}")
        name = check_name(image["file_name"], who)
        if name in names:
            raise ValueError(f"{who}: file_name {name!r} is that of image {names[name]!r} too")
        names[name] = image["id"]
        for axis, key in enumerate(("width", "height")):
            side = whole(image[key])
            if side is None or not 1 <= side <= SIDE:
                raise ValueError(
                    f"{who}: {key}: expected a whole number from 1 to {SIDE}, got"
                    f" {image[key]!r:.80}"
                )
            sizes[i, axis] = side
    about = {"ids": ids, "names": np.array(list(names)), "sizes": sizes}
    return about | ({"groups": _groups(images, source, groups)} if groups else {})


def _groups(images: Sequence[Mapping[str, Any]], source: str, key: str) -> NDArray[Any]:
    """Return the group of each image (N,): all texts or all numbers."""
    kind: Any = str if isinstance(images[0][key], str) else int | float
    for image in images:
        value = image[key]
        if not isinstance(value, kind) or (isinstance(value, float) and not math.isfinite(value)):
            raise ValueError(
                f"{source}: image {image['id']!r}: {key}: expected a text or a number,"
                f" as for all images, got {value!r:.80}"
            )
    return np.array([image[key] for image in images])


def parts_of(data: Any, source: str) -> tuple[list[Any], dict[int, str], list[Any]]:
    """Return images, categories and annotations of an instances file; an annotation's id occurs
    once.
    """
    lists = isinstance(data, dict) and all(
        isinstance(data.get(k), list) for k in ("images", "categories")
    )
    if not lists:
        raise ValueError(
            f"{source}: no COCO instances file, it needs the lists 'images' and 'categories'"
        )
    if not data["images"]:
        raise ValueError(f"{source}: holds no images")
    categories: dict[int, str] = {}
    for i, c in enumerate(data["categories"]):
        key = whole(c.get("id")) if isinstance(c, Mapping) else None
        if key is None or isinstance(c["id"], float) or not isinstance(c.get("name"), str | int):
            raise ValueError(
                f"{source}: entry {i} of 'categories': expected a whole number 'id' and a 'name',"
                f" got {c!r:.200}"
            )
        categories[key] = str(c["name"])
    if len(categories) != len(data["categories"]):
        raise ValueError(
            f"{source}: a category id occurs more than once, the ids are"
            f" {[c['id'] for c in data['categories']]}"
        )
    annotations = data.get("annotations", [])
    if not isinstance(annotations, list):
        raise ValueError(f"{source}: annotations: expected a list, got {annotations!r:.80}")
    seen: set[Any] = set()
    for i, row in enumerate(annotations):
        if not isinstance(row, Mapping):
            raise ValueError(f"{source}: annotation {i}: expected an object, got {row!r:.80}")
        key = row.get("id")
        if "id" in row and not isinstance(key, str) and whole(key) is None:
            raise ValueError(
                f"{source}: annotation {i} (image {row.get('image_id')!r:.80}): id: expected a"
                f" whole number or a text, got {key!r:.80}"
            )
        if "id" in row and key in seen:
            raise ValueError(
                f"{source}: annotation id {key!r} (image {row.get('image_id')!r:.80}) occurs more"
                " than once"
            )
        seen.add(key)
    return data["images"], categories, annotations


def check_box(
    row: Mapping[str, Any],
    size: Sequence[int],
    categories: Mapping[int, str],
    who: str,
    source: str,
) -> None:
    """Raise ValueError for an annotation whose category, box or mask does not fit its image of
    `size` (width, height).
    """
    category = whole(row.get("category_id"))
    if category is None or category not in categories:
        raise ValueError(
            f"{who}: category {row.get('category_id')!r:.80} is not one of {sorted(categories)} of"
            f" {source}"
        )
    width, height = size
    if "bbox" in row:
        box = (
            row["bbox"]
            if isinstance(row["bbox"], list | tuple) and len(row["bbox"]) == 4
            else [np.nan] * 4
        )
        x, y, w, h = map(number, box)
        over = (x, y, width - x - w, height - y - h)
        if not (w >= 0 and h >= 0 and all(side >= -OUTSIDE for side in over)):
            raise ValueError(
                f"{who}: box {row['bbox']!r:.200} (x, y, width, height) does not lie inside {width}"
                f" x {height} pixels"
            )
    mask = row.get("segmentation")
    if isinstance(mask, Mapping):
        side = mask.get("size")
        if not isinstance(side, list | tuple) or list(side) != [height, width]:
            raise ValueError(
                f"{who}: a mask of {side!r:.80} (height, width) in an image of {[height, width]}"
            )
