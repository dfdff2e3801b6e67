"""How wrong a detector is: of one image the share of objects it misses, of a set 1 - mAP.

Average precision is that of COCO (Lin et al., "Microsoft COCO", ECCV 2014): detections are matched
by pycocotools, precision is read at 101 recalls, the mean is over IoU 0.5 to 0.95 and the classes
that occur.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.store import fingerprint
from coreset.flywheel.measure import Columns, Subset, Values
from coreset.flywheel.sets import NOTHING, OfSets

_RECALLS = np.linspace(0, 1, 101)
_KEPT = 64  # matchings held in memory


@dataclass(frozen=True, eq=False)
class Drawn:
    """The objects drawn in an image: boxes (k, 4) as x1, y1, x2, y2 in pixels, labels (k,) from 1,
    crowd (k,) whether a box holds many objects, which count neither way.
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Matched:
    """The detections of one class over all images, the surest first: image (D,), hit and ignored
    (T, D) at each IoU; objects (E,): of the class in each image.
    """

    image: NDArray[np.int64]
    scores: NDArray[np.float64]
    hit: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    objects: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Boxes(OfSets):
    """Measure of a detector, from its signal `boxes` (n, K, 6): x1, y1, x2, y2, score, class, with
    score -1 where there is none.

    drawn: objects of the frozen images, in the order of the data. The error of one image is the
    mean over its classes of the share of objects that no box of at least `score` meets at IoU 0.5;
    of an image without objects it is 1 where there is such a box. The error of a set is 1 - mAP; of
    a class slice 1 - AP of the class over the whole part (of class 0, the images without objects,
    the share with such a box). Intervals: see `OfSets`.
    """

    drawn: InitVar[Sequence[Drawn]]
    score: float = 0.3
    draws: int = 200
    truth: str = field(init=False)

    word = "1 − mAP"
    percent = True
    needs = frozenset({"boxes"})

    def __post_init__(self, drawn: Sequence[Drawn]) -> None:
        if not 0 <= self.score <= 1 or self.draws < 2:
            raise ValueError(
                "boxes: expected score in [0, 1] and draws of at least 2, got"
                f" {self.score}, {self.draws}"
            )
        parts = [[d.boxes, d.labels, d.crowd.astype(np.int64)] for d in drawn]
        object.__setattr__(self, "truth", fingerprint(parts))
        object.__setattr__(self, "_drawn", tuple(drawn))
        object.__setattr__(self, "_matched", {})

    def errors(self, columns: Columns, labels: NDArray[np.int64]) -> Values:
        """Return the share of objects that each frozen image's boxes miss."""
        matched = self._match(columns)
        shares = np.full((len(labels), len(matched)), np.nan)
        false = np.zeros(len(labels), bool)
        for place, one in enumerate(matched.values()):
            sure = one.scores >= self.score
            hits = np.bincount(
                one.image[sure & one.hit[0] & ~one.ignored[0]], minlength=len(labels)
            )
            has = one.objects > 0
            shares[has, place] = 1 - hits[has] / one.objects[has]
            false[one.image[sure & ~one.ignored[0]]] = True
        empty = np.isnan(shares).all(axis=1)
        out = np.where(empty, false, 0.0)
        out[~empty] = np.nanmean(shares[~empty], axis=1)
        return np.asarray(out, np.float64)

    @property
    def objects(self) -> tuple[Drawn, ...]:
        """What is drawn in each frozen image."""
        drawn: tuple[Drawn, ...] = self._drawn  # type: ignore[attr-defined]
        return drawn

    @property
    def size(self) -> int:
        """Number of frozen images."""
        return len(self._drawn)  # type: ignore[attr-defined]

    def weighted_error(
        self, columns: Columns, subset: Subset, weights: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return 1 - mAP of weighted images."""
        if subset.classes == NOTHING:
            each = self.errors(columns, np.zeros(weights.shape[1], np.int64))
            return np.asarray(weights @ each / weights.sum(axis=1), np.float64)
        matched = self._match(columns)
        classes = subset.classes or tuple(matched)
        values = np.stack([
            average_precision(matched[c], weights) if c in matched else np.full(len(weights), np.nan)
            for c in classes
        ])  # fmt: skip
        known = ~np.isnan(values)
        total = np.where(known, values, 0.0).sum(axis=0)
        counts = known.sum(axis=0)
        mean = np.divide(total, counts, out=np.full(len(weights), np.nan), where=counts > 0)
        return np.asarray(1 - mean, np.float64)

    def _match(self, columns: Columns) -> Mapping[int, _Matched]:
        """Return the matched detections by class, of all classes that are drawn or detected."""
        table = np.asarray(columns["boxes"], np.float32)
        drawn: tuple[Drawn, ...] = self._drawn  # type: ignore[attr-defined]
        if table.ndim != 3 or table.shape[0] != len(drawn) or table.shape[2] != 6:
            raise ValueError(f"boxes: expected ({len(drawn)}, K, 6), got {table.shape}")
        key = hashlib.sha256(table.tobytes()).hexdigest()
        kept: dict[str, Mapping[int, _Matched]] = self._matched  # type: ignore[attr-defined]
        if key not in kept:
            while len(kept) >= _KEPT:
                kept.pop(next(iter(kept)))
            kept[key] = match_boxes(table, drawn)
        return kept[key]


def match_boxes(table: NDArray[np.float32], drawn: Sequence[Drawn]) -> dict[int, _Matched]:
    """Return detections (E, K, 6) matched with what is drawn, by class, as pycocotools does it."""
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise ImportError(
            "boxes are matched with pycocotools: pip install 'coreset-lightning[dense]'"
        ) from error
    classes = sorted({int(c) for d in drawn for c in d.labels})
    truth: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image, one in enumerate(drawn):
        for box, label, crowd in zip(one.boxes.tolist(), one.labels, one.crowd, strict=True):
            x, y, x2, y2 = box
            truth.append({
                "id": len(truth) + 1, "image_id": image, "category_id": int(label),
                "bbox": [x, y, x2 - x, y2 - y], "area": (x2 - x) * (y2 - y), "iscrowd": int(crowd),
            })  # fmt: skip
    for image, row in zip(*np.nonzero(table[:, :, 4] >= 0), strict=True):
        x, y, x2, y2, score, label = table[image, row].astype(float).tolist()
        if int(label) in classes:
            entry = {"image_id": int(image), "category_id": int(label), "score": score}
            results.append({**entry, "bbox": [x, y, x2 - x, y2 - y]})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i} for i in range(len(drawn))],
            "annotations": truth,
            "categories": [{"id": c} for c in classes],
        }
        coco.createIndex()
        # an empty list of results is no file that pycocotools reads
        judge = COCOeval(coco, coco.loadRes(results) if results else COCO(), "bbox")
        judge.params.areaRng, judge.params.areaRngLbl = [judge.params.areaRng[0]], ["all"]
        judge.evaluate()
    pairs: dict[tuple[int, int], Any] = {
        (e["category_id"], e["image_id"]): e for e in judge.evalImgs if e is not None
    }
    return {c: _of_class(c, pairs, len(drawn), len(judge.params.iouThrs)) for c in classes}


def _of_class(
    label: int, pairs: Mapping[tuple[int, int], Any], images: int, levels: int
) -> _Matched:
    objects = np.zeros(images, np.int64)
    image, scores = [], []
    hit: list[NDArray[np.bool_]] = [np.zeros((levels, 0), bool)]
    ignored: list[NDArray[np.bool_]] = [np.zeros((levels, 0), bool)]
    for at in range(images):
        one = pairs.get((label, at))
        if one is None:
            continue
        objects[at] = int((np.asarray(one["gtIgnore"]) == 0).sum())
        image += [at] * len(one["dtScores"])
        scores += list(one["dtScores"])
        hit.append(np.asarray(one["dtMatches"]).reshape(levels, -1) > 0)
        ignored.append(np.asarray(one["dtIgnore"]).reshape(levels, -1) > 0)
    order = np.argsort(-np.array(scores, np.float64), kind="mergesort")
    return _Matched(
        np.array(image, np.int64)[order],
        np.array(scores, np.float64)[order],
        np.concatenate(hit, axis=1)[:, order],
        np.concatenate(ignored, axis=1)[:, order],
        objects,
    )


def average_precision(matched: _Matched, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the average precision (B,), mean over the IoUs, of a class over images that count
    `weights` (B, E) times each; NaN where none of them holds the class.
    """
    total = weights @ matched.objects
    here = weights[:, matched.image]
    out = np.zeros(len(weights))
    for hit, ignored in zip(matched.hit, matched.ignored, strict=True):
        right = np.cumsum(here * (hit & ~ignored), axis=1)
        wrong = np.cumsum(here * (~hit & ~ignored), axis=1)
        precision = right / np.maximum(right + wrong, np.spacing(1))
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        recall = right / np.maximum(total, 1)[:, None]
        for b in range(len(weights)):
            at = np.searchsorted(recall[b], _RECALLS, side="left")
            out[b] += precision[b, at[at < recall.shape[1]]].sum() / len(_RECALLS)
    out /= max(len(matched.hit), 1)
    return np.where(total > 0, out, np.nan)
