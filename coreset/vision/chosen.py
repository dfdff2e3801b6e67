"""The answer of `select`: a selection that knows the images of its pool, and so can be written for
those who label and train.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from coreset.core.pool import Pool
from coreset.core.selection import Selection
from coreset.vision import write
from coreset.vision.boxes import Detections
from coreset.vision.coco import CocoPool


@dataclass(frozen=True, eq=False, repr=False)
class ImageSelection(Selection):
    """A selection with its pool. Every file is written in the order chosen, the first to label
    first.

    predictions and score_threshold go together: the detections of at least that score become
    pre-labels. Raises TypeError where the pool is not one of `CocoPool.from_coco`, since only that
    knows names and sizes.

    >>> from coreset.vision.coco import CocoPool
    >>> pool = CocoPool(
    ...     2,
    ...     ids=np.array([7, 9]),
    ...     names=np.array(["a.jpg", "b.jpg"]),
    ...     sizes=np.array([[4, 3], [4, 3]]),
    ... )
    >>> ImageSelection.over(pool, Selection([1])).ids
    array([9])
    """

    pool: Pool | None = None

    def __repr__(self) -> str:
        return (
            f"ImageSelection(images={len(self)}, strategy={self.info.get('strategy')!r},"
            f" pool={self.pool!r})"
        )

    @classmethod
    def over(cls, pool: Pool, chosen: Selection) -> ImageSelection:
        """Return any selection, such as one loaded from a file, together with the pool it was made
        from. Raises ValueError when its ids are others.
        """
        if len(chosen) and int(chosen.indices.max()) >= pool.size:
            raise ValueError(
                f"the selection holds position {int(chosen.indices.max())}, but the pool has"
                f" {pool.size} images: it was made from another pool"
            )
        ids = pool.ids[chosen.indices]
        if chosen.ids is not None and ids.tolist() != np.asarray(chosen.ids).tolist():
            raise ValueError(
                f"the selection's ids are not those of {getattr(pool, 'source', 'the pool')} at its"
                " positions: it was made from another pool"
            )
        return cls(
            chosen.indices, chosen.weights, chosen.scores, chosen.reasons, ids, chosen.info, pool
        )

    def _images(self) -> CocoPool:
        if not isinstance(self.pool, CocoPool):
            raise TypeError(
                "names and sizes of the images are not known: expected a pool of"
                f" CocoPool.from_coco, got {type(self.pool).__name__}"
            )
        return self.pool

    def to_coco(
        self,
        path: str | Path,
        predictions: Detections | None = None,
        score_threshold: float | None = None,
        annotations: Sequence[dict[str, Any]] | None = None,
    ) -> Path:
        """Write an instances file: the chosen images, `priority` from 0, pre-labels with `score` as
        annotations.

        annotations: known ones instead (entries of an instances file), of which those of the chosen
        images are written: the training file of a simulation.
        """
        return write.to_coco(self, self._images(), path, predictions, score_threshold, annotations)

    def to_yolo(
        self,
        folder: str | Path,
        predictions: Detections | None = None,
        score_threshold: float | None = None,
        images: str = "images",
        annotations: Sequence[Mapping[str, Any]] | None = None,
        source: str | Path | None = None,
        val: float = 0.0,
    ) -> Path:
        """Write `folder/train.txt` and `val.txt` (image paths, `images` before each name),
        `data.yaml` and, with predictions or annotations, `labels/NAME.txt`: what ultralytics trains
        on.

        annotations: known ones instead of predictions (entries of an instances file). source: the
        folder the images lie in; they are linked into `folder/images`. val: share of the images,
        the last chosen, that is held out; 0: validation sees the training images. Classes are
        numbered by ascending category id. Returns the path of data.yaml.
        """
        pool = self._images()
        return write.to_yolo(
            self, pool, folder, predictions, score_threshold, images, annotations, source, val
        )

    def to_label_studio(
        self,
        path: str | Path,
        predictions: Detections | None = None,
        score_threshold: float | None = None,
        prefix: str = "",
        from_name: str = "label",
        to_name: str = "image",
    ) -> Path:
        """Write JSON tasks. prefix goes before each file name; from_name and to_name are the names
        of RectangleLabels and Image in the project.

        Every task has a prediction, if without boxes, whose `score` grows from 0 with the rank:
        Label Studio's uncertainty sampling shows the lowest first, and nothing without one. `data`
        holds the id, the priority and the score it was chosen by.
        """
        return write.to_label_studio(
            self, self._images(), path, predictions, score_threshold, prefix, from_name, to_name
        )

    def to_cvat(
        self,
        path: str | Path,
        predictions: Detections | None = None,
        score_threshold: float | None = None,
    ) -> Path:
        """Write annotations for upload (CVAT for images 1.1, image ids = priority) and beside them
        `NAME.txt`, the file names in order.

        A CVAT task keeps that order with sorting method `predefined`.
        """
        return write.to_cvat(self, self._images(), path, predictions, score_threshold)

    def to_rows(
        self,
        source: str | Path,
        predictions: Detections | None = None,
        score_threshold: float | None = None,
    ) -> list[dict[str, Any]]:
        """Return the chosen images as plain rows, in order: `filepath` (in the folder `source`),
        `file_name`, `id`, `width`, `height`, `priority`, `score`, `boxes` (label, box in pixels
        x, y, x2, y2, score). What `to_fiftyone`, `to_lightly` and `to_hugging_face` of
        `coreset.vision.handoff` take.
        """
        return write.to_rows(self, self._images(), source, predictions, score_threshold)
