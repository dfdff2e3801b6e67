"""COCO instances files: the pool of images, by id.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014 (arXiv:1405.0312).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.types import Array, Indices, Pool

OUTSIDE = 1.0  # pixels by which rounding may carry a box over the edge of its image


@dataclass(frozen=True, eq=False)
class CocoPool(Pool):
    """A pool of images: any strategy takes it; positions follow the order of the file.

    names (N,) file names; sizes (N, 2) width and height in pixels; categories: id -> name; groups (N,) or None; features (N, D) or None; source: the file.
    """

    names: NDArray[Any] = field(default_factory=lambda: np.empty(0, str))
    sizes: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 2), np.int64))
    categories: Mapping[int, str] = field(default_factory=dict)
    groups: NDArray[Any] | None = None
    features: Array = None
    source: str = "pool"

    @cached_property
    def places(self) -> dict[Any, int]:
        """Position by file name, by stem where only one image has it, and by id, which comes before both."""
        names, stems = self.names.tolist(), [PurePath(n).stem for n in self.names.tolist()]
        shared = {s for s, n in zip(*np.unique(stems, return_counts=True), strict=True) if n > 1}
        by_stem = {s: i for i, s in enumerate(stems) if s not in shared}
        return {**by_stem, **{n: i for i, n in enumerate(names)}, **{k: i for i, k in enumerate(self.ids.tolist())}}


def positions(pool: Pool, ids: Iterable[Any], source: str) -> Indices:
    """Return the positions of image ids in the pool, in order; with a COCO pool a file name, a path that ends in one, or a stem will do.

    Raises KeyError with the first unknown id and the file it came from.

    >>> positions(Pool(2, ids=np.array([7, 5])), [5, 7], "labels.json")
    array([1, 0])
    """
    wanted = [k.item() if isinstance(k, np.generic) else k for k in ids]
    places = pool.places if isinstance(pool, CocoPool) else {k: i for i, k in enumerate(pool.ids.tolist())}
    found = [places.get(k, -1) for k in wanted]
    for i, k in enumerate(wanted):
        if found[i] < 0 and isinstance(pool, CocoPool) and isinstance(k, str):
            parts = PurePath(k).parts
            tails = [str(PurePath(*parts[n:])) for n in range(len(parts))]  # the longest end of the path that is a name
            found[i] = next((places[t] for t in [*tails, PurePath(k).stem] if t in places), -1)
    missing = [k for k, i in zip(wanted, found, strict=True) if i < 0]
    if missing:
        raise KeyError(
            f"{source}: {len(missing)} image ids are not in {getattr(pool, 'source', 'the pool')}, first {missing[0]!r}"
        )
    return np.array(found, np.int64)


def read_json(path: str | Path) -> Any:
    """Return what a JSON file holds. Raises ValueError with the file when it is none."""
    try:
        return json.loads(Path(path).read_text())
    except ValueError as error:
        raise ValueError(f"{path}: not a JSON file: {error}") from error


def read_pool(
    instances: str | Path,
    *,
    labeled: str | Path | Sequence[Any] = (),
    features: str | Path | Array = None,
    groups: str | None = None,
) -> CocoPool:
    """Return the images of an instances file as a pool: what `Pool.from_coco` does."""
    data, source = read_json(instances), str(instances)
    images, categories, annotations = _parts(data, source)
    nameless = next((i for i, image in enumerate(images) if "id" not in image), None)
    if nameless is not None:
        raise ValueError(f"{source}: entry {nameless} of 'images' has no 'id'")
    ids = np.array([image["id"] for image in images])
    unique, counts = np.unique(ids, return_counts=True)
    if len(unique) != len(ids):
        raise ValueError(f"{source}: image id {unique[counts > 1][0].item()!r} occurs more than once")
    for image in images:
        for key in ("file_name", "width", "height", *([groups] if groups else [])):
            if key not in image:
                raise ValueError(f"{source}: image {image['id']!r} has no {key!r}")
    about: dict[str, Any] = {
        "ids": ids,
        "names": np.array([image["file_name"] for image in images]),
        "sizes": np.array([[image["width"], image["height"]] for image in images], np.int64),
        "categories": categories,
        "groups": np.array([image[groups] for image in images]) if groups else None,
        "source": source,
    }
    pool = CocoPool(len(images), **about)
    check_annotations(pool, annotations, source)
    return CocoPool(len(images), _labeled(pool, labeled), features=_features(pool, features), **about)


def _parts(data: Any, source: str) -> tuple[list[Any], dict[int, str], list[Any]]:
    if not isinstance(data, dict) or not isinstance(data.get("images"), list) or "categories" not in data:
        raise ValueError(f"{source}: no COCO instances file, it needs the lists 'images' and 'categories'")
    if not data["images"]:
        raise ValueError(f"{source}: holds no images")
    for i, c in enumerate(data["categories"]):
        if not isinstance(c, Mapping) or not isinstance(c.get("id"), int) or "name" not in c:
            raise ValueError(
                f"{source}: entry {i} of 'categories': expected a whole number 'id' and a 'name', got {c!r}"
            )
    categories = {int(c["id"]): str(c["name"]) for c in data["categories"]}
    if len(categories) != len(data["categories"]):
        raise ValueError(
            f"{source}: a category id occurs more than once, the ids are {[c['id'] for c in data['categories']]}"
        )
    return data["images"], categories, data.get("annotations") or []


def check_annotations(pool: CocoPool, rows: Sequence[Mapping[str, Any]], source: str) -> Indices:
    """Return the position of each annotation's image after checking image, category, box and mask size."""
    nowhere = next((i for i, row in enumerate(rows) if "image_id" not in row), None)
    if nowhere is not None:
        raise ValueError(f"{source}: annotation {nowhere} has no 'image_id'")
    places = positions(pool, [row["image_id"] for row in rows], source)
    for row, at in zip(rows, places.tolist(), strict=True):
        who = f"{source}: image {row['image_id']!r}"
        if row.get("category_id") not in pool.categories:
            raise ValueError(
                f"{who}: category {row.get('category_id')!r} is not one of {sorted(pool.categories)} of {pool.source}"
            )
        width, height = pool.sizes[at].tolist()
        if "bbox" in row:
            box = row["bbox"] if isinstance(row["bbox"], Sequence) and len(row["bbox"]) == 4 else [np.nan] * 4
            x, y, w, h = (v if isinstance(v, int | float) else np.nan for v in box)
            if not (
                w >= 0 and h >= 0 and min(x, y) >= -OUTSIDE and x + w <= width + OUTSIDE and y + h <= height + OUTSIDE
            ):
                raise ValueError(
                    f"{who}: box {row['bbox']} (x, y, width, height) does not lie inside {width} x {height} pixels"
                )
        mask = row.get("segmentation")
        if isinstance(mask, Mapping) and list(mask.get("size") or ()) != [height, width]:
            raise ValueError(f"{who}: a mask of {mask.get('size')} (height, width) in an image of {[height, width]}")
    return places


