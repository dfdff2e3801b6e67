"""How training looks at images: random resized crops, mirrored or not, with a piece of another one
pasted in (CutMix).

Shen & Xing, "A Fast Knowledge Distillation Framework for Visual Recognition", ECCV 2022
(arXiv:2112.01528): a soft label belongs to one crop, so the crop is kept with it. Yun et al.,
"CutMix", ICCV 2019 (arXiv:1905.04899); here every image has a piece of its own, the public code of
both draws one for a whole batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset.distillation.nn.crops import TRIES, boxes, check_scale, resample

PLAIN, MIXED = (
    5,
    10,
    # numbers of a view: top, left, height, width, mirrored; partner, top, left, height, width of
    # the
    # piece
)
STORED = np.uint16


@dataclass(frozen=True)
class Views:
    """What views are drawn from. scale: least and largest share of the area of a crop; flips:
    whether half of them are mirrored; cutmix: both parameters of the beta distribution of a piece's
    share of the area, 0: no pieces.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    flips: bool = False
    cutmix: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", tuple(self.scale))
        check_scale(self.scale)
        if not self.cutmix >= 0:
            raise ValueError(f"cutmix: expected 0 or more, got {self.cutmix}")

    @property
    def numbers(self) -> int:
        """How many numbers a view is."""
        return MIXED if self.cutmix else PLAIN

    def draw(self, images: int, side: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return one view of each image, (images, 5 or 10) whole numbers; partners are a
        permutation.

        >>> Views((1.0, 1.0), cutmix=0).draw(1, 8, np.random.default_rng(0)).tolist()
        [[0, 0, 8, 8, 0]]
        """
        crop = boxes(rng.random((images, 2 * TRIES + 2)), side, self.scale)
        mirrored = (rng.random(images) < 0.5) & self.flips
        parts = [crop, mirrored[:, None].astype(np.int64)]
        if self.cutmix:
            partner = rng.permutation(images)
            cut = (side * np.sqrt(1 - rng.beta(self.cutmix, self.cutmix, images))).astype(np.int64)
            center = rng.integers(0, side, (images, 2))
            low = np.clip(center - cut[:, None] // 2, 0, side)
            high = np.clip(center + cut[:, None] // 2, 0, side)
            parts += [partner[:, None], low, high - low]
        return np.concatenate(parts, axis=1)


def look(images: Tensor, views: NDArray[Any], rows: NDArray[np.int64]) -> Tensor:
    """Return what the views (N, 5 or 10) of all images (N, C, S, S) show at `rows`,
    (n, C, S, S).
    """
    views = views.astype(np.int64)

    def crop(which: NDArray[np.int64]) -> Tensor:
        seen = resample(
            images[torch.from_numpy(which).to(images.device)], views[which, :4], images.shape[-1]
        )
        mirrored = torch.from_numpy(views[which, 4] > 0).to(images.device)
        return torch.where(mirrored[:, None, None, None], seen.flip(3), seen)

    seen = crop(rows)
    if views.shape[1] == PLAIN:
        return seen
    top, left, height, width = (
        torch.from_numpy(views[rows, c]).to(images.device)[:, None] for c in range(6, 10)
    )
    at = torch.arange(images.shape[-1], device=images.device)
    down, across = (at >= top) & (at < top + height), (at >= left) & (at < left + width)
    piece = down[:, None, :, None] & across[:, None, None, :]
    return torch.where(piece, crop(views[rows, 5]), seen)


def check_views(views: NDArray[Any], shape: tuple[int, ...], side: int) -> None:
    """Raise ValueError when views are not (crops, images, 5 or 10) whole numbers that lie within
    the images.
    """
    if views.dtype.kind not in "iu" or views.shape not in ((*shape, PLAIN), (*shape, MIXED)):
        raise ValueError(
            f"views: expected whole numbers {(*shape, f'{PLAIN} or {MIXED}')}, got {views.dtype}"
            f" {views.shape}"
        )
    v = views.astype(np.int64)
    wrong = (v < 0).any() or (v[..., 2:4] < 1).any() or (v[..., :2] + v[..., 2:4] > side).any()
    if v.shape[-1] == MIXED:
        wrong = wrong or (v[..., 5] >= shape[1]).any() or (v[..., 6:8] + v[..., 8:10] > side).any()
    if wrong:
        raise ValueError(
            f"views: some lie outside images of {side} pixels or name an image that is not there"
        )
