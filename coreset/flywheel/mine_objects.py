"""Candidates for a weak class of objects: pool images in which the model in force sees one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.flywheel.boxes import Boxes
from coreset.flywheel.mine import Mine
from coreset.flywheel.regions import class_scores, region_classes
from coreset.flywheel.slices import Slice
from coreset.flywheel.stage import Turn

_BLOCK = 4096  # images whose boxes are held at a time


@dataclass(frozen=True)
class MineObjects(Mine):
    """`Mine` for a learner with the signal `boxes`: what is around an object says more of an image
    than the object does. Slices other than classes are mined by neighbors.

    by: what an image's score for a class slice is. `boxes`: the score of its surest box of the
    class (for the slice of empty images 1 minus its surest box), which needs a model that knows the
    class. `regions`: how much one of its boxes, whatever class the model gives it, looks like the
    objects of the class drawn in development images (see `class_scores`, with `neighbors`); it
    needs a model that sees that something is there, the signal `regions` and the measure `Boxes`.
    """

    least: float = 0.05
    by: str = "boxes"

    def __post_init__(self) -> None:
        if self.by not in ("boxes", "regions"):
            raise ValueError(f"by: expected boxes or regions, got {self.by!r}")

    def _ranked(self, turn: Turn, clean: NDArray[np.int64], slices: Sequence[Slice]) -> Any:
        by_class = [s for s in slices if s["kind"] == "class"]
        yield from super()._ranked(turn, clean, [s for s in slices if s["kind"] != "class"])
        if not by_class:
            return
        surest = surest_boxes(turn, clean)
        looks = region_scores(turn, clean, self.neighbors) if self.by == "regions" else surest
        for one in by_class:
            label = one["labels"][0]
            scores = looks[:, label] if label else 1 - surest.max(axis=1)
            order = np.lexsort((clean, -scores))
            order = order[scores[order] >= self.least]
            order = self._capped(order, turn, clean)[: self.most]
            by_look = bool(label) and self.by == "regions"
            words = "a region looks, {:.2f}, like" if by_look else "the model sees one, {:.2f}, of"
            why = [f"{words.format(scores[i])} {one['name']}" for i in order]
            yield one, clean[order], scores[order], why


def region_scores(turn: Turn, rows: NDArray[np.int64], neighbors: int) -> NDArray[np.float64]:
    """Return how much a region of each image looks like each class (n, C), by what is drawn in the
    development images and the version in force under the last seed.
    """
    if not isinstance(turn.measure, Boxes):
        raise ValueError(f"by: regions needs the measure Boxes, got {type(turn.measure).__name__}")
    at, names = turn.trainings.of_role("dev"), ["boxes", "regions"]

    def told(block: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        columns = turn.trainings.signals(turn.version, turn.seeds[-1], block, names)
        regions = np.asarray(columns["regions"], np.float32)
        return np.asarray(columns["boxes"], np.float32)[:, : regions.shape[1]], regions

    boxes, regions = told(turn.trainings.rows[at])
    labels = region_classes(boxes, [turn.measure.objects[i] for i in at.tolist()])
    known, labels = regions[labels >= 0], labels[labels >= 0]
    out = np.zeros((len(rows), len(turn.data.classes)))
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        boxes, regions = told(rows[block])
        there = boxes[:, :, 4] >= 0
        out[block] = class_scores(regions, there, known, labels, out.shape[1], neighbors)
    return out


def surest_boxes(turn: Turn, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the score (n, C) of the surest box of every class in each image, 0 without one, by the
    version in force under the last seed.
    """
    out = np.zeros((len(rows), len(turn.data.classes)))
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        told = turn.trainings.signals(turn.version, turn.seeds[-1], block, ["boxes"])["boxes"]
        image, place = np.nonzero(told[:, :, 4] >= 0)
        scores, labels = told[image, place, 4], told[image, place, 5].astype(np.int64)
        np.maximum.at(out, (start + image, labels), scores)
    return out