def _labeled(pool: CocoPool, labeled: str | Path | Sequence[Any]) -> Indices:
    if not isinstance(labeled, str | Path):
        return positions(pool, labeled, "labeled")
    source = str(labeled)
    images, categories, annotations = _parts(read_json(labeled), source)
    other = {k: v for k, v in categories.items() if pool.categories.get(k) != v}
    if other:
        raise ValueError(f"{source}: categories {other} do not match {dict(pool.categories)} of {pool.source}")
    taken = positions(pool, [image["id"] for image in images], source)
    for image, at in zip(images, taken.tolist(), strict=True):
        if PurePath(image.get("file_name", pool.names[at])).name != PurePath(pool.names[at]).name:
            raise ValueError(
                f"{source}: image {image['id']!r} is {image['file_name']!r} here and {str(pool.names[at])!r} in {pool.source}"
            )
    check_annotations(pool, annotations, source)
    return taken


def _features(pool: CocoPool, features: str | Path | Array) -> Array:
    if features is None or not isinstance(features, str | Path):
        given, source = features, "features"
    else:
        given, source = np.load(features, mmap_mode="r", allow_pickle=False), str(features)
        if isinstance(given, np.lib.npyio.NpzFile):
            at = positions(pool, given["ids"], source)
            order = np.full(pool.size, -1)
            order[at] = np.arange(len(at))
            if (order < 0).any():
                raise KeyError(
                    f"{source}: no features for {int((order < 0).sum())} images of {pool.source}, first {pool.ids[order < 0][0].item()!r}"
                )
            given = given["features"][order]
    if given is not None and (len(given.shape) != 2 or given.shape[0] != pool.size):
        raise ValueError(
            f"{source}: expected ({pool.size}, D), one row per image of {pool.source}, got {tuple(given.shape)}"
        )
    return given
