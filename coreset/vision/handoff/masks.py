"""Segmentation handed out and taken back: predicted class maps as mask pre-labels, chosen regions
as masks that say which pixels are asked for, and what annotators drew as class maps.

A class map (H, W) holds class numbers, 0 for the category of the lowest id and so on, -1 where a
pixel counts for none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from coreset.core.store import write_atomic
from coreset.vision.coco import CocoPool, positions
from coreset.vision.handoff.label_studio import brush
from coreset.vision.handoff.returned import Returned, mask_box, rle_of
from coreset.vision.region_choice import RegionChoice

FORMS = ("coco", "cvat", "label_studio")
Maps = Mapping[Any, NDArray[Any]]
Drawn = list[tuple[int, NDArray[np.bool_]]]


def write_masks(
    path: str | Path,
    form: str,
    pool: CocoPool,
    maps: Maps | None = None,
    regions: RegionChoice | None = None,
    *,
    region: str = "region",
    prefix: str = "",
) -> Path:
    """Write images and masks for an annotation tool, in the order of `regions`, or of `maps`.

    form: `coco` (instances with run lengths), `cvat` (CVAT for images 1.1) or `label_studio` (tasks
    with brush predictions; prefix goes before each file name). maps: class maps by image id, the
    pre-labels; with regions too, only inside the chosen ones. regions: every chosen region is a
    mask of the class `region`, drawn first; readers leave it out by `ignore=`. Raises ValueError
    for no image, a map of another size, a class number beyond the categories and a pool that has a
    class `region` of its own, KeyError for an image the pool does not have.
    """
    if form not in FORMS:
        raise ValueError(f"form: expected {', '.join(FORMS)}, got {form!r}")
    order = sorted(pool.categories)
    names = [pool.categories[k] for k in order]
    asked = {} if regions is None else regions.masks()
    if regions is not None and region in names:
        raise ValueError(f"region: the class {region!r} is one of the pool, give another name")
    keys = list(asked) if regions is not None else list(maps or ())
    if not keys:
        raise ValueError("no image: expected class maps or chosen regions")
    at = positions(pool, keys, "maps").tolist()
    images = []
    for key, place in zip(keys, at, strict=True):
        shape = tuple(pool.sizes[place][::-1].tolist())
        drawn: Drawn = []
        if regions is not None:
            _check_size(asked[key], shape, key)
            drawn += [(len(names), m) for m in _regions_of(regions, key)]
        if maps is not None and (regions is None or key in maps):
            drawn += _classes_of(maps[key], shape, key, len(names), asked.get(key))
        images.append((place, drawn))
    labels = [*names, *([region] if regions is not None else [])]
    numbers = [*order, *([max(order, default=0) + 1] if regions is not None else [])]
    content = {
        "coco": lambda: _coco(pool, images, labels, numbers),
        "cvat": lambda: _cvat(pool, images, labels),
        "label_studio": lambda: _label_studio(pool, images, labels, prefix),
    }[form]()
    return write_atomic(path, content)


def class_maps(returned: Returned, several: str = "error") -> dict[Any, NDArray[np.int64]]:
    """Return what was drawn as class maps (H, W) by image id, -1 where nothing was: later shapes
    lie over earlier ones. What `RegionChoice.write_masks` takes.

    several: see `Returned.one_each`. Raises ImportError with the install line without pycocotools
    where there are polygons.
    """
    pool = returned.pool
    number = {k: i for i, k in enumerate(sorted(pool.categories))}
    out = {
        pool.ids[i].item(): np.full(pool.sizes[i][::-1], -1, np.int64)
        for i in returned.labeled.tolist()
    }
    for shape in returned.one_each(several):
        if shape.rle is None and shape.polygons is None:
            continue
        whole = out[pool.ids[shape.position].item()]
        if shape.rle is not None:
            counts = np.asarray(shape.rle["counts"])
            mask = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
            mask = mask.reshape(whole.shape[::-1]).T
        else:
            mask = _filled([list(p) for p in shape.polygons or ()], whole.shape)
        whole[mask] = number[shape.category]
    return out


def _filled(polygons: list[list[float]], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    try:
        from pycocotools import mask as tools
    except ImportError as error:
        raise ImportError(
            "polygons need pycocotools: pip install 'coreset-lightning[dense]'"
        ) from error
    parts = tools.frPyObjects(polygons, *shape)
    return np.asarray(tools.decode(tools.merge(parts)), bool)


def _check_size(class_map: NDArray[Any], shape: tuple[int, ...], key: Any) -> None:
    if class_map.shape != shape:
        raise ValueError(f"image {key!r}: a map of {class_map.shape}, the image has {shape}")


def _classes_of(
    given: NDArray[Any],
    shape: tuple[int, ...],
    key: Any,
    classes: int,
    asked: NDArray[np.bool_] | None,
) -> Drawn:
    values = np.asarray(given)
    _check_size(values, shape, key)
    if values.size and int(values.max()) >= classes:
        raise ValueError(f"image {key!r}: class {int(values.max())}, but there are {classes}")
    inside = values >= 0 if asked is None else (values >= 0) & asked
    return [(int(c), inside & (values == c)) for c in np.unique(values[inside])]


def _regions_of(regions: RegionChoice, key: Any) -> Iterator[NDArray[np.bool_]]:
    names = [str(k) for k in regions.images.tolist()]
    for row in regions.rows.tolist():
        if names[int(regions.regions.image[row])] == str(key):
            yield regions.regions.mask(row)


def _coco(pool: CocoPool, images: Any, labels: list[str], numbers: list[int]) -> str:
    rows, entries = list[dict[str, Any]](), list[dict[str, Any]]()
    for rank, (at, drawn) in enumerate(images):
        width, height = pool.sizes[at].tolist()
        key = pool.ids[at].item()
        entries.append(
            {"id": key, "file_name": str(pool.names[at]), "width": width, "height": height,
             "priority": rank}
        )  # fmt: skip
        for number, mask in drawn:
            x, y, x2, y2 = mask_box(mask)
            rows.append({
                "id": len(rows) + 1, "image_id": key, "category_id": numbers[number],
                "segmentation": rle_of(mask),
                "bbox": [x, y, x2 - x, y2 - y], "area": int(mask.sum()), "iscrowd": 1,
            })  # fmt: skip
    categories = [{"id": k, "name": n} for k, n in zip(numbers, labels, strict=True)]
    return json.dumps({"images": entries, "annotations": rows, "categories": categories}, indent=1)


def _cvat(pool: CocoPool, images: Any, labels: list[str]) -> str:
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    listed = ElementTree.SubElement(task, "labels")
    for name in labels:
        ElementTree.SubElement(ElementTree.SubElement(listed, "label"), "name").text = name
    for rank, (at, drawn) in enumerate(images):
        width, height = pool.sizes[at].tolist()
        image = ElementTree.SubElement(
            root, "image", id=str(rank), name=str(pool.names[at]), width=str(width),
            height=str(height)
        )  # fmt: skip
        for order, (number, mask) in enumerate(drawn):
            x, y, x2, y2 = (int(v) for v in mask_box(mask))
            counts = rle_of(mask[y:y2, x:x2].T)["counts"]  # CVAT goes along the rows
            about = {
                "rle": ", ".join(map(str, counts)), "left": str(x), "top": str(y),
                "width": str(x2 - x), "height": str(y2 - y)
            }  # fmt: skip
            about |= {
                "label": labels[number],
                "source": "auto",
                "occluded": "0",
                "z_order": str(order),
            }
            ElementTree.SubElement(image, "mask", about)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True)


def _label_studio(pool: CocoPool, images: Any, labels: list[str], prefix: str) -> str:
    tasks = []
    for rank, (at, drawn) in enumerate(images):
        result = [
            brush(mask, labels[number], id=f"{rank}-{i}") for i, (number, mask) in enumerate(drawn)
        ]
        data = {
            "image": prefix + str(pool.names[at]),
            "image_id": pool.ids[at].item(),
            "priority": rank,
        }
        guess = {"model_version": "coreset", "score": rank / len(images), "result": result}
        tasks.append({"data": data, "predictions": [guess]})
    return json.dumps(tasks)
