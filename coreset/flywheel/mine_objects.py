"""Candidates for a weak class of objects: pool images in which the model in force sees one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.flywheel.mine import Mine
from coreset.flywheel.slices import Slice
from coreset.flywheel.stage import Turn

_BLOCK = 4096  # images whose boxes are held at a time


@dataclass(frozen=True)
class MineObjects(Mine):
    """`Mine` for a learner with the signal `boxes`: an image's score for a class slice is that of
    its surest box of the class (for the slice of empty images: 1 minus its surest box), since what
    is around an object says more of the image than the object does. Slices of other kinds are
    mined by neighbors.
    """

    least: float = 0.05

    def _ranked(self, turn: Turn, clean: NDArray[np.int64], slices: Sequence[Slice]) -> Any:
        by_class = [s for s in slices if s["kind"] == "class"]
        yield from super()._ranked(turn, clean, [s for s in slices if s["kind"] != "class"])
        if not by_class:
            return
        surest = surest_boxes(turn, clean)
        for one in by_class:
            label = one["labels"][0]
            scores = surest[:, label] if label else 1 - surest.max(axis=1)
            order = np.lexsort((clean, -scores))
            order = order[scores[order] >= self.least]
            order = self._capped(order, turn, clean)[: self.most]
            why = [f"the model sees one, {scores[i]:.2f}, of {one['name']}" for i in order]
            yield one, clean[order], scores[order], why


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
