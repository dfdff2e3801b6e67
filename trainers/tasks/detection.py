"""Detection in the loops: torchvision's detectors, mean average precision, images scored by their
boxes.

A detector is any module with torchvision's contract: in training `model(images, targets)` returns a
dict of losses, else `model(images)` one {boxes, labels, scores} per image; class 0 is the
background.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from coreset.core.strategy import Strategy
from coreset.trainers.data.base import ImageData
from coreset.trainers.data.coco import CocoData, Part, known_part
from coreset.trainers.tasks.base import Task
from coreset.trainers.tasks.module import Scheduled
from coreset.trainers.tasks.regions import REGIONS, RegionMaps
from coreset.vision import (
    Detections,
    ImageScores,
    WithEmpty,
    aggregate,
    box_scores,
    detect,
    object_frequency,
)

_MOST_BOXES = 100  # of an image, as COCO counts them
METRICS = {"mAP": "map", "mAP50": "map_50"}


def detector(
    num_classes: int,
    in_channels: int,
    image_size: int,
    name: str = "fasterrcnn_mobilenet_v3_large_320_fpn",
    pretrained: bool = False,
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Return a detector of torchvision by its name.

    pretrained: its backbone with the weights torchvision knows for it (downloaded once). options:
    torchvision's own parameters of it, such as min_size, the shorter side in pixels inside the
    network. in_channels and image_size are the small squares' and play no part. Raises ValueError
    for a name that is no detector.
    """
    from torchvision.models import detection, list_models

    if name not in list_models(detection):
        raise ValueError(
            f"name: torchvision has no detector {name!r}; it has"
            f" {', '.join(list_models(detection))}"
        )
    backbone = "DEFAULT" if pretrained else None
    model = getattr(detection, name)(
        weights=None, weights_backbone=backbone, num_classes=num_classes, **(options or {})
    )
    return cast(nn.Module, model)


