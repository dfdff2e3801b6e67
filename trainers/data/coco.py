"""A folder with COCO instances files: images of any size with boxes and masks, for detection and
segmentation.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.places import stamp
from coreset.core.store import Store, fingerprint
from coreset.scorers.image.files import open_image
from coreset.trainers.data.base import ImageData
from coreset.trainers.data.decode import decode
from coreset.vision.coco import CocoPool, check_annotations, read_json
from coreset.vision.coco_check import inside

IGNORED = 255  # in class maps: crowds, which count neither way


@dataclass(frozen=True, eq=False)
class Part:
    """The pool or the test set of a folder: its images by position, and what is drawn on them.
    annotations: one list of COCO entries per image, which `put` replaces.
    """

    pool: CocoPool
    root: Path
    annotations: list[Sequence[Mapping[str, Any]]]
    number: Mapping[int, int]  # category id -> class, from 1; 0 = background

    def image(self, at: int) -> NDArray[np.uint8]:
        """Return an image (H, W, 3). Raises ValueError naming it when its size is not the one in
        the instances file.
        """
        path = self.root / str(self.pool.names[at])
        with open_image(path) as opened:
            image = np.asarray(opened.convert("RGB"))
        if image.shape[1::-1] != tuple(self.pool.sizes[at]):
            raise ValueError(
                f"{path}: {image.shape[1]} x {image.shape[0]} pixels, but {self.pool.source} says"
                f" {' x '.join(map(str, self.pool.sizes[at]))}"
            )
        return image

    def boxes(self, at: int, crowd: bool = False) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return boxes (n, 4) as x1, y1, x2, y2 and their classes (n,); without empty ones, and
        without crowds, or only crowds.
        """
        rows = [
            r
            for r in self.annotations[at]
            if bool(r.get("iscrowd", 0)) == crowd and "bbox" in r and min(r["bbox"][2:]) > 0
        ]
        boxes = np.array([r["bbox"] for r in rows], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return boxes, np.array([self.number[r["category_id"]] for r in rows], np.int64)

    def class_map(self, at: int) -> NDArray[np.uint8]:
        """Return the class of every pixel (H, W): 0 = background, later annotations over earlier
        ones, crowds = 255.
        """
        who = f"{self.pool.source}: image {self.pool.ids[at].item()!r}"
        return self.draw(self.annotations[at], at, who)

    def draw(self, rows: Sequence[Mapping[str, Any]], at: int, who: str) -> NDArray[np.uint8]:
        """Return the class map (H, W) of annotations of an image; who: begins the messages."""
        try:
            from pycocotools import mask as codec
        except ImportError as error:
            raise ImportError(
                "class maps are drawn with pycocotools: pip install 'coreset-lightning[dense]'"
            ) from error
        width, height = self.pool.sizes[at].tolist()
        out = np.zeros((height, width), np.uint8)
        for row in rows:
            shape = row.get("segmentation")
            if not shape:
                raise ValueError(f"{who}: an annotation without 'segmentation' cannot be drawn")
            try:
                if isinstance(shape, Mapping):
                    listed = isinstance(shape["counts"], list)
                    coded = codec.frPyObjects(dict(shape), height, width) if listed else dict(shape)
                else:
                    coded = codec.merge(codec.frPyObjects(shape, height, width))
                drawn = codec.decode(coded).astype(bool)
            except Exception as error:  # a damaged mask raises whatever the decoder stumbled over
                one = f"{who}, annotation {row.get('id')!r:.80}"
                raise ValueError(f"{one}: 'segmentation' cannot be drawn: {error}") from error
            out[drawn] = IGNORED if row.get("iscrowd") else self.number[row["category_id"]]
        return out

    def put(self, at: int, rows: Sequence[Mapping[str, Any]]) -> int:
        """Replace the annotations of an image; return its main class."""
        self.annotations[at] = rows
        return self._main(at)

    def _main(self, at: int) -> int:
        boxes, classes = self.boxes(at)
        total = np.zeros(len(self.number) + 1)
        np.add.at(total, classes, (boxes[:, 2:] - boxes[:, :2]).prod(axis=1))
        return int(total.argmax())

    def main_class(self) -> NDArray[np.int64]:
        """Return the class with the largest area of boxes per image (N,), 0 where there is none."""
        return np.array([self._main(i) for i in range(self.pool.size)], np.int64)


@dataclass(frozen=True, eq=False)
class CocoData(ImageData):
    """A pool and a test set with annotations; `images` are small squares of them, for embeddings
    and the report.

    labels: the main class of each image (0 = nothing in it), which stands for all of its
    annotations: an image's boxes and masks are read only where it is known.
    """

    part: Part = None  # type: ignore[assignment]  # always given
    test_part: Part = None  # type: ignore[assignment]
    about: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of the small images, the names and all annotations."""
        return fingerprint(
            self.content, dict(self.about), self.labels, self.test_labels, self.classes, self.ids
        )


def joined(data: CocoData) -> CocoData:
    """Return the data with the test set behind the pool as one pool, ids `p<id>` and `t<id>`: what
    a flywheel turns over. Raises ValueError where there is no test set.
    """
    a, b = data.part, data.test_part
    if not len(data.test_labels):
        raise ValueError(f"{a.pool.source}: expected a test set beside the pool, there is none")
    ids = [f"{c}{k}" for c, p in (("p", a.pool), ("t", b.pool)) for k in p.ids.tolist()]
    pool = CocoPool(
        a.pool.size + b.pool.size,
        ids=np.array(ids),
        names=np.concatenate([a.pool.names, b.pool.names]),
        sizes=np.concatenate([a.pool.sizes, b.pool.sizes]),
        categories=a.pool.categories,
        source=a.pool.source,
    )
    part = replace(a, pool=pool, annotations=[*a.annotations, *b.annotations])
    return replace(
        data,
        images=np.concatenate([data.images, data.test_images]),
        labels=np.concatenate([data.labels, data.test_labels]),
        ids=pool.ids,
        part=part,
    )


def undrawn(data: ImageData) -> CocoData:
    """Return the data with a pool in which nothing is drawn yet and no label known."""
    assert isinstance(data, CocoData)
    empty: list[Sequence[Mapping[str, Any]]] = [[] for _ in range(data.part.pool.size)]
    part = replace(data.part, annotations=empty)
    return replace(data, part=part, labels=np.full(part.pool.size, -1, np.int64))


def known_part(data: ImageData, labels: NDArray[np.int64], indices: NDArray[np.int64]) -> Part:
    """Return the pool's part after checking that all of these images are labeled: only then may
    their annotations be read.
    """
    assert isinstance(data, CocoData)
    assert (labels[indices] >= 0).all(), "annotations are read only of images whose label is known"
    return data.part


def read_part(root: str | Path, name: str, images: str) -> Part:
    """Return the images and annotations of an instances file `root`/`name`, whose files lie in
    `root`/`images`. Raises FileNotFoundError, KeyError and ValueError naming file and image.
    """
    file = Path(root) / name
    if not file.is_file():
        raise FileNotFoundError(
            f"{file}: no such file; set data.root (of your own module learner.drawn.root) to a"
            f" folder with instances files and {images}/"
        )
    pool = CocoPool.from_coco(file)
    for k, name_of in zip(pool.ids.tolist(), pool.names.tolist(), strict=True):
        inside(name_of, f"{file}: image {k!r}")
    data = read_json(file)
    rows: list[Any] = [[] for _ in range(pool.size)]
    annotations = data.get("annotations") or []
    places = check_annotations(pool, annotations, str(file)).tolist()
    for row, at in zip(annotations, places, strict=True):
        rows[at].append(row)
    number = {k: i for i, k in enumerate(sorted(pool.categories), 1)}
    return Part(pool, Path(root) / images, rows, number)


def coco_folder(
    root: str,
    train: str = "train.json",
    test: str | None = "test.json",
    images: str = "images",
    size: int = 64,
    cache: str = ".cache/coreset",
) -> CocoData:
    """Return the folder `root` with the instances files `train` (the pool) and `test`, and their
    images in `root`/`images`.

    Classes are background and the categories by ascending id. A pool without a single annotation
    has no labels: they are asked of people. test: None = none, then nothing can be measured. size:
    of the small squares. Raises FileNotFoundError, KeyError and ValueError naming file and image.
    """
    names = (train, *([] if test is None else [test]))
    parts = [read_part(root, name, images) for name in names]
    contents = {name: fingerprint((Path(root) / name).read_text()) for name in names}
    a, b = parts[0], parts[-1]
    if dict(a.pool.categories) != dict(b.pool.categories):
        raise ValueError(
            f"{b.pool.source}: categories {dict(b.pool.categories)} are not those of"
            f" {a.pool.source}: {dict(a.pool.categories)}"
        )
    paths = [p.root / str(n) for p in parts for n in p.pool.names.tolist()]
    missing = [str(p) for p in paths if not p.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(paths)} images are not there, first {missing[0]}"
        )
    stats = [list(stamp(path) or ()) for path in paths]
    decoded = decode(
        Store(cache),
        fingerprint(list(map(str, paths)), stats, size),
        list(map(str, paths)),
        lambda i: open_image(paths[i]),
        size,
        a.pool.size,
        "error",
    )
    classes = ("background", *(a.pool.categories[k] for k in a.number))
    cut = a.pool.size
    if test is None:
        warnings.warn(f"{root}: there is no test set, so nothing can be measured", stacklevel=2)
    drawn = any(len(rows) for rows in a.annotations)
    labels = a.main_class() if drawn else np.full(cut, -1, np.int64)
    test_labels = np.empty(0, np.int64) if test is None else b.main_class()
    return CocoData(
        Path(root).resolve().name, decoded.images[:cut], labels, decoded.images[cut:], test_labels,
        classes, decoded.mean, decoded.std, a.pool.ids,
        content=decoded.content, part=a, test_part=b, about=contents,
    )  # fmt: skip
