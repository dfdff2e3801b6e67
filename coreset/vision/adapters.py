"""Predictions of any tool as `Detections`, probabilities or class maps, each in its convention.

What has a method of its own (`Detections.from_torchvision`, `from_ultralytics`, `from_supervision`,
`from_coco_results`) stays there; here are files and outputs that are plain data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.vision.boxes import Detections, Outside
from coreset.vision.coco import CocoPool, positions, read_json
from coreset.vision.conventions import CONVENTIONS, Convention
from coreset.vision.handoff.names import place


def from_rows(
    rows: Sequence[Mapping[str, Any]],
    images: Iterable[Any],
    pool: CocoPool,
    convention: Convention | str,
    classes: Sequence[str] | Mapping[int, str] | None = None,
    source: str = "predictions",
    *,
    outside: Outside = "error",
) -> Detections:
    """Return predictions, one {boxes, scores, labels} per image in the order of `images` (ids or
    file names of the pool), in a convention of `CONVENTIONS` or of your own.

    outside: boxes beyond their image are an error, as they are where the images were resized, or
    cut (`clip`). Raises KeyError for an unknown image or class and ValueError for boxes of another
    convention or of another number than scores and labels.
    """
    if outside not in ("error", "clip"):
        raise ValueError(f"outside: expected error or clip, got {outside!r}")
    how = CONVENTIONS[convention] if isinstance(convention, str) else convention
    given = list(images)
    if len(given) != len(rows):
        raise ValueError(f"{source}: {len(rows)} predictions for {len(given)} images")
    at = positions(pool, given, source)
    if len(np.unique(at)) != len(at):
        raise ValueError(f"{source}: an image occurs twice")
    counts = [len(row["scores"]) for row in rows]
    for name, row, n in zip(given, rows, counts, strict=True):
        if len(row["boxes"]) != n or len(row["labels"]) != n:
            raise ValueError(
                f"{source}: image {name!r}: {len(row['boxes'])} boxes, {n} scores,"
                f" {len(row['labels'])} labels"
            )
    image = np.repeat(np.arange(len(rows)), counts)
    parts = [np.asarray(row["boxes"], np.float64).reshape(-1, 4) for row in rows]
    boxes = np.concatenate(parts) if parts else np.empty((0, 4))
    labels = [v for row in rows for v in list(row["labels"])]
    sizes = pool.sizes[at]
    try:
        corners = how.corners(boxes, sizes[image])
        numbers = how.categories(labels, pool, classes)
    except (ValueError, KeyError) as error:
        raise type(error)(f"{source}: {error.args[0]}") from error
    scores = [float(s) for row in rows for s in row["scores"]]
    if outside == "clip" and len(corners):
        corners = np.clip(corners, 0, np.tile(sizes[image], 2))
    return Detections(
        pool.ids[at], image, corners, np.array(scores), numbers, sizes=sizes, source=source
    )


def from_mmdetection(
    folder: str | Path,
    pool: CocoPool,
    classes: Sequence[str],
    ending: str = ".json",
    *,
    outside: Outside = "error",
) -> Detections:
    """Return the predictions that MMDetection's inferencer writes, `preds/NAME.json` with `bboxes`
    (corners in pixels), `scores` and `labels` (numbers of the model's `classes`, from 0).

    A results file in COCO's form (`--format-only`, `bbox.json`) goes to
    `Detections.from_coco_results`; a pickle (`--out results.pkl`) runs code when it is read and is
    refused. Raises ValueError naming the file.
    """
    folder = Path(folder)
    if folder.suffix in (".pkl", ".pickle"):
        raise ValueError(
            f"{folder}: a pickle runs code when it is read; write JSON: the inferencer's preds/, or"
            " --cfg-options test_evaluator.format_only=True"
        )
    files = sorted(folder.glob(f"*{ending}"))
    if not files:
        raise ValueError(f"{folder}: no predictions *{ending}")
    rows, images = [], []
    for file in files:
        content = read_json(file)
        if not isinstance(content, Mapping) or not {"bboxes", "scores", "labels"} <= set(content):
            raise ValueError(f"{file}: expected bboxes, scores and labels")
        rows.append(
            {"boxes": content["bboxes"], "scores": content["scores"], "labels": content["labels"]}
        )
        images.append(pool.ids[place(pool, file.name.removesuffix(ending), str(file))].item())
    return from_rows(rows, images, pool, "mmdetection", classes, str(folder), outside=outside)


def from_hugging_face(
    outputs: Sequence[Sequence[Mapping[str, Any]]],
    images: Iterable[Any],
    pool: CocoPool,
    *,
    outside: Outside = "error",
) -> Detections:
    """Return the outputs of a `transformers` object-detection pipeline: per image a list of
    {score, label (a name), box {xmin, ymin, xmax, ymax} in pixels}.
    """
    rows = []
    for i, detected in enumerate(outputs):
        try:
            boxes = [[d["box"][k] for k in ("xmin", "ymin", "xmax", "ymax")] for d in detected]
            rows.append(
                {"boxes": boxes, "scores": [d["score"] for d in detected],
                 "labels": [d["label"] for d in detected]}
            )  # fmt: skip
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"pipeline outputs: entry {i}: expected a list of {{score, label, box}} ({error!r})"
            ) from error
    return from_rows(rows, images, pool, "hugging_face", source="pipeline outputs", outside=outside)


def classification_probs(
    outputs: Sequence[Sequence[Mapping[str, Any]]], classes: Sequence[str]
) -> NDArray[np.float64]:
    """Return the outputs of a classification pipeline (`top_k` as many as there are classes) as
    probabilities (N, C) in the order of `classes`.

    Raises ValueError for an example without all classes, or whose scores do not sum to 1 (a
    pipeline of independent labels, or cut by `top_k`).

    >>> classification_probs(
    ...     [[{"label": "dog", "score": 0.75}, {"label": "cat", "score": 0.25}]], ["cat", "dog"]
    ... )
    array([[0.25, 0.75]])
    """
    place_of = {name: i for i, name in enumerate(classes)}
    out = np.full((len(outputs), len(classes)), np.nan)
    for i, predicted in enumerate(outputs):
        for one in predicted:
            if one["label"] not in place_of:
                raise ValueError(f"pipeline outputs: entry {i}: class {one['label']!r} is unknown")
            out[i, place_of[one["label"]]] = one["score"]
        total = out[i].sum()
        if not abs(total - 1) < 1e-3:
            raise ValueError(
                f"pipeline outputs: entry {i}: {np.isfinite(out[i]).sum()} of {len(classes)}"
                f" classes with a sum of {np.nansum(out[i]):.4g}; call the pipeline with top_k=None"
            )
    return out


def segmentation_map(path: str | Path, classes: int, ignore: int = 255) -> NDArray[np.int64]:
    """Return a class map (H, W) from a PNG of class numbers (palette or gray) or an .npy of them;
    -1 where the pixel is `ignore`.

    Raises ValueError for colors (a picture of a map, not a map) and numbers beyond `classes`.
    """
    path = Path(path)
    if path.suffix == ".npy":
        numbers = np.load(path, allow_pickle=False)
    else:
        from coreset.scorers.image.files import open_image

        with open_image(path) as image:
            if image.mode not in ("L", "P", "I", "I;16", "1"):
                raise ValueError(
                    f"{path}: a picture in {image.mode}, expected one class number per pixel"
                )
            numbers = np.asarray(image)
    if numbers.ndim != 2 or numbers.dtype.kind not in "iub":
        raise ValueError(
            f"{path}: expected class numbers (H, W), got {numbers.dtype} {numbers.shape}"
        )
    out = numbers.astype(np.int64)
    out[numbers == ignore] = -1
    if out.max(initial=-1) >= classes or out.min(initial=0) < -1:
        raise ValueError(
            f"{path}: class {int(out.max())}, but there are {classes} (ignore={ignore})"
        )
    return out  # type: ignore[no-any-return]


def segmentation_probs(path: str | Path, classes: int) -> NDArray[np.float32]:
    """Return class probabilities (C, H, W) from an .npy of that shape, memory-mapped, or of (H, W,
    C). Raises ValueError for another shape and one that may be both.
    """
    probs = np.load(path, mmap_mode="r", allow_pickle=False)
    if probs.ndim != 3 or classes not in (probs.shape[0], probs.shape[-1]):
        raise ValueError(
            f"{path}: expected ({classes}, H, W) or (H, W, {classes}), got {probs.shape}"
        )
    if probs.shape[0] == probs.shape[-1] == classes:
        raise ValueError(
            f"{path}: {probs.shape} may be (C, H, W) or (H, W, C): say which by another W"
        )
    return np.asarray(probs if probs.shape[0] == classes else np.moveaxis(probs, -1, 0))