def as_tensor(image: NDArray[np.uint8]) -> Tensor:
    """Return an image (H, W, 3) as floats in [0, 1] (3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 255


class DetectionBatches:
    """Batches {images, targets, index}: in order, or `steps` of them in random order, flipped with
    `augment`; with weights, images are drawn in proportion to them.
    """

    def __init__(
        self, part: Part, indices: NDArray[np.int64], batch_size: int, *,
        steps: int | None = None, seed: int = 0, weights: NDArray[np.float64] | None = None,
        augment: bool = False,
    ) -> None:  # fmt: skip
        if not len(indices):
            raise ValueError("indices: expected at least one image")
        self.part, self.indices, self.batch_size, self.steps = part, indices, batch_size, steps
        self.seed, self.weights, self.augment = seed, weights, augment

    def __len__(self) -> int:
        return self.steps or -(-len(self.indices) // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if self.steps is None:
            for start in range(0, len(self.indices), self.batch_size):
                yield self._batch(self.indices[start : start + self.batch_size], None)
            return
        rng, done = np.random.default_rng(self.seed), 0
        share = None if self.weights is None else self.weights / self.weights.sum()
        while done < self.steps:
            n = len(self.indices)
            order = rng.permutation(n) if share is None else rng.choice(n, n, p=share)
            for start in range(0, n, self.batch_size):
                yield self._batch(self.indices[order[start : start + self.batch_size]], rng)
                done += 1
                if done == self.steps:
                    return

    def _batch(self, rows: NDArray[np.int64], rng: np.random.Generator | None) -> dict[str, Any]:
        images, targets = [], []
        for at in rows.tolist():
            image, (boxes, labels) = self.part.image(at), self.part.boxes(at)
            if rng is not None and self.augment and rng.random() < 0.5:
                image, boxes = image[:, ::-1], boxes.copy()
                boxes[:, [0, 2]] = image.shape[1] - boxes[:, [2, 0]]
            crowd, _ = self.part.boxes(at, crowd=True)
            images.append(as_tensor(image))
            targets.append(
                {
                    "boxes": torch.from_numpy(boxes),
                    "labels": torch.from_numpy(labels),
                    "crowd": torch.from_numpy(crowd),
                }
            )
        return {"images": images, "targets": targets, "index": torch.from_numpy(rows)}


class LitDetector(Scheduled):
    """Train a detector on the sum of its losses."""

    def __init__(self, model: nn.Module, *, metric: str, classes: int, **recipe: Any) -> None:
        super().__init__(model, **recipe)
        try:
            from torchmetrics.detection import MeanAveragePrecision

            self.precision_of: Any = MeanAveragePrecision(backend="pycocotools")
        except (ImportError, ModuleNotFoundError) as error:
            raise ImportError(
                "mean average precision needs pycocotools: pip install 'coreset-lightning[dense]'"
            ) from error
        self.precision_of.warn_on_many_detections = False
        self.metric, self.classes = metric, classes

    def training_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Tensor]:
        """Return the sum of the detector's losses."""
        losses = self.model(
            batch["images"], [{k: t[k] for k in ("boxes", "labels")} for t in batch["targets"]]
        )
        loss = torch.stack(list(losses.values())).sum()
        self.log("train/loss", loss, on_step=True, on_epoch=False, batch_size=len(batch["images"]))
        return {"loss": loss}

    def _count(self, batch: Mapping[str, Any]) -> None:
        truth = []
        for t in batch["targets"]:
            n, m = len(t["boxes"]), len(t["crowd"])
            everywhere = torch.arange(1, self.classes, device=t["labels"].device).repeat_interleave(
                m
            )  # a crowd may hold any class
            truth.append({
                "boxes": torch.cat([t["boxes"], t["crowd"].repeat(self.classes - 1, 1)]),
                "labels": torch.cat([t["labels"], everywhere.sort().values]),
                "iscrowd": torch.cat([torch.zeros(n), torch.ones(m * (self.classes - 1))])
                .long().to(t["labels"].device),
            })  # fmt: skip
        predictions = [
            {k: o[k] for k in ("boxes", "labels", "scores")} for o in self.model(batch["images"])
        ]
        self.precision_of.update(predictions, truth)

    def _log(self, name: str) -> None:
        value = self.precision_of.compute()[METRICS[self.metric]].double()
        self.precision_of.reset()
        # -1: there was nothing to find
        self.log(f"{name}/{self.metric}", torch.where(value < 0, torch.nan, value))

    def validation_step(self, batch: Mapping[str, Any], batch_idx: int) -> None:
        """Collect what is found on held-out labeled images."""
        self._count(batch)

    def on_validation_epoch_end(self) -> None:
        """Log the metric on them."""
        self._log("val")

    def test_step(self, batch: Mapping[str, Any], batch_idx: int) -> None:
        """Collect what is found on the test set."""
        self._count(batch)

    def on_test_epoch_end(self) -> None:
        """Log the metric on it."""
        self._log("test")


def pooled(feature_map: Any) -> Tensor:
    """Return the mean over the positions (n, D) of a feature map (n, D, H, W), of the last one
    where there are several.
    """
    if isinstance(feature_map, Mapping):
        feature_map = list(feature_map.values())[-1]
    elif isinstance(feature_map, list | tuple):
        feature_map = feature_map[-1]
    return cast(Tensor, feature_map).float().mean(dim=(2, 3))


