"""Small pictures of a user's examples, for reports and label sheets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from coreset.trainers.learners.lightning.pool import read

SIDE = 64  # pixels of a picture


def pictures_of(dataset: Any) -> Callable[[NDArray[np.int64]], NDArray[np.uint8]] | None:
    """Return what makes pictures (n, 64, 64, 3) of positions, None where examples are no images."""
    if picture(read(dataset, 0)) is None:
        return None

    def make(indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        out = np.full((len(indices), SIDE, SIDE, 3), 255, np.uint8)
        for row, i in enumerate(indices):
            shown = picture(read(dataset, int(i)))
            if shown is not None:
                out[row] = shown
        return out

    return make


def picture(item: Any) -> NDArray[np.uint8] | None:
    """Return an example's image as (64, 64, 3), None where there is none: its first entry that is
    an image of Pillow, or a tensor or array (C, H, W) or (H, W, C) of 1 or 3 channels.

    Normalized images are stretched to their own range.
    """
    item = tuple(item.values()) if isinstance(item, Mapping) else item
    values = list(item) if isinstance(item, tuple | list) else [item]
    for value in values:
        image = value if isinstance(value, Image.Image) else _of_array(value)
        if image is not None:
            small = image.convert("RGB")
            small.thumbnail((SIDE, SIDE))
            paper = Image.new("RGB", (SIDE, SIDE), "white")
            paper.paste(small, ((SIDE - small.width) // 2, (SIDE - small.height) // 2))
            return np.asarray(paper)
    return None


def _of_array(value: Any) -> Image.Image | None:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().float().numpy() if value.is_floating_point() else value.numpy()
    if not isinstance(value, np.ndarray) or value.ndim not in (2, 3) or min(value.shape) < 1:
        return None
    if value.ndim == 3 and value.shape[0] in (1, 3):
        value = value.transpose(1, 2, 0)
    if value.ndim == 3 and value.shape[2] not in (1, 3):
        return None
    if value.ndim == 2 and min(value.shape) < 4:
        return None
    if value.dtype != np.uint8:
        low, high = float(value.min()), float(value.max())
        value = ((value - low) * (255 / max(high - low, 1e-9))).astype(np.uint8)
    return Image.fromarray(value[:, :, 0] if value.ndim == 3 and value.shape[2] == 1 else value)
