"""Boxes and masks that people draw in Label Studio, as annotations of a COCO instances file."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.ops import box_iou

from coreset.scorers.image.files import open_image
from coreset.trainers.data.coco import IGNORED, Part
from coreset.trainers.oracles.base import Request
from coreset.trainers.oracles.forms import IMAGE, Annotations, strange_class
from coreset.vision.handoff.label_studio import brush, rectangle, shapes_of
from coreset.vision.handoff.returned import Shape, mask_box, rle_of

MEDIA = {"JPEG": "image/jpeg", "PNG": "image/png"}  # sent as they are
ORIENTATION = 0x0112  # EXIF: browsers turn the image, its size in the instances file is as stored
Results = Sequence[Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, eq=False)
class Drawing:
    """What people draw. part: the images, into which the annotations go; masks: rather than boxes.
    propose: positions (n,) -> per image the entries of a COCO results file (category_id, score, and
    bbox or a mask (H, W) as segmentation) that the current model gives; None where it gives none.
    """

    part: Part
    masks: bool
    propose: Callable[[NDArray[np.int64]], Results] | None = None


@dataclass(frozen=True, eq=False)
class Drawn:
    """The form of a drawing. agreement: `majority` keeps boxes that more than half of the people
    drew, `all` those that everybody drew; a box on which they are divided waits for one more. Of
    masks, a pixel without a majority (or without unanimity) is ignored in training. overlap: the
    intersection over union from which two boxes of one class are the same object. prefix: goes
    before the file names, where the server has the images; None: they are sent to it.
    """

    drawing: Drawing
    agreement: str
    overlap: float
    prefix: str | None

    @property
    def part(self) -> Part:
        """The images."""
        return self.drawing.part

    def config(self) -> str:
        """Return boxes, or brush and polygons."""
        names = self.part.pool.categories.values()
        labels = "".join(f'<Label value="{escape(name)}"/>' for name in names)
        tags = {"label": "RectangleLabels"}
        if self.drawing.masks:
            tags = {"label": "BrushLabels", "polygon": "PolygonLabels"}
        tools = [f'<{t} name="{n}" toName="image">{labels}</{t}>' for n, t in tags.items()]
        # the image alone: where a configuration shows more, the server takes no image files
        return f"<View>{IMAGE}{''.join(tools)}</View>"

    def images(self, request: Request, rows: Sequence[int]) -> list[str | tuple[str, bytes, str]]:
        """Return the files, or their addresses."""
        indices = request.indices[list(rows)].tolist()
        if self.prefix is not None:
            return [f"{self.prefix}{self.part.pool.names[i]}" for i in indices]
        return [file_of(self.part, i) for i in indices]

    def proposal(self, request: Request, row: int) -> tuple[list[dict[str, Any]], float] | None:
        """Return the current model's objects, and the mean of their scores."""
        if request.drawn is None:
            return None
        index, entries = int(request.indices[row]), request.drawn[row]
        width, height = self.part.pool.sizes[index].tolist()
        results = []
        for i, entry in enumerate(entries):
            label, about = self.part.pool.categories[entry["category_id"]], {"id": f"{index}-{i}"}
            if self.drawing.masks:
                results.append(brush(entry["segmentation"], label, **about))
                continue
            x, y, w, h = entry["bbox"]
            results.append(rectangle((x, y, x + w, y + h), label, width, height, **about))
        scores = [float(entry["score"]) for entry in entries]
        return results, float(np.mean(scores)) if scores else 0.0

    def answer(self, index: int, done: Annotations) -> list[dict[str, Any]] | None:
        """Return annotations of a COCO instances file; none at all where there is no object."""
        who = f"label_studio: position {index}"
        each = [self._shapes(index, a, who) for a in done]
        if self.drawing.masks:
            shapes = self._masks(index, each, who)
        else:
            agreed = self._boxes(index, each)
            if agreed is None:
                return None
            shapes = agreed
        return [self._row(index, shape, i) for i, shape in enumerate(shapes, 1)]

    def _shapes(self, index: int, annotation: Mapping[str, Any], who: str) -> list[Shape]:
        """Return what one person drew, inside the image."""
        pool, known = self.part.pool, set(self.part.pool.categories.values())
        out: list[Shape] = []
        for result in annotation.get("result") or []:
            value = result.get("value") if isinstance(result, Mapping) else None
            labels = (value or {}).get(str(result.get("type"))) or []
            for name in labels if isinstance(labels, list) else []:
                if name not in known:
                    raise strange_class(index, name, list(pool.categories.values()))
            out += [s for s in shapes_of(result, index, "", pool, who) if s.box is not None]
        if self.drawing.masks and any(s.rle is None and s.polygons is None for s in out):
            raise ValueError(f"{who}: a box among masks; expected brush or polygon")
        return out if self.drawing.masks else [self._inside(index, s, who) for s in out]

    def _inside(self, index: int, shape: Shape, who: str) -> Shape:
        """Return the box of a shape, cut at the edges of the image."""
        assert shape.box is not None
        x, y, x2, y2 = np.clip(shape.box, 0, np.tile(self.part.pool.sizes[index], 2)).tolist()
        if x2 <= x or y2 <= y:
            raise ValueError(
                f"{who}: a box of {self.part.pool.categories[shape.category]!r} without area inside"
                " the image; delete it there, then resume this run"
            )
        return Shape(index, shape.category, (x, y, x2, y2))

    def _boxes(self, index: int, each: Sequence[Sequence[Shape]]) -> list[Shape] | None:
        """Return the objects people agree on, each the mean of its boxes; None where they are
        divided.
        """
        objects: list[dict[int, Shape]] = []  # person -> box
        for person, shapes in enumerate(each):
            for shape in shapes:
                others = [
                    (self._same(o, shape), -i)
                    for i, o in enumerate(objects)
                    if person not in o and next(iter(o.values())).category == shape.category
                ]
                best = max(others, default=(0.0, 0))
                if best[0] >= self.overlap:
                    objects[-best[1]][person] = shape
                else:
                    objects.append({person: shape})
        people, out = len(each), []
        for drawn in objects:
            votes = len(drawn)
            if 2 * votes == people or (self.agreement == "all" and votes < people):
                return None
            if 2 * votes > people:
                x, y, x2, y2 = np.mean([s.box or () for s in drawn.values()], axis=0).tolist()
                out.append(Shape(index, next(iter(drawn.values())).category, (x, y, x2, y2)))
        return out

    def _same(self, drawn: Mapping[int, Shape], shape: Shape) -> float:
        """Return the least intersection over union of a shape with an object's boxes."""
        boxes = torch.tensor([s.box for s in drawn.values()], dtype=torch.float64)
        return float(box_iou(boxes, torch.tensor([shape.box], dtype=torch.float64)).min())

    def _masks(self, index: int, each: Sequence[Sequence[Shape]], who: str) -> list[Shape]:
        """Return the shapes of one person, or one mask a class of what several agree on, and last
        what is ignored (category -1).
        """
        if len(each) == 1:
            return list(each[0])
        maps = np.stack(
            [self.part.draw([self._row(index, s, 0) for s in one], index, who) for one in each]
        )
        numbers = {number: k for k, number in self.part.number.items()}
        agreed = np.full(maps.shape[1:], IGNORED, np.uint8)
        for number in (0, *numbers):
            votes = (maps == number).sum(axis=0)
            agreed[votes == len(each) if self.agreement == "all" else 2 * votes > len(each)] = (
                number
            )
        return [
            Shape(index, numbers.get(n, -1), mask_box(agreed == n), rle=rle_of(agreed == n))
            for n in (*numbers, IGNORED)
            if (agreed == n).any()
        ]

    def _row(self, index: int, shape: Shape, number: int) -> dict[str, Any]:
        assert shape.box is not None
        x, y, x2, y2 = shape.box
        row: dict[str, Any] = {
            "id": number,
            "image_id": self.part.pool.ids[index].item(),
            "category_id": shape.category if shape.category >= 0 else min(self.part.number),
            "bbox": [x, y, x2 - x, y2 - y],
            "iscrowd": int(shape.category < 0),
        }
        if shape.rle is not None:
            row["segmentation"] = dict(shape.rle)
        elif shape.polygons is not None:
            row["segmentation"] = [list(p) for p in shape.polygons]
        return row

    def take(self, index: int, answer: Any) -> int:
        """Put the annotations into the image; return the class of the largest area, 0 for none."""
        return self.part.put(index, answer)


def file_of(part: Part, at: int) -> tuple[str, bytes, str]:
    """Return name, content and media type of an image as a browser shows it in the size that the
    instances file says: the file as it is, or a PNG.
    """
    path = part.root / str(part.pool.names[at])
    with open_image(path) as image:
        plain = image.format in MEDIA and image.getexif().get(ORIENTATION, 1) == 1
        media = MEDIA.get(str(image.format), "image/png")
    pixels = part.image(at)  # checks its size
    if plain:
        return path.name, path.read_bytes(), media
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return f"{path.stem}.png", buffer.getvalue(), "image/png"
