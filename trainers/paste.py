"""Children of images with boxes or masks: objects of labeled images pasted into other labeled ones.

Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation",
CVPR 2021 (arXiv:2012.07177), by `coreset.flywheel.synthesis.images.copy_paste`.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from coreset.core.store import fingerprint, to_json, write_atomic
from coreset.flywheel.synthesis.images import Mask, Scene, boxes_of, copy_paste
from coreset.flywheel.synthesize import AddChildren
from coreset.trainers.data.coco import CocoData, Part, read_part
from coreset.trainers.data.decode import square
from coreset.vision.coco import CocoPool, read_json

FILE, IMAGES, GENERATOR = "children.json", "images", "copy_paste"
TRIES = 20  # places in which an object is tried before no child is made


@dataclass(frozen=True)
class PasteChildren(AddChildren):
    """`AddChildren` for `coco_flywheel`, which makes the children: for every class `each` images of
    the start set into which an object of the class, of another one, is pasted, cut out by its mask
    or, where it has none, by its box.

    blend, visible: soft edge in pixels and the least share that stays of every object, as
    `copy_paste` has them. Where 20 draws find no such place there is one child less.
    """

    each: int = 20
    blend: float = 1.0
    visible: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.each < 1 or not self.blend >= 0 or not 0 < self.visible <= 1:
            raise ValueError(
                "paste: expected each of at least 1, blend of at least 0 and visible in (0, 1], got"
                f" {self.each}, {self.blend}, {self.visible}"
            )


def scene_of(part: Part, at: int) -> Scene:
    """Return an image with its annotations, in their order, as masks: what `segmentation` draws, or
    the pixels that the box touches.
    """
    rows = part.annotations[at]
    pixels = part.image(at)
    height, width = pixels.shape[:2]
    masks = np.zeros((len(rows), height, width), bool)
    for mask, row in zip(masks, rows, strict=True):
        if row.get("segmentation"):
            mask[:] = part.draw([row], at, f"{part.pool.source}: image {part.pool.ids[at]!r}") > 0
        elif "bbox" in row:
            x, y, wide, high = row["bbox"]
            mask[_pixels(y, high), _pixels(x, wide)] = True
    labels = [part.number[r["category_id"]] for r in rows]
    return Scene(pixels, masks, np.array(labels, np.int64))


def _pixels(low: float, size: float) -> slice:
    return slice(max(0, int(np.floor(low))), max(0, int(np.ceil(low + size))))


def entries_of(
    before: list[Mapping[str, Any]], scene: Scene, out: Scene, pasted: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the annotations of a child: those of its scene, `before`, where nothing covers them as
    they are, else of what is left; last the pasted object, whose own annotation is `pasted`.
    """
    entries: list[dict[str, Any]] = []
    for row, old, new in zip(before, scene.masks, out.masks[:-1], strict=True):
        entries.append(dict(row) if (old == new).all() else _entry(row, new))
    return [*entries, _entry(pasted, out.masks[-1])]


def _entry(row: Mapping[str, Any], mask: Mask) -> dict[str, Any]:
    from pycocotools import mask as codec

    entry = {
        "category_id": row["category_id"], "iscrowd": int(row.get("iscrowd", 0)),
        "bbox": boxes_of(mask[None])[0].tolist(), "area": int(mask.sum()),
    }  # fmt: skip
    if row.get("segmentation"):
        coded = codec.encode(np.asfortranarray(mask.astype(np.uint8)))
        entry["segmentation"] = {
            "size": list(mask.shape),
            "counts": coded["counts"].decode("ascii"),
        }
    return entry


