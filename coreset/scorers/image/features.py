"""Features of images for any strategy: what a pretrained backbone sees, a vector per image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from coreset.core.batch import objects
from coreset.core.pool import Array
from coreset.scorers.device import OnDevice, torch_device
from coreset.scorers.image.backbone import LITE0, backbone, pooled, to_square


@lru_cache(maxsize=2)
def _model(name: str, device: str) -> tuple[nn.Module, Tensor, Tensor, torch.device]:
    model, mean, std = backbone(name)
    place = torch_device(device)
    model = model.to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model, mean, std, place


@dataclass(frozen=True)
class ImageFeatures(OnDevice):
    """The pooled features of a backbone of timm, inside `Images`: gives `image_features` (n, D)
    float32 and its status.

    The numbers of `embedding=pretrained` in the loops, computed where the images lie. name: any
    model of timm with weights. size: images are resized to size x size pixels. batch: how many at a
    time; values do not depend on it but for rounding. precision: `32` or `bf16`. Raises ValueError
    for another precision, size below 32 or batch below 1, and a name without weights.
    """

    name: str = LITE0
    size: int = 112
    batch: int = 32
    precision: str | int = "32"
    device: str = "auto"

    needs = frozenset({"pixels"})
    gives = frozenset({"image_features", "image_features_status"})

    def __post_init__(self) -> None:
        if str(self.precision) not in ("32", "bf16"):
            raise ValueError(f"precision: expected 32 or bf16, got {self.precision!r}")
        if self.size < 32 or self.batch < 1:
            raise ValueError(
                f"expected size >= 32 and batch >= 1, got {self.size} and {self.batch}"
            )

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Return the features of every image, NaN where there is none."""
        images = batch["pixels"]
        status = objects(
            list(batch["pixels_status"])
            if "pixels_status" in batch
            else ["missing_field" if p is None else "ok" for p in images]
        )
        model, mean, std, place = _model(self.name, self.device)
        there = np.flatnonzero([p is not None for p in images])
        half, blocks = str(self.precision) == "bf16", []
        for start in range(0, len(there), self.batch):
            rows = there[start : start + self.batch].tolist()
            x = torch.cat([to_square(images[i][None], self.size, place) for i in rows])
            blocks.append(pooled(model, x, mean, std, half))
        if not blocks:
            nothing = torch.zeros(1, 3, self.size, self.size, device=place)  # says how wide
            blocks.append(pooled(model, nothing, mean, std)[:0])
        out = np.full((len(images), blocks[0].shape[1]), np.nan, np.float32)
        out[there] = torch.cat(blocks).numpy()
        return {"image_features": out, "image_features_status": status}