@dataclass(frozen=True)
class Detection(Task):
    """Boxes in images. Signals: `features`, the mean of the backbone's last map; `uncertainty`, the
    image's score by its boxes; `boxes`, the surest themselves (see `box_table`); `regions`, what
    the backbone sees inside the first of these (see `RegionMaps`).

    score, aggregate, k, score_threshold, min_size: as in `coreset.vision`; score object_frequency
    leaves nothing to aggregate, entropy and margin need a two-stage detector. empty: what becomes
    of images in which nothing was found. metric: mAP (mean over IoU 0.5 to 0.95) or mAP50.
    batch_size: of images to measure and test. prelabels: the least score of a box that is proposed
    to annotators.
    """

    score: str = "binary_entropy"
    aggregate: str = "sum"
    k: int = 3
    score_threshold: float = 0.05
    min_size: float = 0.0
    empty: str = "quota:0.05"
    metric: str = "mAP"
    batch_size: int = 8
    prelabels: float = 0.5

    signals = frozenset({"features", "uncertainty", "empty", "boxes", "regions"})
    data_type = CocoData

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ValueError(f"task.metric: expected {' or '.join(METRICS)}, got {self.metric!r}")
        if not 0 <= self.prelabels <= 1:
            raise ValueError(f"task.prelabels: expected a score in [0, 1], got {self.prelabels}")
        nothing = Detections.nothing([0])
        rules = {
            "score_threshold": self.score_threshold,
            "min_size": self.min_size,
            "empty": self.empty,
            "k": self.k,
        }
        # refuses unknown names before anything trains
        aggregate(nothing, np.empty(0), self.aggregate, **rules)  # type: ignore[arg-type]

    def wrap(self, strategy: Strategy) -> Strategy:
        """Return the strategy with the policy for empty images around it, where it reads
        `uncertainty`.
        """
        return WithEmpty(strategy, self.empty) if "uncertainty" in strategy.needs else strategy

    def module(self, model: nn.Module, data: ImageData, **recipe: Any) -> LitDetector:
        """Return a detector's module; torchvision's losses know no label smoothing."""
        if recipe.pop("label_smoothing", 0):
            raise ValueError("fit.label_smoothing: a detector's losses know none; set it to 0")
        return LitDetector(model, metric=self.metric, classes=len(data.classes), **recipe)

    def train(
        self,
        data: ImageData,
        labels: NDArray[np.int64],
        indices: NDArray[np.int64],
        weights: NDArray[np.float64] | None,
        **shape: Any,
    ) -> DetectionBatches:
        """Return random batches of the labeled images."""
        return DetectionBatches(
            known_part(data, labels, indices),
            indices,
            shape.pop("batch_size"),
            weights=weights,
            **shape,
        )

    def held(
        self, data: ImageData, labels: NDArray[np.int64], indices: NDArray[np.int64]
    ) -> DetectionBatches:
        """Return evaluation batches of the held-out examples, in the order of `indices`."""
        return DetectionBatches(known_part(data, labels, indices), indices, self.batch_size)

    def test(self, data: ImageData) -> DetectionBatches:
        """Return evaluation batches of the test set, in its order."""
        part = cast(CocoData, data).test_part
        return DetectionBatches(part, np.arange(part.pool.size), self.batch_size)

    @torch.no_grad()
    def measure(
        self,
        model: nn.Module,
        data: ImageData,
        indices: NDArray[np.int64],
        names: Iterable[str],
        *,
        device: torch.device,
        members: int,
        seed: int,
        bf16: bool,
    ) -> dict[str, NDArray[Any]]:
        """Return the columns of the images at `indices` from one pass, images of one size together:
        padding would say more of the neighbors than of the image.
        """
        part, names = cast(CocoData, data).part, set(names)
        model = model.to(device).eval()
        caught: dict[str, Tensor] = {}
        hook = cast(nn.Module, model.backbone).register_forward_hook(
            lambda _, args, out: caught.update(x=pooled(out))
        )
        rich = self.score in ("entropy", "margin")
        look = RegionMaps(model) if "regions" in names else None
        regions: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(indices)
        features: NDArray[np.float32] | None = None
        outputs: dict[int, Any] = {}
        try:
            for rows in same_size(part.pool.sizes[indices], self.batch_size):
                images = [as_tensor(part.image(int(indices[r]))).to(device) for r in rows]
                predictions = detect(model, images) if rich else model(images)
                outputs |= dict(zip(rows.tolist(), predictions, strict=True))
                if look is not None:
                    tables = box_table(predictions)[:, :REGIONS, :4]
                    for r, told in zip(rows.tolist(), look.inside(images, tables), strict=True):
                        regions[r] = told
                x = caught["x"].cpu().numpy()
                features = (
                    np.empty((len(indices), x.shape[1]), np.float32)
                    if features is None
                    else features
                )
                features[rows] = x
        finally:
            hook.remove()
            if look is not None:
                look.close()
        assert features is not None
        columns: dict[str, NDArray[Any]] = {"features": features}
        if names & {"uncertainty", "empty"}:
            ids = part.pool.ids[indices]
            boxes = Detections.from_torchvision(
                [outputs[i] for i in range(len(indices))], ids, outside="clip"
            )
            columns |= _uncertainty(self._score(boxes))
        if "boxes" in names:
            columns["boxes"] = box_table([outputs[i] for i in range(len(indices))])
        if "regions" in names:
            columns["regions"] = np.stack(regions)
        return {name: columns[name] for name in names}

    @torch.no_grad()
    def objects(
        self,
        model: nn.Module,
        data: ImageData,
        indices: NDArray[np.int64],
        *,
        device: torch.device,
    ) -> list[list[dict[str, Any]]]:
        """Return the boxes of at least `prelabels`, the most certain first."""
        part, model = cast(CocoData, data).part, model.to(device).eval()
        categories = {number: k for k, number in part.number.items()}
        out: list[list[dict[str, Any]]] = [[] for _ in indices]
        for rows in same_size(part.pool.sizes[indices], self.batch_size):
            images = [as_tensor(part.image(int(indices[r]))).to(device) for r in rows]
            for row, given in zip(rows.tolist(), model(images), strict=True):
                for box, label, score in zip(
                    *(given[k].cpu().tolist() for k in ("boxes", "labels", "scores")), strict=True
                ):
                    x, y, x2, y2 = box
                    if score >= self.prelabels and x2 > x and y2 > y:
                        about = {"category_id": categories[label], "score": score}
                        out[row].append({**about, "bbox": [x, y, x2 - x, y2 - y]})
        return out

    def _score(self, boxes: Detections) -> ImageScores:
        rules: dict[str, Any] = {
            "score_threshold": self.score_threshold,
            "min_size": self.min_size,
            "empty": self.empty,
            "k": self.k,
        }
        if self.score == "object_frequency":
            del rules["k"]
            return object_frequency(boxes, **rules)
        return aggregate(boxes, box_scores(boxes, self.score), self.aggregate, **rules)


