"""What a detector's backbone sees inside boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork, roi_align

REGIONS = 20  # boxes of an image that are looked at, the surest


class RegionMaps:
    """The finest map under a detector's feature pyramid (of the backbone's own where it has none),
    caught as the model runs, and its means inside boxes. Weights that were trained on many classes
    tell more of a class that the detector has hardly seen than what was trained with it. Raises
    ValueError for a model without torchvision's modules `transform` and `backbone`.
    """

    def __init__(self, model: nn.Module) -> None:
        self._caught: dict[str, Any] = {}
        parts = dict(model.named_children())
        if not {"transform", "backbone"} <= set(parts):
            raise ValueError(
                "regions: expected a detector of torchvision, with the modules transform and"
                f" backbone; {type(model).__name__} has {', '.join(parts) or 'none'}"
            )
        backbone = parts["backbone"]
        pyramids = [m for m in backbone.modules() if isinstance(m, FeaturePyramidNetwork)]
        self._hooks = [
            parts["transform"].register_forward_hook(
                lambda _, args, out: self._caught.update(batch=out[0])
            ),
            pyramids[0].register_forward_pre_hook(lambda _, args: self._caught.update(map=args[0]))
            if pyramids
            else backbone.register_forward_hook(lambda _, a, out: self._caught.update(map=out)),
        ]

    def inside(self, images: Sequence[Tensor], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the mean of the map (B, K, D) inside boxes (B, K, 4), x1, y1, x2, y2 in pixels of
        the images (3, H, W) that the model has run on last.
        """
        maps = self._caught["map"]
        finest = next(iter(maps.values())) if isinstance(maps, Mapping) else maps
        batch, (rows, columns) = self._caught["batch"], finest.shape[2:]
        height, width = batch.tensors.shape[2:]  # padded
        corners = []
        for image, inner, own in zip(images, batch.image_sizes, boxes, strict=True):
            x = inner[1] / image.shape[2] * columns / width
            y = inner[0] / image.shape[1] * rows / height
            corners.append(torch.from_numpy(own).to(finest) * finest.new_tensor([x, y, x, y]))
        cells = roi_align(finest, corners, 1, sampling_ratio=4, aligned=True)
        means = cells[:, :, 0, 0].reshape(*boxes.shape[:2], -1).float().cpu()
        out: NDArray[np.float32] = means.numpy()
        return out

    def close(self) -> None:
        """Let the model go."""
        for hook in self._hooks:
            hook.remove()
