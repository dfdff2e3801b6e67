"""Any image classifier as a scorer: aesthetics, what is not safe for work, what kind of picture.

A model of timm, or an ONNX file; the score is a sum of class probabilities, or a weighted one, such
as the mean rating of a model with a class for each mark.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from coreset.core.batch import objects
from coreset.core.cache import sha256
from coreset.core.pool import Array
from coreset.scorers.device import OnDevice, torch_device
from coreset.scorers.image.backbone import LITE0, backbone

Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def squared(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return the center of an image, its shorter side at `side` / 0.875, cut to (side, side, 3):
    what ImageNet's models are tested on (bicubic).
    """
    height, width = pixels.shape[:2]
    scale = round(side / 0.875) / min(height, width)
    size = max(side, round(width * scale)), max(side, round(height * scale))
    image = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    return np.asarray(image.crop((left, top, left + side, top + side)))


@lru_cache(maxsize=2)
def _timm(name: str, device: str) -> Predict:
    model, mean, std = backbone(name, classes=True)
    place = torch_device(device)
    model = model.to(place)

    def predict(x: NDArray[np.float32]) -> NDArray[np.float32]:
        z = (torch.from_numpy(x).permute(0, 3, 1, 2) / 255).sub_(mean).div_(std)
        with torch.inference_mode():
            return cast(Tensor, model(z.to(place))).float().cpu().numpy()

    return predict


@lru_cache(maxsize=2)
def _onnx(path: str, layout: str, mean: tuple[float, ...], std: tuple[float, ...]) -> Predict:
    try:
        onnxruntime: Any = import_module("onnxruntime")
    except ImportError as error:
        raise ImportError(
            "an ONNX classifier needs onnxruntime: pip install onnxruntime"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        path, options, providers=onnxruntime.get_available_providers()
    )
    name = session.get_inputs()[0].name

    def predict(x: NDArray[np.float32]) -> NDArray[np.float32]:
        z = ((x - np.array(mean, np.float32)) / np.array(std, np.float32)).astype(np.float32)
        return np.asarray(
            session.run(None, {name: z.transpose(0, 3, 1, 2) if layout == "nchw" else z})[0],
            np.float32,
        )

    return predict


def probabilities(
    images: Sequence[NDArray[np.uint8]],
    model: str = LITE0,
    size: int = 224,
    batch: int = 32,
    device: str = "auto",
) -> NDArray[np.float32]:
    """Return the class probabilities (n, C) of a classifier of timm; images (H, W, 3) uint8 of any
    size.
    """
    predict = _timm(model, device)
    parts = []
    for start in range(0, len(images), batch):
        part = np.stack([squared(p, size) for p in images[start : start + batch]], dtype=np.float32)
        parts.append(torch.from_numpy(predict(part)).softmax(dim=1).numpy())
    return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)


@dataclass(frozen=True)
class Classifier(OnDevice):
    """Score images with a classifier, inside `Images`: gives `column` and its status.

    model: a name of timm, or the path of an .onnx file with one input (n, H, W, 3) or (n, 3, H, W).
    weights: {class index: weight}; the score is the weighted sum of the outputs after `activation`:
    softmax, sigmoid, or none where the file ends in probabilities or in a number. size: pixels of
    the square that is looked at. mean, std: of an ONNX model, per channel, of pixels 0 to 255;
    timm's own are known. layout: nhwc or nchw, of an ONNX model.
    """

    column: str
    weights: Mapping[int, float]
    model: str = LITE0
    activation: str = "softmax"
    size: int = 224
    mean: Sequence[float] = (0.0, 0.0, 0.0)
    std: Sequence[float] = (1.0, 1.0, 1.0)
    layout: str = "nhwc"
    batch: int = 32
    device: str = "auto"

    needs = frozenset({"pixels"})

    def __post_init__(self) -> None:
        if self.activation not in ("softmax", "sigmoid", "none"):
            raise ValueError(
                f"activation: expected softmax, sigmoid or none, got {self.activation!r}"
            )
        if self.layout not in ("nhwc", "nchw"):
            raise ValueError(f"layout: expected nhwc or nchw, got {self.layout!r}")
        if not self.weights or self.size < 1 or self.batch < 1:
            raise ValueError(
                "weights, size and batch: expected at least one class, and numbers of at least 1"
            )

    @property
    def gives(self) -> frozenset[str]:
        """Return the score and its status."""
        return frozenset({self.column, f"{self.column}_status"})

    def resources(self) -> dict[str, str]:
        """Return the hash of an ONNX file."""
        return {"model": sha256(Path(self.model))} if self.model.endswith(".onnx") else {}

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Return the score of every image."""
        images = batch["pixels"]
        status = objects(
            list(batch["pixels_status"])
            if "pixels_status" in batch
            else ["missing_field" if p is None else "ok" for p in images]
        )
        there = [i for i, p in enumerate(images) if p is not None]
        onnx = self.model.endswith(".onnx")
        predict = (
            _onnx(self.model, self.layout, tuple(self.mean), tuple(self.std))
            if onnx
            else _timm(self.model, self.device)
        )
        values = np.full(len(images), np.nan, np.float32)
        for start in range(0, len(there), self.batch):
            rows = there[start : start + self.batch]
            outputs = torch.from_numpy(
                predict(np.stack([squared(images[i], self.size) for i in rows], dtype=np.float32))
            )
            values[rows] = self._weigh(outputs.reshape(len(rows), -1))
        return {self.column: values, f"{self.column}_status": status}

    def _weigh(self, outputs: Tensor) -> Any:
        classes = outputs.shape[1]
        wrong = [c for c in self.weights if not 0 <= int(c) < classes]
        if wrong:
            raise ValueError(
                f"weights: class {wrong[0]} is not one of the {classes} of {self.model}"
            )
        p = (
            outputs.softmax(dim=1)
            if self.activation == "softmax"
            else outputs.sigmoid()
            if self.activation == "sigmoid"
            else outputs
        )
        terms = [float(w) * p[:, int(c)].double() for c, w in self.weights.items()]
        return torch.stack(terms).sum(dim=0).float().numpy()
