"""Detections: the boxes a model found in a set of images, one flat table, read from what detection
stacks give.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from coreset.core.columns import unmasked
from coreset.core.pool import Array, Indices, Pool
from coreset.vision.box_rows import (
    array_of,
    check_entries,
    images_of,
    numbers,
    one_table,
    rows_of,
)
from coreset.vision.coco import OUTSIDE, CocoPool, check_annotations, positions, read_json

Float = NDArray[np.float64]
Outside = Literal["error", "clip"]


@dataclass(frozen=True, eq=False, repr=False)
class Detections:
    """Boxes in the order of their images.

    ids (I,): every image that was looked at, with or without boxes. image (B,): position of each
    box's image in `ids`. boxes (B, 4): x1, y1, x2, y2 in pixels. scores (B,): confidence of the
    class given, in [0, 1]. labels (B,): category ids. probs (B, C): class distributions; features
    (B, D); columns: further values per box (B,), all optional. sizes (I, 2): width and height, when
    known. source: the file, for messages. known_boxes (I,): how many boxes an image truly has, NaN
    where that is not known: what calibrates `expected_boxes`; a pool whose `labeled` is a file
    brings it. Raises ValueError naming file and image for shapes that do not fit, NaN, scores or
    distributions that are none, and boxes outside their image.

    >>> detections = Detections(np.array([7, 8]), [0], [[0, 0, 10, 20]], [0.9], [1])
    >>> len(detections), detections.offsets
    (1, array([0, 1, 1]))
    """

    ids: NDArray[Any]
    image: Indices
    boxes: Float
    scores: Float
    labels: Indices
    probs: NDArray[Any] | None = None
    features: NDArray[Any] | None = None
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    sizes: NDArray[Any] | None = None
    source: str = "detections"
    known_boxes: NDArray[Any] | None = None

    def __repr__(self) -> str:
        return f"Detections(images={len(self.ids)}, boxes={len(self)}, source={self.source!r})"

    def __post_init__(self) -> None:
        ids = unmasked(f"{self.source}: ids", self.ids)
        unique, counts = np.unique(ids, return_counts=True)
        if ids.ndim != 1 or (counts > 1).any():
            raise ValueError(
                f"{self.source}: image ids must be a list of distinct ids, got shape {ids.shape},"
                f" twice: {unique[counts > 1][:1].tolist()}"
            )
        image = unmasked(f"{self.source}: image", self.image).astype(np.int64).reshape(-1)
        n = len(image)
        if n and not (image.min() >= 0 and image.max() < len(ids)):
            raise ValueError(
                f"{self.source}: image must hold positions in the {len(ids)} ids, got"
                f" {int(image.min())} to {int(image.max())}"
            )
        order = slice(None) if (np.diff(image) >= 0).all() else np.argsort(image, kind="stable")
        image = image[order]
        for name, axes, dtype in (
            ("boxes", (4,), np.float64),
            ("scores", (), np.float64),
            ("labels", (), np.int64),
            ("probs", None, None),
            ("features", None, None),
        ):
            values = getattr(self, name)
            if values is None:
                continue
            values = unmasked(f"{self.source}: {name}", values)
            try:
                with np.errstate(invalid="ignore"):
                    array = np.asarray(values, dtype)
                fraction = name == "labels" and bool((np.asarray(values) != array).any())
            except (TypeError, ValueError, OverflowError) as error:
                raise ValueError(f"{self.source}: {name}: expected numbers: {error}") from error
            if fraction:
                raise ValueError(
                    f"{self.source}: labels: expected whole numbers, got {np.asarray(values).dtype}"
                )
            array = array.reshape(0, *axes) if axes is not None and array.size == 0 else array
            if array.shape[:1] != (n,) or (
                array.shape[1:] != axes if axes is not None else array.ndim != 2
            ):
                shape = (n, "C" if name == "probs" else "D") if axes is None else (n, *axes)
                raise ValueError(
                    f"{self.source}: {name}: expected shape ({', '.join(map(str, shape))}), got"
                    f" {array.shape}"
                )
            object.__setattr__(self, name, array[order])
        columns = {
            name: unmasked(f"{self.source}: {name}", values)[order]
            for name, values in self.columns.items()
        }
        for name, values in columns.items():
            if values.shape != (n,):
                raise ValueError(
                    f"{self.source}: {name}: expected shape ({n},), one value per box, got"
                    f" {values.shape}"
                )
        for name, given in (("ids", ids), ("image", image), ("columns", columns)):
            object.__setattr__(self, name, given)
        self._check()

    def _check(self) -> None:
        def refuse(bad: Any, what: str, values: NDArray[Any]) -> None:
            if bad.any():
                at = int(np.argmax(bad))
                raise ValueError(
                    f"{self.source}: image {self.ids[self.image[at]].item()!r}: {what}, got"
                    f" {values[at].tolist()} ({int(bad.sum())} boxes in all)"
                )

        for name, values in (
            ("boxes", self.boxes),
            ("scores", self.scores),
            ("probs", self.probs),
            ("features", self.features),
            *self.columns.items(),
        ):
            if values is not None and values.dtype.kind == "f":
                refuse(
                    ~np.isfinite(values).all(axis=tuple(range(1, values.ndim))),
                    f"{name} must be finite",
                    values,
                )
        refuse(
            (self.scores < 0) | (self.scores > 1),
            "a score must lie in [0, 1]; pass logits through a sigmoid or softmax first",
            self.scores,
        )
        refuse(
            (self.boxes[:, 2:] < self.boxes[:, :2]).any(axis=1),
            "a box must be x1, y1, x2, y2 with x1 <= x2 and y1 <= y2",
            self.boxes,
        )
        if self.probs is not None:
            bad = (np.abs(self.probs.sum(axis=1, dtype=np.float64) - 1) > 1e-2) | (
                self.probs < 0
            ).any(axis=1)
            refuse(
                bad,
                "probs must be non-negative and sum to 1; pass logits through softmax first",
                self.probs,
            )
        if self.known_boxes is not None and np.asarray(self.known_boxes).shape != self.ids.shape:
            shape = np.asarray(self.known_boxes).shape
            raise ValueError(
                f"{self.source}: known_boxes: expected shape ({len(self.ids)},), got {shape}"
            )
        if self.sizes is not None:
            if np.asarray(self.sizes).shape != (len(self.ids), 2):
                raise ValueError(
                    f"{self.source}: sizes: expected shape ({len(self.ids)}, 2), got"
                    f" {np.asarray(self.sizes).shape}"
                )
            limit = np.asarray(self.sizes)[self.image]
            over = (self.boxes[:, :2] < -OUTSIDE).any(axis=1) | (
                self.boxes[:, 2:] > limit + OUTSIDE
            ).any(axis=1)
            refuse(over, "the box lies outside the image (outside='clip' cuts it)", self.boxes)

    def __len__(self) -> int:
        return len(self.image)

    @property
    def offsets(self) -> Indices:
        """Return where each image's boxes start, (I + 1,)."""
        return np.searchsorted(self.image, np.arange(len(self.ids) + 1)).astype(np.int64)

    def keep(self, boxes: NDArray[np.bool_]) -> Detections:
        """Return only some of the boxes; the images stay."""
        rows = {name: getattr(self, name)[boxes] for name in ("image", "boxes", "scores", "labels")}
        more = {
            name: v[boxes]
            for name in ("probs", "features")
            if (v := getattr(self, name)) is not None
        }
        return replace(
            self, **rows, **more, columns={name: v[boxes] for name, v in self.columns.items()}
        )

    def align(self, pool: Pool, missing: Literal["error", "empty"] = "error") -> Detections:
        """Return the same boxes with the pool's images in the pool's order: what scores and costs
        are aligned by.

        missing: a candidate without detections is an error, or `empty` counts it as an image in
        which nothing was found. Raises KeyError for ids that are on one side only and ValueError
        for categories that the pool does not have.
        """
        at = positions(pool, self.ids, self.source)
        if len(np.unique(at)) != len(at):
            raise ValueError(f"{self.source}: two image ids name the same image of the pool")
        absent = np.setdiff1d(pool.candidates, at)
        if missing == "error" and len(absent):
            raise KeyError(
                f"{self.source}: no detections for {len(absent)} candidates, first"
                f" {pool.ids[absent[0]].item()!r}; missing='empty' when nothing was found there"
            )
        coco = pool if isinstance(pool, CocoPool) else None
        if coco is not None:
            unknown = np.setdiff1d(self.labels, list(coco.categories))
            if len(unknown):
                box = int(np.argmax(self.labels == unknown[0]))
                raise ValueError(
                    f"{self.source}: image {self.ids[self.image[box]].item()!r}: category"
                    f" {int(unknown[0])} is not one of {sorted(coco.categories)} of {coco.source}"
                )
        known = None if coco is None else coco.known_boxes
        if known is None and self.known_boxes is not None:
            known = np.full(pool.size, np.nan)
            known[at] = self.known_boxes
        sizes = None if coco is None else coco.sizes
        return replace(self, ids=pool.ids, image=at[self.image], sizes=sizes, known_boxes=known)

    @classmethod
    def from_coco_results(
        cls,
        results: str | Path | Sequence[Mapping[str, Any]],
        pool: CocoPool | None = None,
        *,
        images: Iterable[Any] | None = None,
        columns: Sequence[str] = (),
        probs: str | Path | Array = None,
        features: str | Path | Array = None,
        outside: Outside = "error",
    ) -> Detections:
        """Return a COCO results file: a list of {image_id, category_id, bbox [x, y, width, height],
        score}.

        Such a file does not say which images were looked at: `images` does; with a pool, all of its
        images were. Entries with a `file_name` are matched by it, since some exporters write a
        number made of the file's name as `image_id`. columns: further keys to read. probs,
        features: one row per entry of the file, arrays or .npy files. Raises ValueError for an
        empty file.
        """
        source = str(results) if isinstance(results, str | Path) else "results"
        rows = read_json(results) if isinstance(results, str | Path) else list(results)
        if not isinstance(rows, list):
            raise ValueError(
                f"{source}: no COCO results file, expected a list of detections, got"
                f" {type(rows).__name__}"
            )
        if not rows:
            raise ValueError(
                f"{source}: holds no detection at all; lower the detector's score threshold, or say"
                " Detections.nothing(ids)"
            )
        check_entries(rows, ("image_id", "category_id", "bbox", "score", *columns), source)
        names = [row["image_id"] for row in rows]
        boxes = numbers(rows, "bbox", source, (4,))
        boxes[:, 2:] += boxes[:, :2]
        if pool is not None:
            at = images_of(pool, rows, source)
            masks = [
                i for i, row in enumerate(rows) if isinstance(row.get("segmentation"), Mapping)
            ]
            check_annotations(
                pool,
                [
                    {**rows[i], "image_id": pool.ids[at[i]].item(), "bbox": (0, 0, 0, 0)}
                    for i in masks
                ],
                source,
            )
            ids = pool.ids if images is None else pool.ids[positions(pool, images, "images")]
            names = pool.ids[at].tolist()
        else:
            ids = np.array(list(dict.fromkeys(names)) if images is None else list(images))
        place = {k: i for i, k in enumerate(ids.tolist())}
        if strange := [k for k in names if k not in place]:
            raise KeyError(
                f"{source}: image {strange[0]!r} has detections but is not among the images"
                " looked at"
            )
        more = {key: numbers(rows, key, source) for key in columns}
        wide = {
            "probs": rows_of(probs, "probs", len(rows), source),
            "features": rows_of(features, "features", len(rows), source),
        }
        image = np.array([place[k] for k in names], np.int64)
        scores, labels = numbers(rows, "score", source), numbers(rows, "category_id", source)
        return _finish(
            pool,
            outside,
            ids=ids,
            image=image,
            boxes=boxes,
            scores=scores,
            labels=labels,
            columns=more,
            source=source,
            **wide,
        )

    @classmethod
    def nothing(cls, ids: Iterable[Any]) -> Detections:
        """Return detections of images in which nothing was found."""
        return cls(np.array(list(ids)), *(np.empty(0),) * 4)  # type: ignore[arg-type]

    @classmethod
    def from_torchvision(
        cls,
        outputs: Sequence[Mapping[str, Any]],
        ids: Iterable[Any],
        pool: CocoPool | None = None,
        *,
        categories: Mapping[int, int] | None = None,
        outside: Outside = "error",
    ) -> Detections:
        """Return torchvision's outputs, one {boxes, labels, scores} per image in the order of
        `ids`; `probs` and `features` where they are (see `roi`).

        categories: model label -> category id; None: the labels are category ids.
        """
        for i, out in enumerate(outputs):
            if not isinstance(out, Mapping):
                raise TypeError(
                    f"torchvision outputs: entry {i}: expected a dict of tensors, got"
                    f" {type(out).__name__}"
                )
        rows = [
            {
                key: out[key]
                for key in ("boxes", "scores", "labels", "probs", "features")
                if key in out
            }
            for out in outputs
        ]
        return _join(rows, list(ids), pool, categories, outside, "torchvision outputs")

    @classmethod
    def from_ultralytics(
        cls,
        results: Iterable[Any],
        pool: CocoPool | None = None,
        *,
        categories: Mapping[int, int] | None = None,
        outside: Outside = "error",
    ) -> Detections:
        """Return ultralytics `Results`: `path`, `names` and `boxes` with `xyxy`, `conf`, `cls`.
        Images go by the stem of their path.

        With a pool, classes are matched by name unless `categories` (class index -> category id)
        says how.
        """
        rows, ids = [], []
        for result in results:
            if result.boxes is None:
                raise ValueError(
                    f"ultralytics results: image {result.path!r} has no boxes: not the result of a"
                    " detector"
                )
            if categories is None and pool is not None:
                by_name = {name: key for key, name in pool.categories.items()}
                categories = {
                    int(k): by_name[name] for k, name in result.names.items() if name in by_name
                }
            rows.append(
                {
                    "boxes": result.boxes.xyxy,
                    "scores": result.boxes.conf,
                    "labels": result.boxes.cls,
                }
            )
            ids.append(PurePath(result.path).stem if pool is None else str(result.path))
        return _join(rows, ids, pool, categories, outside, "ultralytics results")

    @classmethod
    def from_supervision(
        cls,
        detections: Sequence[Any],
        ids: Iterable[Any],
        pool: CocoPool | None = None,
        *,
        categories: Mapping[int, int] | None = None,
        outside: Outside = "error",
    ) -> Detections:
        """Return supervision's `Detections`, one per image in the order of `ids`: `xyxy`,
        `confidence`, `class_id`.
        """
        rows = [{"boxes": d.xyxy, "scores": d.confidence, "labels": d.class_id} for d in detections]
        return _join(rows, list(ids), pool, categories, outside, "supervision detections")