def box_table(outputs: Sequence[Mapping[str, Tensor]]) -> NDArray[np.float32]:
    """Return detections as (n, 100, 6): x1, y1, x2, y2 in pixels, score, class, the surest first,
    as many as COCO counts; where there are fewer, the score is -1.

    >>> out = {"boxes": torch.zeros(1, 4), "scores": torch.ones(1), "labels": torch.ones(1)}
    >>> box_table([out])[0, :2, 4:].tolist()
    [[1.0, 1.0], [-1.0, 0.0]]
    """
    table = np.zeros((len(outputs), _MOST_BOXES, 6), np.float32)
    table[:, :, 4] = -1
    for row, out in zip(table, outputs, strict=True):
        order = torch.argsort(out["scores"], descending=True, stable=True)[:_MOST_BOXES]
        parts = (out["boxes"], out["scores"][:, None], out["labels"][:, None].float())
        row[: len(order)] = torch.cat(parts, dim=1)[order].float().cpu().numpy()
    return table


def _uncertainty(scores: ImageScores) -> dict[str, NDArray[Any]]:
    """Return the columns `uncertainty`, with images without a score after (or, by their policy,
    before) all others, and `empty`, 1 for these.
    """
    known = scores.values[~scores.is_empty]
    edge = known.max(initial=0.0) + 1 if scores.empty == "first" else known.min(initial=0.0) - 1
    return {
        "uncertainty": np.where(scores.is_empty, edge, scores.values),
        "empty": scores.is_empty.astype(np.float64),
    }


def same_size(sizes: NDArray[np.int64], batch_size: int) -> Iterator[NDArray[np.int64]]:
    """Yield positions (b,) of images of one size, at most `batch_size` at a time."""
    _, group = np.unique(sizes, axis=0, return_inverse=True)
    for g in range(int(group.max()) + 1):
        rows = np.flatnonzero(group.ravel() == g)
        yield from np.array_split(rows, range(batch_size, len(rows), batch_size))
