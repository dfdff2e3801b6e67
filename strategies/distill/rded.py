"""RDED: the crops of real images that a teacher finds easiest, tiled; nothing is optimized.

Sun, Shi, Yu & Lin, "On the Diversity and Realism of Distilled Dataset: An Efficient Dataset
Distillation Paradigm", CVPR 2024 (arXiv:2312.03526).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from coreset.core.pool import Indices
from coreset.distillation import Distiller, Progress, Source, Synthetic, Teacher
from coreset.distillation.dataset import smallest_labels
from coreset.distillation.nn.crops import boxes, check_scale, resample
from coreset.distillation.nn.decode import mosaic
from coreset.distillation.soft import about
from coreset.numerics.random import keyed_uniform
from coreset.strategies.distill.common import hard_labels, positive, stream

CROPS = 0  # random stream
LARGE = 128  # pixels from which the paper tiles 2 x 2


def easiest(costs: NDArray[np.floating[Any]], keep: int) -> tuple[Indices, Indices]:
    """Return which images to keep, (keep,), easiest first, and which crop of each, from the costs
    (images, crops) of all crops.

    An image stands with its cheapest crop alone. Ties: the first crop, the first image.

    >>> [a.tolist() for a in easiest(np.array([[3.0, 2.0], [1.0, 5.0], [2.0, 2.0]]), 2)]
    [[1, 0], [0, 1]]
    """
    best = costs.argmin(axis=1)
    rows = np.argsort(costs[np.arange(len(costs)), best], kind="stable")[:keep]
    return rows.astype(np.int64), best[rows].astype(np.int64)


def pad(x: Tensor, side: int) -> Tensor:
    """Return images (n, C, s, s) amid zeros, `side` pixels a side; where the rest is odd, the
    larger half comes after.
    """
    before = (side - x.shape[-1]) // 2
    after = side - x.shape[-1] - before
    return nn.functional.pad(x, (before, after, before, after))


def tile(crops: Tensor, factor: int, side: int) -> Tensor:
    """Return images (n, C, side, side) tiled from crops (n f^2, C, s, s), s = side / f rounded up:
    crop k n + i is cell k of image i.

    So the crops of an image run from easy to hard when all of them do. Where f does not divide
    `side`, the last cells are cut.

    >>> tile(torch.arange(8.0).view(8, 1, 1, 1), 2, 2)[:, 0].tolist()
    [[[0.0, 2.0], [4.0, 6.0]], [[1.0, 3.0], [5.0, 7.0]]]
    """
    n = len(crops) // factor**2
    dealt = crops.view(factor**2, n, *crops.shape[1:]).transpose(0, 1).flatten(0, 1)
    return mosaic(dealt, factor)[..., :side, :side].contiguous()


@dataclass(frozen=True)
class Rded(Distiller):
    """Cut random crops from real images, keep of each image the crop that the teacher finds
    easiest, keep the easiest of those, tile them.

    images: random ones of each class to choose from. crops: of each image. scale: least and largest
    share of its area. factor: f x f crops make a stored image, each cut at 1/f of its side and
    scored amid zeros; None: 2 from 128 pixels on, 1 below (then the answer is the easiest crops).
    decode: enlarge the crops to whole images when training, as IDC does, instead of training on the
    mosaics. network: parameters of a ConvNet as teacher, None: the run's model. epoch: of its
    training, None: the last. Easy means a low cross-entropy with the label. Images are stored as
    uint8.
    """

    images: int = 300
    crops: int = 5
    scale: tuple[float, float] = (0.08, 1.0)
    factor: int | None = None
    decode: bool = False
    network: Mapping[str, Any] | None = None
    epoch: int | None = None

    wants_teacher = True

    def __post_init__(self) -> None:
        positive(
            images=self.images, crops=self.crops, factor=1 if self.factor is None else self.factor
        )
        object.__setattr__(self, "scale", tuple(self.scale))
        check_scale(self.scale)

    def image_bytes(self, shape: tuple[int, int, int], classes: int) -> int:
        """Return the bytes of uint8 pixels and a hard label."""
        return int(np.prod(shape)) + smallest_labels(classes).itemsize

    def cells(self, side: int) -> int:
        """Return how many training images one stored image of `side` pixels holds."""
        return self.tiles(side) ** 2 if self.decode else 1

    def tiles(self, side: int) -> int:
        """Return the f of f x f."""
        return (2 if side >= LARGE else 1) if self.factor is None else self.factor

    def check(self, source: Source, ipc: int) -> None:
        """Refuse what takes more crops than there are images to cut them from; warn where nothing
        is left to choose.
        """
        super().check(source, ipc)
        side = source.shape[1]
        factor = self.tiles(side)
        if factor > side:
            raise ValueError(f"factor: expected 1 to {side} (the side of an image), got {factor}")
        need, fewest = ipc * factor**2, int(source.counts.min())
        name = source.classes[int(source.counts.argmin())]
        if need > min(fewest, self.images):
            who = (
                f"class {name!r} has {fewest}" if fewest <= self.images else f"images={self.images}"
            )
            raise ValueError(
                f"ipc: {ipc} images of {factor} x {factor} crops take {need} real images of each"
                f" class, one crop of each; {who}"
            )
        if need == min(fewest, self.images):
            warnings.warn(
                f"Rded: {need} crops of {min(fewest, self.images)} images of class {name!r}: none"
                " is left out, so nothing is chosen but the crop of each",
                stacklevel=3,
            )
        elif fewest < self.images:
            warnings.warn(
                f"images: class {name!r} has {fewest}, fewer than the {self.images} to choose from",
                stacklevel=3,
            )

    def distill(
        self, source: Source, ipc: int, rng: np.random.Generator, progress: Progress
    ) -> Synthetic:
        """Choose class by class."""
        assert source.teacher is not None
        seed = int(rng.integers(2**62))
        teacher = source.teacher(self.network, self.epoch).check(source.classes)
        side = source.shape[1]
        factor = self.tiles(side)
        chosen, costs = [], []
        for label, rows in enumerate(source.rows(seed)):
            rows = rows[: self.images]
            cost = self.costs(source, rows, label, seed, teacher, -(-side // factor))
            which, crop = easiest(cost, ipc * factor**2)
            box = np.stack([self.boxes(source, rows, seed, k) for k in range(self.crops)], axis=1)
            crops = resample(source.tensor(rows[which]), box[which, crop], -(-side // factor))
            chosen.append(tile(crops, factor, side))
            costs.append(float(cost[which, crop].mean()))
            progress.show(label + 1, len(source.classes), costs[-1])
        info = {
            "teacher": about(teacher),
            "factor": factor,
            "cost_per_class": costs,
        }
        return source.made_pixels(
            torch.cat(chosen),
            hard_labels(source, ipc),
            decode=factor if self.decode else 1,
            info=info,
        )

    def boxes(self, source: Source, rows: Indices, seed: int, crop: int) -> NDArray[np.int64]:
        """Return the boxes (n, 4) of one square crop of each image; they depend on its id, not on
        its place in the pool.
        """
        salts = stream(seed, CROPS, crop).integers(2**63, size=3)
        area, top, left = (keyed_uniform(int(s), source.ids[rows]) for s in salts)
        return boxes(
            np.stack([area, np.zeros(len(rows)), top, left], axis=1),
            source.shape[1],
            self.scale,
            (1.0, 1.0),
        )

    def costs(
        self,
        source: Source,
        rows: Indices,
        label: int,
        seed: int,
        teacher: Teacher,
        size: int,
        block: int = 512,
    ) -> NDArray[np.float32]:
        """Return the teacher's cross-entropy with the label of every crop, (images, crops). Raises
        ValueError when one is NaN or infinite.
        """
        losses = np.empty((len(rows), self.crops), np.float32)
        for first in range(0, len(rows), block):
            few = rows[first : first + block]
            x = source.tensor(few)
            for k in range(self.crops):
                logits = teacher.logits(
                    pad(resample(x, self.boxes(source, few, seed, k), size), source.shape[1])
                )
                wanted = torch.full((len(few),), label, device=logits.device)
                loss = nn.functional.cross_entropy(logits, wanted, reduction="none")
                losses[first : first + len(few), k] = loss.cpu().numpy()
        if not np.isfinite(losses).all():
            raise ValueError(
                "teacher: its cross-entropy is NaN or infinite for"
                f" {int((~np.isfinite(losses)).sum())} crops of class {source.classes[label]!r}"
            )
        return losses