def _join(
    rows: Sequence[Mapping[str, Any]],
    ids: list[Any],
    pool: CocoPool | None,
    categories: Mapping[int, int] | None,
    outside: Outside,
    source: str,
) -> Detections:
    """Return the detections of one table of columns per image."""
    joined = one_table(rows, ids, source)
    labels = joined["labels"]
    image = np.repeat(np.arange(len(rows)), [len(array_of(row["scores"])) for row in rows])
    if categories is not None:
        unknown = [c for c in np.unique(labels).tolist() if c not in categories]
        if unknown:
            box = int(np.argmax(labels == unknown[0]))
            raise ValueError(
                f"{source}: image {ids[image[box]]!r}: class {unknown[0]} has no category;"
                f" categories known: {dict(categories)}"
            )
        labels = np.array([categories[c] for c in labels.tolist()], np.int64)
    joined["labels"] = labels
    named = np.array(ids) if pool is None else pool.ids[positions(pool, ids, source)]
    return _finish(pool, outside, ids=named, image=image, source=source, **joined)


def _finish(pool: CocoPool | None, outside: Outside, **rows: Any) -> Detections:
    """Add the image sizes of the pool, cut boxes to them when asked, check the categories."""
    if outside not in ("error", "clip"):
        raise ValueError(f"outside: expected error or clip, got {outside!r}")
    if pool is None:
        return Detections(**rows)
    sizes = pool.sizes[positions(pool, rows["ids"], rows["source"])]
    if outside == "clip" and len(rows["boxes"]):
        rows["boxes"] = np.clip(rows["boxes"], 0, np.tile(sizes[rows["image"]], 2))
    if pool.known_boxes is not None:
        rows["known_boxes"] = pool.known_boxes[positions(pool, rows["ids"], rows["source"])]
    detections = Detections(**rows, sizes=sizes)
    detections.align(pool, missing="empty")  # ids and categories
    return detections
