"""What a user's module proposes to the people who draw boxes or masks, by its predict_step."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2.functional import InterpolationMode, resize

from coreset.trainers.data.coco import Part
from coreset.trainers.learners.lightning.reading import as_output

Entry = dict[str, Any]
EXPECTED = (
    "expected of predict_step one mapping an image with boxes (n, 4) as x1, y1, x2, y2 in pixels,"
    " labels (n,) and scores (n,), of masks with masks (n, 1, H, W) too, as torchvision's detectors"
    " give, or for masks logits (images, classes, H, W)"
)


@torch.no_grad()
def proposals(
    module: pl.LightningModule,
    loader: Iterable[Any],
    moved: Callable[[pl.LightningModule, Any], Any],
    indices: NDArray[np.int64],
    part: Part,
    masks: bool,
    least: float,
) -> list[list[Entry]]:
    """Return per image the entries of a COCO results file that a module's predict_step gives.

    loader: batches of the examples at `indices` of `part`. Classes are the category ids of its
    file, 0 = background. Boxes and masks are of the image as the module sees it, and are scaled to
    the size in the file. least: objects with a lower score are left out. Raises TypeError for an
    output that is neither, and warns of classes that are no categories.
    """
    out: list[list[Entry]] = []
    strange: set[int] = set()
    for batch in loader:
        batch = moved(module, batch)
        each, sizes = _each(module.predict_step(batch, 0), masks), _sizes(batch)
        for one, seen in zip(each, sizes, strict=True):
            at = int(indices[len(out)])
            rows = _of_map(one, part, at) if isinstance(one, Tensor) else _of_objects(
                one, part, at, seen, masks, least
            )  # fmt: skip
            strange |= {row["category_id"] for row in rows} - set(part.pool.categories)
            out.append([row for row in rows if row["category_id"] in part.pool.categories])
    if strange:
        warnings.warn(
            f"predict_step: classes {sorted(strange)[:5]} are no category ids of"
            f" {part.pool.source}; what it says of them is proposed to nobody",
            stacklevel=2,
        )
    return out


def _each(output: Any, masks: bool) -> list[Any]:
    """Return what predict_step gives of each image: a mapping of objects, or logits (C, H, W)."""
    wanted = {"boxes", "labels", *(("masks",) if masks else ())}
    if isinstance(output, list | tuple) and all(isinstance(o, Mapping) for o in output):
        lacking = next((sorted(wanted - set(o)) for o in output if wanted - set(o)), None)
        if lacking:
            raise TypeError(f"{EXPECTED}; got mappings without {', '.join(lacking)}")
        return list(output)
    try:
        logits = as_output(output)
    except TypeError as error:
        raise TypeError(f"{EXPECTED}; it {error}") from error
    if not masks or logits.ndim != 4:
        raise TypeError(f"{EXPECTED}; it returns shape {tuple(logits.shape)}")
    return list(logits)


def _sizes(batch: Any) -> list[tuple[int, int]]:
    """Return height and width of the images of a batch: its first entry of images."""
    values = batch.values() if isinstance(batch, Mapping) else batch
    for value in values:
        images = list(value) if isinstance(value, Tensor | list | tuple) else []
        if images and all(isinstance(i, Tensor) and i.ndim == 3 for i in images):
            return [(int(i.shape[1]), int(i.shape[2])) for i in images]
    raise TypeError("a batch without images (C, H, W) among its entries: nothing can be proposed")


def _of_objects(
    one: Mapping[str, Any], part: Part, at: int, seen: tuple[int, int], masks: bool, least: float
) -> list[Entry]:
    width, height = part.pool.sizes[at].tolist()
    boxes = one["boxes"].double().cpu().numpy() * np.tile((width / seen[1], height / seen[0]), 2)
    labels = one["labels"].tolist()
    scores = one["scores"].tolist() if "scores" in one else [1.0] * len(labels)
    rows: list[Entry] = []
    for i, (label, score) in enumerate(zip(labels, scores, strict=True)):
        x, y, x2, y2 = np.clip(boxes[i], 0, (width, height, width, height)).tolist()
        if score < least or x2 <= x or y2 <= y:
            continue
        row = {"category_id": int(label), "score": float(score), "bbox": [x, y, x2 - x, y2 - y]}
        if masks:
            mask = one["masks"][i].reshape(1, *one["masks"].shape[-2:])
            row["segmentation"] = (_sized(mask.float(), height, width) >= 0.5)[0].cpu().numpy()
        rows.append(row)
    return rows


def _of_map(logits: Tensor, part: Part, at: int) -> list[Entry]:
    """Return one mask a class of the surest class at every pixel, 0 = background."""
    width, height = part.pool.sizes[at].tolist()
    surest = _sized(logits.float().softmax(dim=0), height, width).max(dim=0)
    rows: list[Entry] = []
    for label in np.unique(surest.indices.cpu().numpy()).tolist():
        mask = surest.indices == label
        if label:
            score = float(surest.values[mask].mean())
            rows.append({"category_id": label, "score": score, "segmentation": mask.cpu().numpy()})
    return rows


def _sized(maps: Tensor, height: int, width: int) -> Tensor:
    """Return maps (C, H, W) in another size."""
    sized: Tensor = resize(maps, [height, width], InterpolationMode.BILINEAR, antialias=False)
    return sized
