"""How detectors write boxes and classes: one line per tool, and boxes brought into ours.

Ours: corners x, y, x2, y2 in pixels of the original image, the first pixel from 0 to 1, categories
by the ids of the pool.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coreset.vision.coco import CocoPool

FORMS = ("xyxy", "xywh", "cxcywh")


@dataclass(frozen=True)
class Convention:
    """form: xyxy (two corners), xywh (corner and size) or cxcywh (center and size). first: number
    of the first pixel, 0 or 1; with 1 a box ends *in* its last pixel. normalized: numbers from 0 to
    1, relative to the image. labels: what a class is: `category` (the pool's own id), `index` (of
    the model's list of classes, from 0) or `name`.

    >>> CONVENTIONS["pascal_voc"].corners([[1, 1, 10, 5]], [[10, 5]]).tolist()
    [[0.0, 0.0, 10.0, 5.0]]
    >>> CONVENTIONS["yolo"].corners([[0.5, 0.5, 1.0, 0.5]], [[10, 8]]).tolist()
    [[0.0, 2.0, 10.0, 6.0]]
    """

    form: str = "xyxy"
    first: int = 0
    normalized: bool = False
    labels: str = "category"

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(f"form: expected {', '.join(FORMS)}, got {self.form!r}")
        if self.first not in (0, 1) or (self.first == 1 and self.normalized):
            raise ValueError("first: expected 0 or 1, and 0 for normalized boxes")
        if self.labels not in ("category", "index", "name"):
            raise ValueError(f"labels: expected category, index or name, got {self.labels!r}")

    def corners(self, boxes: ArrayLike, sizes: ArrayLike) -> NDArray[np.float64]:
        """Return boxes (B, 4) as corners in pixels. sizes (B, 2): width and height of their images.

        Raises ValueError where the boxes are of another convention: corners in the wrong order,
        normalized numbers above 1, or pixels that all lie between 0 and 1 in images larger than 2.
        """
        given, size = np.asarray(boxes, np.float64).reshape(-1, 4), np.asarray(sizes, np.float64)
        if not len(given):
            return given
        if self.normalized and np.nanmax(given) > 1.5:
            raise ValueError(
                f"boxes: normalized numbers are at most 1, the largest is {np.nanmax(given):g}: are"
                " these pixels?"
            )
        if not self.normalized and np.nanmax(given) <= 1 and size.min() > 2:
            raise ValueError("boxes: all numbers lie between 0 and 1: are these normalized?")
        out = given.copy()
        if self.form == "cxcywh":
            out[:, :2] -= out[:, 2:] / 2
        if self.form != "xyxy":
            out[:, 2:] += out[:, :2]
        if self.first == 1:
            out[:, :2] -= 1
            out[:, 2:] -= 1 if self.form != "xyxy" else 0
        if self.normalized:
            out *= np.tile(size, 2)
        wrong = (out[:, 2:] < out[:, :2]).any(axis=1)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(
                f"boxes: {given[row].tolist()} is no box as {self.form}; expected"
                f" {'x, y, x2, y2 with x2 >= x' if self.form == 'xyxy' else 'sizes of at least 0'}"
            )
        return out

    def categories(
        self,
        labels: Sequence[Any],
        pool: CocoPool,
        classes: Sequence[str] | Mapping[int, str] | None,
    ) -> NDArray[np.int64]:
        """Return the pool's categories (B,) of labels. classes: the model's list of class names,
        needed for `index`. Raises ValueError without it and for names where numbers are expected,
        KeyError for a class the pool does not have.
        """
        by_name = {name: k for k, name in pool.categories.items()}
        values = [v.item() if hasattr(v, "item") else v for v in labels]
        if self.labels == "category":
            values = [_number(v) for v in values]
            strange = [v for v in values if v not in pool.categories]
            if strange:
                raise KeyError(f"category {strange[0]} is none of {sorted(pool.categories)}")
            return np.array(values, np.int64)
        if self.labels == "index":
            if classes is None:
                raise ValueError(
                    "classes: the model numbers its classes, give their names in order"
                )
            known = dict(classes) if isinstance(classes, Mapping) else dict(enumerate(classes))
            values = [_number(v) for v in values]
            off = [v for v in values if v not in known]
            if off:
                raise KeyError(f"class {off[0]} is none of the model's {len(known)}")
            values = [known[v] for v in values]
        strange = [v for v in values if v not in by_name]
        if strange:
            raise KeyError(f"class {strange[0]!r:.80} is none of {', '.join(by_name)}")
        return np.array([by_name[v] for v in values], np.int64)


def _number(label: Any) -> int:
    """Return a class number. Raises ValueError for a name or a broken number."""
    if isinstance(label, (int, float)) and float(label).is_integer():
        return int(label)
    raise ValueError(
        f"labels: this convention numbers classes, got {label!r:.80}: are these names? Then take"
        " Convention(..., labels='name')"
    )


CONVENTIONS = {
    "coco": Convention("xywh"),
    "torchvision": Convention(),
    "ultralytics": Convention(labels="index"),
    "supervision": Convention(labels="index"),
    "mmdetection": Convention(labels="index"),
    "hugging_face": Convention(labels="name"),
    "pascal_voc": Convention(first=1, labels="name"),
    "yolo": Convention("cxcywh", normalized=True, labels="index"),
}
