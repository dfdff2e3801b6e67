"""Images with objects pasted in, and mosaics: pixels and boxes stay true to each other.

Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation",
CVPR 2021 (arXiv:2012.07177); mosaics: Bochkovskiy, Wang & Liao, "YOLOv4", 2020 (arXiv:2004.10934).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Mask = NDArray[np.bool_]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Scene:
    """An image (h, w, c) uint8 with its objects: masks (k, h, w) bool and labels (k,)."""

    pixels: Pixels
    masks: Mask
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        h, w = self.pixels.shape[:2]
        if self.pixels.ndim != 3 or self.masks.shape != (len(self.labels), h, w):
            raise ValueError(
                f"masks: expected ({len(self.labels)}, {h}, {w}), got {self.masks.shape}"
            )


def boxes_of(masks: Mask) -> NDArray[np.int64]:
    """Return the boxes (k, 4) of masks (k, h, w) as x, y, width, height; zeros for an empty mask.

    >>> boxes_of(np.eye(3, dtype=bool)[None]).tolist()
    [[0, 0, 3, 3]]
    """
    out = np.zeros((len(masks), 4), np.int64)
    for i, mask in enumerate(masks):
        ys, xs = np.nonzero(mask)
        if len(ys):
            out[i] = xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1
    return out


def copy_paste(
    scene: Scene,
    source: Scene,
    which: int,
    x: int,
    y: int,
    *,
    blend: float = 1.0,
    visible: float = 0.3,
) -> Scene | None:
    """Return a scene with object `which` of another pasted so that its box begins at (x, y), or
    None where the paste would leave less than `visible` of it, or of an object that it covers.

    blend: deviation in pixels of the soft edge (0: hard). Masks of covered objects lose what is
    covered. Raises ValueError for images of different channels or an empty object.
    """
    left, top, wide, high = boxes_of(source.masks[which : which + 1])[0].tolist()
    if source.pixels.shape[2] != scene.pixels.shape[2] or not wide:
        raise ValueError("source: expected as many channels and an object that is not empty")
    h, w = scene.pixels.shape[:2]
    mask = np.zeros((h, w), bool)
    patch = np.zeros(scene.pixels.shape, np.float64)
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + wide, w), min(y + high, h)
    if x0 >= x1 or y0 >= y1:
        return None
    rows = slice(top + y0 - y, top + y1 - y)
    cols = slice(left + x0 - x, left + x1 - x)
    mask[y0:y1, x0:x1] = source.masks[which][rows, cols]
    patch[y0:y1, x0:x1] = source.pixels[rows, cols]
    if mask.sum() < visible * source.masks[which].sum():
        return None
    kept = scene.masks & ~mask
    before, after = (m.sum(axis=(1, 2)) for m in (scene.masks, kept))
    if (after < visible * before).any():
        return None
    alpha = mask.astype(np.float64)
    if blend:
        alpha = np.where(mask, gaussian_filter(alpha, blend), 0.0)
        alpha /= max(float(alpha.max()), 1e-9)
    mixed = alpha[..., None] * patch + (1 - alpha[..., None]) * scene.pixels
    return Scene(
        np.rint(mixed).astype(np.uint8),
        np.concatenate([kept, mask[None]]),
        np.append(scene.labels, source.labels[which]),
    )


def mosaic(scenes: Sequence[Scene], x: int, y: int, *, visible: float = 0.3) -> Scene:
    """Return four scenes of one size in the quarters around (x, y): top left, top right, bottom
    left, bottom right, each cut to its quarter from its own middle.

    Objects of which less than `visible` is left are dropped. Raises ValueError for other than four
    scenes, scenes of different sizes, or a point outside.
    """
    shapes = {s.pixels.shape for s in scenes}
    if len(scenes) != 4 or len(shapes) != 1:
        raise ValueError(f"scenes: expected four of one size, got {len(scenes)} of {shapes}")
    h, w = scenes[0].pixels.shape[:2]
    if not (0 < x < w and 0 < y < h):
        raise ValueError(f"expected a point inside {w} x {h}, got ({x}, {y})")
    pixels = np.zeros_like(scenes[0].pixels)
    masks, labels = [], []
    quarters = ((0, 0, x, y), (x, 0, w, y), (0, y, x, h), (x, y, w, h))
    for scene, (x0, y0, x1, y1) in zip(scenes, quarters, strict=True):
        left, top = (w - (x1 - x0)) // 2, (h - (y1 - y0)) // 2
        rows, cols = slice(top, top + y1 - y0), slice(left, left + x1 - x0)
        pixels[y0:y1, x0:x1] = scene.pixels[rows, cols]
        for mask, label in zip(scene.masks, scene.labels.tolist(), strict=True):
            part = mask[rows, cols]
            if part.any() and part.sum() >= visible * mask.sum():
                whole = np.zeros((h, w), bool)
                whole[y0:y1, x0:x1] = part
                masks.append(whole)
                labels.append(label)
    stacked = np.stack(masks) if masks else np.zeros((0, h, w), bool)
    return Scene(pixels, stacked, np.array(labels, np.int64))
