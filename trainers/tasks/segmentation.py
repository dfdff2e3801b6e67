"""Segmentation in the loops: any nn.Module that gives a map of logits, mean intersection over
union, images scored by their pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from coreset.trainers.data.base import ImageData
from coreset.trainers.data.coco import IGNORED, CocoData, Part, known_part
from coreset.trainers.tasks.base import Task
from coreset.trainers.tasks.detection import as_tensor, pooled
from coreset.trainers.tasks.module import Scheduled
from coreset.vision import SegmentationScorer


def segmenter(
    num_classes: int,
    in_channels: int,
    image_size: int,
    name: str = "lraspp_mobilenet_v3_large",
    pretrained: bool = False,
) -> nn.Module:
    """Return a segmentation network of torchvision by its name.

    pretrained: its backbone with the weights torchvision knows for it (downloaded once).
    in_channels and image_size are the small squares' and play no part. Raises ValueError for a name
    that is no segmentation network.
    """
    from torchvision.models import list_models, segmentation

    if name not in list_models(segmentation):
        raise ValueError(
            f"name: torchvision has no segmentation network {name!r}; it has"
            f" {', '.join(list_models(segmentation))}"
        )
    weights = "DEFAULT" if pretrained else None
    return cast(
        nn.Module,
        getattr(segmentation, name)(
            weights=None, weights_backbone=weights, num_classes=num_classes
        ),
    )


def logits_of(model: nn.Module, x: Tensor) -> Tensor:
    """Return logits (B, classes, H, W) at the size of `x` (B, 3, H, W), of a network that returns
    them or a mapping with `out`.
    """
    output = model(x)
    maps: Tensor = output["out"] if isinstance(output, Mapping) else output
    if maps.shape[2:] == x.shape[2:]:
        return maps
    return nn.functional.interpolate(maps, size=x.shape[2:], mode="bilinear", align_corners=False)


class SegmentationBatches:
    """Batches {image (B, 3, H, W) in [0, 1], target (B, H, W) classes, weight (B,), index (B,)} of
    one size: in order, or `steps` of them in random order, flipped.
    """

    def __init__(
        self, part: Part, indices: NDArray[np.int64], size: tuple[int, int], batch_size: int, *,
        steps: int | None = None, seed: int = 0, weights: NDArray[np.float64] | None = None,
        augment: bool = False, targets: bool = True,
    ) -> None:  # fmt: skip
        if not len(indices):
            raise ValueError("indices: expected at least one image")
        self.part, self.indices, self.size, self.batch_size, self.steps = (
            part,
            indices,
            size,
            batch_size,
            steps,
        )
        self.weights = (
            np.ones(len(indices)) if weights is None else weights * (len(weights) / weights.sum())
        )
        self.seed, self.augment, self.targets = seed, augment, targets

    def __len__(self) -> int:
        return self.steps or -(-len(self.indices) // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        n, size = len(self.indices), self.batch_size
        if self.steps is None:
            for start in range(0, n, size):
                yield self._batch(np.arange(start, min(start + size, n)), None)
            return
        rng, done = np.random.default_rng(self.seed), 0
        cuts = list(range(0, n, size))
        if len(cuts) > 1 and n - cuts[-1] == 1:
            cuts.pop()  # batch norm cannot use one image
        while done < self.steps:
            order = rng.permutation(n) if n > 1 else np.zeros(2, np.int64)
            for start, stop in zip(cuts, [*cuts[1:], len(order)], strict=True):
                yield self._batch(order[start:stop], rng)
                done += 1
                if done == self.steps:
                    return

    def _batch(
        self, places: NDArray[np.int64], rng: np.random.Generator | None
    ) -> dict[str, Tensor]:
        height, width = self.size
        images, targets = [], []
        for at in self.indices[places].tolist():
            flip = rng is not None and self.augment and rng.random() < 0.5
            image = np.asarray(
                Image.fromarray(self.part.image(at)).resize(
                    (width, height), Image.Resampling.BILINEAR
                )
            )
            images.append(as_tensor(image[:, ::-1] if flip else image))
            if self.targets:
                class_map = np.asarray(
                    Image.fromarray(self.part.class_map(at)).resize(
                        (width, height), Image.Resampling.NEAREST
                    )
                )
                targets.append(
                    torch.from_numpy(np.array(class_map[:, ::-1] if flip else class_map)).long()
                )
        batch = {"image": torch.stack(images), "index": torch.from_numpy(self.indices[places])}
        if self.targets:
            batch |= {
                "target": torch.stack(targets),
                "weight": torch.from_numpy(self.weights[places].astype(np.float32)),
            }
        return batch


class LitSegmenter(Scheduled):
    """Train a network by cross-entropy per pixel, weighted per image; images are normalized by
    `mean` and `std`.
    """

    def __init__(
        self,
        model: nn.Module,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        *,
        classes: int,
        label_smoothing: float = 0.0,
        **recipe: Any,
    ) -> None:
        super().__init__(model, **recipe)
        from torchmetrics.classification import MulticlassJaccardIndex

        self.overlap = MulticlassJaccardIndex(
            classes, average="macro", ignore_index=IGNORED, validate_args=False
        )
        self.label_smoothing = label_smoothing
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return logits (B, classes, H, W)."""
        return logits_of(
            self.model, (batch["image"] - cast(Tensor, self.mean)) / cast(Tensor, self.std)
        )

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Return the mean over images of weight x mean cross-entropy of their pixels."""
        each = nn.functional.cross_entropy(
            self(batch).float(),
            batch["target"],
            reduction="none",
            ignore_index=IGNORED,
            label_smoothing=self.label_smoothing,
        )
        seen = (batch["target"] != IGNORED).flatten(1).sum(dim=1).clamp_min(1)
        loss = (each.flatten(1).sum(dim=1) / seen * batch["weight"]).mean()
        self.log("train/loss", loss, on_step=True, on_epoch=False, batch_size=len(each))
        return {"loss": loss}

    def _log(self, name: str) -> None:
        self.log(f"{name}/mIoU", self.overlap.compute().double())
        self.overlap.reset()

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Count pixels of held-out labeled images."""
        self.overlap.update(self(batch).argmax(dim=1), batch["target"])

    def on_validation_epoch_end(self) -> None:
        """Log the mean over the classes that occur of intersection over union, all images counted
        together.
        """
        self._log("val")

    def test_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Count pixels of the test set."""
        self.overlap.update(self(batch).argmax(dim=1), batch["target"])

    def on_test_epoch_end(self) -> None:
        """Log the metric on it."""
        self._log("test")


@dataclass(frozen=True)
class Segmentation(Task):
    """A class for every pixel. Signals: `features`, the mean of the backbone's (or encoder's) last
    map; `uncertainty`, the image's score by its pixels; `class_map`, the likeliest class of each pixel
    at `size`.

    size: height and width that images are brought to. score, reduce: as in
    `coreset.vision.SegmentationScorer`, but bald. batch_size: of images to measure and test.
    """

    size: tuple[int, int] = (240, 320)
    score: str = "entropy"
    reduce: str = "mean"
    batch_size: int = 8

    metric = "mIoU"
    masks = True
    signals = frozenset({"features", "uncertainty", "class_map"})
    data_type = CocoData

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", tuple(self.size))
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(
                f"task.size: expected height and width in pixels, got {list(self.size)}"
            )
        if self.score == "bald":
            raise ValueError(
                "task.score: bald needs several members' maps; stream them into"
                " coreset.vision.SegmentationScorer"
            )
        SegmentationScorer(self.score, [self.reduce])

    def module(self, model: nn.Module, data: ImageData, **recipe: Any) -> LitSegmenter:
        """Return a segmentation module."""
        return LitSegmenter(model, data.mean, data.std, classes=len(data.classes), **recipe)

    def train(
        self,
        data: ImageData,
        labels: NDArray[np.int64],
        indices: NDArray[np.int64],
        weights: NDArray[np.float64] | None,
        **shape: Any,
    ) -> SegmentationBatches:
        """Return random batches of the labeled images."""
        return SegmentationBatches(
            known_part(data, labels, indices),
            indices,
            self.size,
            shape.pop("batch_size"),
            weights=weights,
            **shape,
        )

    def held(
        self, data: ImageData, labels: NDArray[np.int64], indices: NDArray[np.int64]
    ) -> SegmentationBatches:
        """Return evaluation batches of the held-out examples, in the order of `indices`."""
        return SegmentationBatches(
            known_part(data, labels, indices), indices, self.size, self.batch_size
        )

    def test(self, data: ImageData) -> SegmentationBatches:
        """Return evaluation batches of the test set, in its order."""
        part = cast(CocoData, data).test_part
        return SegmentationBatches(part, np.arange(part.pool.size), self.size, self.batch_size)

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
        """Return the columns of the images at `indices` from one pass over them."""
        model = model.to(device).eval()
        mean, std = (
            torch.tensor(v, device=device).view(1, -1, 1, 1) for v in (data.mean, data.std)
        )
        scorer = SegmentationScorer(self.score, [self.reduce])
        caught: dict[str, Tensor] = {}
        hook = _inside(model).register_forward_hook(
            lambda _, args, out: caught.update(x=pooled(out))
        )
        names = set(names)
        features: list[NDArray[np.float32]] = []
        likeliest: list[NDArray[np.uint8]] = []
        try:
            for batch in SegmentationBatches(
                cast(CocoData, data).part, indices, self.size, self.batch_size, targets=False
            ):
                maps = logits_of(model, (batch["image"].to(device) - mean) / std)
                scorer.update(batch["index"].tolist(), maps)
                features.append(caught["x"].cpu().numpy())
                if "class_map" in names:
                    likeliest.append(maps.argmax(dim=1).to(torch.uint8).cpu().numpy())
        finally:
            hook.remove()
        columns: dict[str, NDArray[Any]] = {
            "features": np.concatenate(features),
            "uncertainty": scorer.columns()[self.reduce],
            **({"class_map": np.concatenate(likeliest)} if likeliest else {}),
        }
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
        """Return one mask of each class that is the most probable of some pixels, at the size of
        the image; its score is the mean probability of its pixels.
        """
        part, model = cast(CocoData, data).part, model.to(device).eval()
        mean, std = (
            torch.tensor(v, device=device).view(1, -1, 1, 1) for v in (data.mean, data.std)
        )
        out: list[list[dict[str, Any]]] = []
        for at in indices.tolist():
            (batch,) = SegmentationBatches(part, np.array([at]), self.size, 1, targets=False)
            maps = logits_of(model, (batch["image"].to(device) - mean) / std)
            width, height = part.pool.sizes[at].tolist()
            probs = nn.functional.interpolate(
                maps.float(), size=(height, width), mode="bilinear", align_corners=False
            )[0].softmax(dim=0)
            sure, best = (t.cpu().numpy() for t in probs.max(dim=0))
            entries: list[dict[str, Any]] = []
            for category, number in part.number.items():
                mask = best == number
                if mask.any():
                    about = {"category_id": category, "score": float(sure[mask].mean())}
                    entries.append({**about, "segmentation": mask})
            out.append(entries)
        return out


def _inside(model: nn.Module) -> nn.Module:
    """Return the part whose output is the signal `features`: the backbone or the encoder, else the
    last convolution but the one that makes the logits.
    """
    for name in ("backbone", "encoder"):
        if isinstance(getattr(model, name, None), nn.Module):
            return cast(nn.Module, getattr(model, name))
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    if len(convolutions) < 2:
        raise ValueError(
            f"{type(model).__name__}: expected a backbone, an encoder or at least two convolutions"
            " to take features from"
        )
    return convolutions[-2]