def make_children(
    folder: Path,
    part: Part,
    start: NDArray[np.int64],
    labels: NDArray[np.int64],
    stage: PasteChildren,
    seed: int,
) -> Path:
    """Write the children of the images at `start`, unless they are there: PNG files and, last, an
    instances file with the parents of every image, in a folder named by what they are made of.

    labels (N,): the rarest class in each image. A child of a class is made on an image in which
    nothing is rarer, so that it counts as one of the class. Returns the folder.
    """
    settings = {"each": stage.each, "blend": stage.blend, "visible": stage.visible, "seed": seed}
    ids = [str(i) for i in part.pool.ids[start].tolist()]
    rows = [list(map(dict, part.annotations[i])) for i in start.tolist()]
    about = fingerprint(
        settings, ids, to_json(rows), [fingerprint(part.image(i)) for i in start.tolist()]
    )
    folder = folder / about
    if (folder / FILE).exists():
        return folder
    classes = [part.boxes(i)[1] for i in start.tolist()]
    many = np.bincount(np.concatenate(classes), minlength=len(part.number) + 1)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for label in sorted(part.number.values()):
        objects = [
            (at, place)
            for at in start.tolist()
            for place, row in enumerate(part.annotations[at])
            if part.number[row["category_id"]] == label and not row.get("iscrowd")
        ]
        grounds = [
            at
            for at in start.tolist()
            if not labels[at] or (many[labels[at]], labels[at]) >= (many[label], label)
        ]
        for number in range(stage.each if objects and grounds else 0):
            rng = np.random.default_rng([seed, zlib.crc32(GENERATOR.encode()), label, number])
            child = _child(part, objects, grounds, stage, rng)
            if child is None:
                continue
            out, entries, parents = child
            name = f"c{fingerprint(out.pixels, to_json(entries), parents)}"
            if any(i["id"] == name for i in images):
                continue
            height, width = out.pixels.shape[:2]
            png = io.BytesIO()
            Image.fromarray(out.pixels).save(png, "PNG")
            write_atomic(folder / IMAGES / f"{name}.png", png.getvalue())
            images.append({
                "id": name, "file_name": f"{name}.png", "width": width, "height": height,
                "parents": parents, "pasted": part.pool.categories[entries[-1]["category_id"]],
            })  # fmt: skip
            for entry in entries:
                annotations.append({**entry, "id": len(annotations) + 1, "image_id": name})
    categories = [{"id": k, "name": v} for k, v in part.pool.categories.items()]
    whole = {
        "info": {"generator": GENERATOR, "settings": settings},
        "images": images, "annotations": annotations, "categories": categories,
    }  # fmt: skip
    write_atomic(folder / FILE, to_json(whole, indent=1))
    return folder


def _child(
    part: Part,
    objects: list[tuple[int, int]],
    grounds: list[int],
    stage: PasteChildren,
    rng: np.random.Generator,
) -> tuple[Scene, list[dict[str, Any]], str] | None:
    """Return a child, its annotations and its parents; None where no draw finds a place."""
    for _ in range(TRIES):
        at, which = objects[int(rng.integers(len(objects)))]
        ground = grounds[int(rng.integers(len(grounds)))]
        source, u, v = scene_of(part, at), rng.random(), rng.random()
        if ground == at or not source.masks[which].any():
            continue
        scene = scene_of(part, ground)
        height, width = scene.pixels.shape[:2]
        wide, high = boxes_of(source.masks[which : which + 1])[0, 2:].tolist()
        x, y = round(u * (width - wide)), round(v * (height - high))
        out = copy_paste(scene, source, which, x, y, blend=stage.blend, visible=stage.visible)
        if out is not None:
            before = list(part.annotations[ground])
            entries = entries_of(before, scene, out, part.annotations[at][which])
            return out, entries, f"{part.pool.ids[at]} {part.pool.ids[ground]}"
    return None


def with_children(data: CocoData, folder: Path) -> tuple[CocoData, list[str]]:
    """Return the data with all children of a flywheel behind its images, and their parents.

    folder: holds the folders that `make_children` has written. Raises ValueError for children of
    other categories or without parents.
    """
    parents: list[str] = []
    for file in sorted(folder.glob(f"*/{FILE}")):
        more = read_part(file.parent, FILE, IMAGES)
        if dict(more.pool.categories) != dict(data.part.pool.categories):
            raise ValueError(f"{file}: its categories are not those of {data.part.pool.source}")
        listed = [str(i.get("parents", "")) for i in read_json(file)["images"]]
        new = [i for i, k in enumerate(more.pool.ids.tolist()) if k not in set(data.ids.tolist())]
        data = _behind(data, more, new)
        parents += [listed[i] for i in new]
    return data, parents


def _behind(data: CocoData, more: Part, rows: list[int]) -> CocoData:
    """Return the data with some images of another part behind its own."""
    if not rows:
        return data
    a, b = data.part.pool, more.pool
    names = [str((more.root / str(b.names[i])).resolve()) for i in rows]
    pool = CocoPool(
        a.size + len(rows),
        ids=np.array([*a.ids.tolist(), *(str(b.ids[i]) for i in rows)]),
        names=np.array([*a.names.tolist(), *names]),
        sizes=np.concatenate([a.sizes, b.sizes[rows]]),
        categories=a.categories,
        source=a.source,
    )
    small = [square(Image.fromarray(more.image(i)), data.images.shape[1]) for i in rows]
    main = more.main_class()[rows]
    return replace(
        data,
        images=np.concatenate([data.images, np.stack(small)]),
        labels=np.concatenate([data.labels, main]),
        ids=pool.ids,
        part=replace(
            data.part,
            pool=pool,
            annotations=[*data.part.annotations, *(more.annotations[i] for i in rows)],
        ),
    )
