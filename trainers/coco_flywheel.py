"""A flywheel over images with boxes or masks: slices are classes of objects, versions are judged by
mAP or mIoU.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from coreset.core.strategy import Oracle
from coreset.flywheel import Flywheel, FlywheelData
from coreset.flywheel.boxes import Boxes, Drawn
from coreset.flywheel.choose import Choose
from coreset.flywheel.data import FROZEN
from coreset.flywheel.diagnose import Diagnose
from coreset.flywheel.label import Label
from coreset.flywheel.masks import Masks
from coreset.flywheel.mine_objects import MineObjects
from coreset.trainers.data.coco import CocoData, Part, joined
from coreset.trainers.learners.config import TrainingConfig
from coreset.trainers.learners.fit import Fitter, ModelFactory
from coreset.trainers.learners.in_memory import InMemoryLearner
from coreset.trainers.oracles import HiddenLabels
from coreset.trainers.paste import PasteChildren, make_children, with_children
from coreset.trainers.tasks.detection import Detection
from coreset.trainers.tasks.segmentation import Segmentation

SIZES, BOUNDS = ("small", "medium", "large"), (32.0**2, 96.0**2)


def drawn_in(part: Part, at: int) -> Drawn:
    """Return the objects of an image, crowds behind the others."""
    boxes, labels = part.boxes(at)
    crowd, what = part.boxes(at, crowd=True)
    flags = np.arange(len(labels) + len(what)) >= len(labels)
    return Drawn(np.concatenate([boxes, crowd]), np.concatenate([labels, what]), flags)


def class_maps(part: Part, rows: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the class of every pixel (n, height, width) of images, brought to a size as
    `SegmentationBatches` does it.
    """
    height, width = size
    maps = [
        Image.fromarray(part.class_map(i)).resize((width, height), Image.Resampling.NEAREST)
        for i in rows.tolist()
    ]
    return np.stack([np.asarray(m, np.uint8) for m in maps])


def rarest_class(part: Part, start: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the class (N,) of every image: of those in it the one of which the images `start` hold
    the fewest objects (the first of equals), 0 where nothing is in it.
    """
    classes = [part.boxes(i)[1] for i in range(part.pool.size)]
    many = len(part.number) + 1
    counts = np.sum([np.bincount(classes[i], minlength=many) for i in start], axis=0)
    return np.array(
        [min(c.tolist(), key=lambda k: (counts[k], k)) if len(c) else 0 for c in classes], np.int64
    )


def object_sizes(part: Part) -> NDArray[np.str_]:
    """Return how large the objects of every image (N,) are, by the median area of their boxes in
    pixels: `small` below 32 x 32, `medium` below 96 x 96, else `large` (the bounds of COCO's AP by
    size); "" where nothing is in it.
    """
    sizes = np.full(part.pool.size, "", "<U6")
    for at in range(part.pool.size):
        boxes = part.boxes(at)[0]
        if len(boxes):
            areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
            sizes[at] = SIZES[int(np.searchsorted(BOUNDS, np.median(areas), side="right"))]
    return sizes


def coco_flywheel(
    folder: str | Path,
    source: CocoData,
    roles: NDArray[np.str_],
    features: NDArray[np.float32],
    model: ModelFactory,
    fit: TrainingConfig,
    *,
    task: Detection | Segmentation | None = None,
    about: Mapping[str, Any] | None = None,
    oracle: Oracle | None = None,
    stages: Mapping[str, Any] | None = None,
    trainer: Mapping[str, Any] | None = None,
    embed: Callable[[NDArray[np.uint8]], NDArray[np.float32]] | None = None,
    **options: Any,
) -> Flywheel:
    """Return a flywheel over a COCO folder, its pool and its test set.

    roles (N + M,), features (N + M, D): of the pool's and then the test set's images; features are
    where copies and neighbors of slices other than classes are looked for. model, fit, task: as
    `coreset-train task=detection` has them; about: the model's settings, kept with the trainings.
    An image is of the class in it that the start set has fewest of, and costs its boxes, 1 at
    least. Slices are these classes and the sizes of `object_sizes`, which are unknown of pool
    images. oracle: says that class of an image once its boxes are drawn; default: the annotations
    in the file, which are read of a pool image only when it is bought. stages, options: as
    `Flywheel` takes them. With the stage `PasteChildren`, children of the start set are made in
    `folder`/children; embed: gives features of their small squares (n, S, S, 3), as `features` are.

    A simulation knows costs before it buys, which decides only where a batch ends.
    """
    data, task = joined(source), task or Detection()
    task.check(data)
    start = np.flatnonzero(roles == "train")
    if not len(start):
        raise ValueError("roles: expected examples of train, there is none")
    images = data.part.pool.size
    stage, home = (stages or {}).get("synthesize"), Path(folder) / "children"
    if isinstance(stage, PasteChildren):
        labels = rarest_class(data.part, start)
        make_children(home, data.part, start, labels, stage, int(options.get("seed", 0)))
    data, parents = with_children(data, home)
    if parents:
        if embed is None:
            raise ValueError("embed: with pasted children expected what gives their features")
        roles = np.array([*roles.tolist(), *["child"] * len(parents)])
        features = np.concatenate([features, embed(data.images[images:])])
    truth = rarest_class(data.part, start)
    boxes = np.array([len(data.part.boxes(i)[1]) for i in range(len(truth))], np.float64)
    wheel_data = FlywheelData(
        data.ids,
        np.where(roles == "pool", -1, truth),
        roles,
        features,
        data.classes,
        {"size": np.where(roles == "pool", "", object_sizes(data.part))},
        costs=np.maximum(boxes, 1),
        pictures=data.images,
        parents=np.array([*[""] * images, *parents]),
    )
    parts: dict[str, Any] = {"label": Label(folds=0), "diagnose": Diagnose(content=("size",))}
    measure: Boxes | Masks
    if isinstance(task, Detection):
        measure = Boxes([drawn_in(data.part, i) for i in wheel_data.at(*FROZEN).tolist()])
        parts["mine"] = MineObjects()
        parts["choose"] = Choose(strategy="top_k", options={"signal": "mined"}, relabel=0.0)
    else:
        parts["choose"] = Choose(strategy="maxherding", relabel=0.0)
        measure = Masks(class_maps(data.part, wheel_data.at(*FROZEN), task.size), len(data.classes))
    fitter = Fitter(data, model, {"accelerator": "cpu", **(trainer or {})}, task=task)
    name = json.dumps([dict(about or {}), asdict(fit), asdict(task)], sort_keys=True, default=str)
    return Flywheel(
        folder,
        wheel_data,
        InMemoryLearner(fitter, fit, halfway=False),
        oracle or HiddenLabels(truth),
        measure=measure,
        stages={**parts, **(stages or {})},
        learner_name=f"{type(task).__name__} {name} on {source.fingerprint}",
        **options,
    )
