"""Labels that came back: one table, whatever tool drew them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from coreset.core.pool import Indices
from coreset.core.store import write_atomic
from coreset.vision.coco import CocoPool
from coreset.vision.ledger import Ledger

SEVERAL = ("error", "first", "last")


@dataclass(frozen=True)
class Shape:
    """One object an annotator drew. position: of its image in the pool; box: x, y, x2, y2 in
    pixels, None for a class of the whole image; category: an id of the pool.

    polygons: COCO's, a list of [x, y, x, y, ...]; rle: COCO's uncompressed run lengths of a mask.
    """

    position: int
    category: int
    box: tuple[float, float, float, float] | None = None
    annotator: str = ""
    polygons: Sequence[Sequence[float]] | None = None
    rle: Mapping[str, Any] | None = None


@dataclass(frozen=True, eq=False)
class Returned:
    """What came back. labeled: positions of the images that were labeled, in the order of the file,
    those without any object too; skipped: those an annotator passed over; the rest of what was
    handed out is still open. annotators: who labeled an image, by its position.
    """

    pool: CocoPool
    labeled: Indices
    skipped: Indices
    shapes: Sequence[Shape]
    source: str
    annotators: Mapping[int, Sequence[str]] = field(default_factory=dict)

    def __repr__(self) -> str:
        return (
            f"Returned(labeled={len(self.labeled)}, skipped={len(self.skipped)},"
            f" shapes={len(self.shapes)}, source={self.source!r})"
        )

    def one_each(self, several: str = "error") -> list[Shape]:
        """Return the shapes of one annotator per image.

        several: what to do where there are more: `error`, the `first` or the `last` of the file.
        Raises ValueError naming the image.
        """
        if several not in SEVERAL:
            raise ValueError(f"several: expected {', '.join(SEVERAL)}, got {several!r}")
        who: dict[int, str] = {}
        for position, names in self.annotators.items():
            if len(names) > 1 and several == "error":
                raise ValueError(
                    f"{self.source}: image {str(self.pool.names[position])!r} was labeled by"
                    f" {', '.join(names)}: say several='first' or 'last'"
                )
            who[position] = names[0 if several == "first" else -1]
        return [s for s in self.shapes if s.annotator == who.get(s.position, s.annotator)]

    def annotations(self, several: str = "error") -> list[dict[str, Any]]:
        """Return the shapes as annotations of a COCO instances file, with the pool's own ids."""
        rows: list[dict[str, Any]] = []
        for shape in self.one_each(several):
            if shape.box is None:
                continue
            x, y, x2, y2 = shape.box
            row = {"id": len(rows) + 1, "image_id": self.pool.ids[shape.position].item(),
                   "category_id": shape.category,
                   "bbox": [x, y, x2 - x, y2 - y], "area": (x2 - x) * (y2 - y),
                   "iscrowd": 0}  # fmt: skip
            if shape.rle is not None:
                row["segmentation"], row["area"] = dict(shape.rle), sum(shape.rle["counts"][1::2])
            elif shape.polygons is not None:
                row["segmentation"] = [list(p) for p in shape.polygons]
                row["area"] = sum(map(_area, shape.polygons))
            rows.append(row)
        return rows

    def classes(self, several: str = "error") -> dict[int, int]:
        """Return the class of whole images, {position: category}."""
        return {s.position: s.category for s in self.one_each(several) if s.box is None}

    def to_coco(self, path: str | Path, several: str = "error") -> Path:
        """Write the labeled images and what was drawn in them as an instances file, with the ids,
        names and categories of the pool: what `labeled=` of the next choice and `Ledger.ingest`
        take.
        """
        images = [
            {"id": self.pool.ids[i].item(), "file_name": str(self.pool.names[i]),
             "width": int(self.pool.sizes[i][0]), "height": int(self.pool.sizes[i][1])}
            for i in self.labeled.tolist()
        ]  # fmt: skip
        categories = [{"id": k, "name": name} for k, name in sorted(self.pool.categories.items())]
        whole = {
            "images": images,
            "annotations": self.annotations(several),
            "categories": categories,
        }
        return write_atomic(path, json.dumps(whole, indent=1))

    def into(self, ledger: Ledger) -> dict[str, int]:
        """Write into the ledger what was labeled and what was skipped; return how many were labeled
        and are pending. Images that are in the ledger as such already stay as they are.
        """
        pending = set(ledger.ids("pending"))
        passed = [k for k in self.pool.ids[self.skipped].tolist() if k in pending]
        counts = ledger.ingest(self.pool.ids[self.labeled].tolist(), self.pool)
        if passed:
            ledger.skip(passed, f"skipped in {Path(self.source).name}")
        return {"labeled": counts["labeled"], "pending": len(ledger.ids("pending"))}


def _area(polygon: Sequence[float]) -> float:
    """Return the area of a polygon [x, y, x, y, ...], by the shoelace formula."""
    x, y = np.asarray(polygon[::2], np.float64), np.asarray(polygon[1::2], np.float64)
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def box_of(polygons: Sequence[Sequence[float]]) -> tuple[float, float, float, float]:
    """Return the smallest box around polygons."""
    xs = [v for p in polygons for v in p[::2]]
    ys = [v for p in polygons for v in p[1::2]]
    return min(xs), min(ys), max(xs), max(ys)


def rle_of(mask: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Return a mask (H, W) as COCO's uncompressed run lengths: down the columns, 0 before 1.

    >>> rle_of(np.array([[True, False], [True, False]]))
    {'size': [2, 2], 'counts': [0, 2, 2]}
    """
    flat = np.asarray(mask, bool).T.ravel()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat, [not flat[-1]]])))
    return {"size": list(mask.shape), "counts": np.diff(np.concatenate([[0], edges])).tolist()}


def mask_box(mask: np.ndarray[Any, Any]) -> tuple[float, float, float, float]:
    """Return the smallest box around the pixels of a mask. Raises ValueError for none."""
    ys, xs = np.nonzero(mask)
    if not len(xs):
        raise ValueError("the mask covers no pixel")
    return float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)
