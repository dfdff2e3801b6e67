"""COCO instances files: the pool of images, by id.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014 (arXiv:1405.0312).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.files import load_array, read_json
from coreset.core.pool import Array, Indices, Pool
from coreset.vision.coco_check import OUTSIDE, check_box, check_images, parts_of

__all__ = [
    "OUTSIDE",
    "CocoPool",
    "check_annotations",
    "match_images",
    "positions",
    "read_json",
    "read_pool",
]

SEVERAL = -2  # images have a name, in the place of a position
SHOWN = 5  # names of categories in a repr


@dataclass(frozen=True, eq=False, repr=False)
class CocoPool(Pool):
    """A pool of images: any strategy takes it; positions follow the order of the file.

    names (N,) file names; sizes (N, 2) width and height in pixels; categories: id -> name; groups
    (N,) or None; features (N, D) or None; source: the file; known_boxes (N,): the number of boxes
    drawn in each image of the file of what is labeled, NaN elsewhere, None where that file holds no
    annotation.
    """

    names: NDArray[Any] = field(default_factory=lambda: np.empty(0, str))
    sizes: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 2), np.int64))
    categories: Mapping[int, str] = field(default_factory=dict)
    groups: NDArray[Any] | None = None
    features: Array = None
    source: str = "pool"
    known_boxes: NDArray[np.float64] | None = None

    def __repr__(self) -> str:
        names = list(self.categories.values())
        more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        classes = ", ".join(map(repr, names[:SHOWN])) + more
        return f"{super().__repr__()[:-1]}, classes=[{classes}], source={self.source!r})"

    @classmethod
    def from_coco(
        cls,
        instances: str | Path,
        *,
        labeled: str | Path | Sequence[Any] = (),
        features: str | Path | Array = None,
        groups: str | None = None,
    ) -> CocoPool:
        """Return the images of a COCO instances file: names, sizes, categories.

        Annotations in the file are checked and left where they are. labeled: the images that are
        labeled already: a COCO file that lists them (with or without boxes) or their ids. features:
        one row per image in the order of the file, an array or .npy (memory-mapped); a .npz with
        `ids` and `features` is put in order by id. groups: a key of the image entries, such as
        `video_id`. Raises ValueError or KeyError naming file and id for duplicate or unknown ids,
        categories that do not match, boxes outside their image, masks of another size, and
        features that do not fit.
        """
        return read_pool(instances, labeled=labeled, features=features, groups=groups)

    @cached_property
    def files(self) -> dict[str, int]:
        """Position by file name, and by stem where only one image has it."""
        names, stems = self.names.tolist(), [PurePath(n).stem for n in self.names.tolist()]
        shared = {s for s, n in zip(*np.unique(stems, return_counts=True), strict=True) if n > 1}
        by_stem = {s: i for i, s in enumerate(stems) if s not in shared}
        return {**by_stem, **{n: i for i, n in enumerate(names)}}

    @cached_property
    def uploads(self) -> dict[str, int]:
        """Position by the name that a server gives an upload; `SEVERAL` where several images get
        it.
        """
        names = [_upload(PurePath(n).name) for n in self.names.tolist()]
        counts = Counter(names)
        return {n: i if counts[n] == 1 else SEVERAL for i, n in enumerate(names)}

    @cached_property
    def places(self) -> dict[Any, int]:
        """Position by id, by file name and by stem where only one image has it; an id comes before
        a name.
        """
        return {**self.files, **{k: i for i, k in enumerate(self.ids.tolist())}}


def _upload(name: str) -> str:
    """Return a file name as Django's `get_valid_filename` changes it, and so Label Studio.

    >>> _upload("street (1) é.jpg")
    'street_1_é.jpg'
    """
    return re.sub(r"[^-\w.]", "", name.strip().replace(" ", "_"))


def by_file(places: Mapping[Any, int], name: str) -> int:
    """Return the position of the longest end of a path that is a file name or, last, of its stem;
    -1 for none.
    """
    if name in places:
        return places[name]
    parts = PurePath(name).parts
    tails = [str(PurePath(*parts[n:])) for n in range(len(parts))]
    return next((places[t] for t in [*tails, PurePath(name).stem] if t in places), -1)


def _same_folder(a: str, b: str) -> bool:
    """Return whether the folder of one path ends with that of the other."""
    x, y = PurePath(a).parent.parts, PurePath(b).parent.parts
    n = min(len(x), len(y))
    return x[len(x) - n :] == y[len(y) - n :]


def positions(pool: Pool, ids: Iterable[Any], source: str) -> Indices:
    """Return the positions of image ids in the pool, in order; with a COCO pool a file name, a path
    that ends in one, or a stem will do.

    Raises KeyError with the first unknown id and the file it came from, TypeError for what can be
    no id.

    >>> positions(Pool(2, ids=np.array([7, 5])), [5, 7], "labels.json")
    array([1, 0])
    """
    wanted = [k.item() if isinstance(k, np.generic) else k for k in ids]
    places = (
        pool.places
        if isinstance(pool, CocoPool)
        else {k: i for i, k in enumerate(pool.ids.tolist())}
    )
    where = []
    for k in wanted:
        try:
            at = -1 if isinstance(k, bool) else places.get(k, -1)
        except TypeError as error:
            raise TypeError(
                f"{source}: an image id is a whole number or a text, got {k!r:.80}"
            ) from error
        if at < 0 and isinstance(pool, CocoPool) and isinstance(k, str):
            at = by_file(places, k)
        where.append(at)
    missing = [k for k, i in zip(wanted, where, strict=True) if i < 0]
    if missing:
        raise KeyError(
            f"{source}: {len(missing)} image ids are not in {getattr(pool, 'source', 'the pool')},"
            f" first {missing[0]!r:.200}"
        )
    return np.array(where, np.int64)


def match_images(
    pool: CocoPool, images: Sequence[Any], source: str, renumbered: bool = False
) -> Indices:
    """Return the position of each image entry (n,) of another file: found by its file name, checked
    by its id.

    renumbered: the ids are those of a tool that numbers the images anew, and file names alone
    count. Raises ValueError or KeyError naming file and image where name and id are of two images,
    one is not in the pool, or an image is twice.
    """
    places, ids = {k: i for i, k in enumerate(pool.ids.tolist())}, pool.ids
    where: dict[int, int] = {}
    for i, image in enumerate(images):
        if not isinstance(image, Mapping) or not ("id" in image or "file_name" in image):
            raise ValueError(
                f"{source}: entry {i} of 'images' has no 'id' and no 'file_name': {image!r:.80}"
            )
        key, name = image.get("id"), image.get("file_name")
        who = f"{source}: image {key!r:.80}" if "id" in image else f"{source}: image {name!r:.200}"
        if "file_name" in image and not isinstance(name, str):
            raise ValueError(f"{who}: file_name: expected a text, got {name!r:.80}")
        if renumbered and name is None:
            raise ValueError(f"{who} has no 'file_name', which renumbered=True goes by")
        numbered = isinstance(key, str | int | float) and not isinstance(key, bool)
        by_id = places.get(key, -1) if numbered else -1
        at = by_id if name is None else by_file(pool.files, name)
        checked = "id" in image and not renumbered
        if at < 0 and (name is None or by_id < 0):
            raise KeyError(
                f"{who}{'' if name is None else f', {name!r:.200},'} is not in {pool.source}"
            )
        if at < 0 or (checked and at != by_id):
            there = (
                f"{str(pool.names[by_id])!r} in {pool.source}"
                if by_id >= 0
                else f"no image of {pool.source}"
            )
            other = "" if at < 0 else (
                f"; {name!r:.200} has id {ids[at].item()!r} there. Where a tool has numbered the"
                " images anew, Ledger.ingest(..., renumbered=True) goes by the file names alone"
            )  # fmt: skip
            raise ValueError(f"{who} is {name!r:.200} here and {there}{other}")
        there = str(pool.names[at])
        if renumbered and name is not None and not _same_folder(name, there):
            raise ValueError(
                f"{who} is {name!r:.200} here, and the only image of that name in {pool.source} is"
                f" {there!r}, in another folder"
            )
        if at in where:
            raise ValueError(f"{who}: entries {where[at]} and {i} of 'images' are the same image")
        where[at] = i
    return np.array(list(where), np.int64)


def read_pool(
    instances: str | Path,
    *,
    labeled: str | Path | Sequence[Any] = (),
    features: str | Path | Array = None,
    groups: str | None = None,
) -> CocoPool:
    """Return the images of an instances file as a pool: what `CocoPool.from_coco` does."""
    data, source = read_json(instances), str(instances)
    images, categories, annotations = parts_of(data, source)
    about: dict[str, Any] = {
        **check_images(images, source, groups),
        "categories": categories,
        "source": source,
    }
    pool = CocoPool(len(images), **about)
    check_annotations(pool, annotations, source)
    selected, boxes = _labeled(pool, labeled)
    return CocoPool(
        len(images), selected, features=_features(pool, features), known_boxes=boxes, **about
    )


def check_annotations(pool: CocoPool, rows: Sequence[Mapping[str, Any]], source: str) -> Indices:
    """Return the position of each annotation's image after checking image, category, box and mask
    size.
    """
    nowhere = next((i for i, row in enumerate(rows) if "image_id" not in row), None)
    if nowhere is not None:
        raise ValueError(f"{source}: annotation {nowhere} has no 'image_id'")
    places = positions(pool, [row["image_id"] for row in rows], source)
    for row, at in zip(rows, places.tolist(), strict=True):
        who = f"{source}: image {row['image_id']!r}"
        check_box(row, pool.sizes[at].tolist(), pool.categories, who, pool.source)
    return places


def _labeled(
    pool: CocoPool, labeled: str | Path | Sequence[Any]
) -> tuple[Indices, NDArray[np.float64] | None]:
    """Return the positions of what is labeled, and the number of boxes drawn in each of these
    images (N,).
    """
    if not isinstance(labeled, str | Path):
        return positions(pool, labeled, "labeled"), None
    source = str(labeled)
    images, categories, annotations = parts_of(read_json(labeled), source)
    other = {k: v for k, v in categories.items() if pool.categories.get(k) != v}
    if other:
        raise ValueError(
            f"{source}: categories {other} do not match {dict(pool.categories)} of {pool.source}"
        )
    taken = match_images(pool, images, source)
    rows = check_annotations(pool, annotations, source)
    if not len(rows):
        return taken, None
    boxes = np.full(pool.size, np.nan)
    boxes[taken] = np.bincount(rows, minlength=pool.size)[taken]
    return taken, boxes


def _features(pool: CocoPool, features: str | Path | Array) -> Array:
    if features is None or not isinstance(features, str | Path):
        given, source = features, "features"
    else:
        given, source = load_array(features, memory_mapped=True), str(features)
        if isinstance(given, np.lib.npyio.NpzFile):
            given = _by_id(pool, given, source)
    if given is not None and (len(given.shape) != 2 or given.shape[0] != pool.size):
        raise ValueError(
            f"{source}: expected ({pool.size}, D), one row per image of {pool.source}, got"
            f" {tuple(given.shape)}"
        )
    return given


def _by_id(pool: CocoPool, archive: np.lib.npyio.NpzFile, source: str) -> NDArray[Any]:
    """Return the features of an archive with `ids` and `features`, in the pool's order."""
    try:
        ids, rows = archive["ids"], archive["features"]
    except Exception as error:
        raise ValueError(f"{source}: expected the arrays 'ids' and 'features': {error}") from error
    at = positions(pool, ids.tolist() if ids.ndim == 1 else [ids.tolist()], source)
    if rows.shape[:1] != at.shape or len(np.unique(at)) != len(at):
        raise ValueError(
            f"{source}: expected one row of features for each of {len(at)} distinct ids, got shape"
            f" {rows.shape} for {len(np.unique(at))} images"
        )
    order = np.full(pool.size, -1)
    order[at] = np.arange(len(at))
    if (order < 0).any():
        raise KeyError(
            f"{source}: no features for {int((order < 0).sum())} images of {pool.source}, first"
            f" {pool.ids[order < 0][0].item()!r}"
        )
    return np.asarray(rows[order])
