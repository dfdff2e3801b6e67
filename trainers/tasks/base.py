"""What a training is about: which Lightning module learns, from which batches, what its model says
of an image, and what counts as good.

The loops know budgets, strategies and rounds; everything that differs between classification,
detection and segmentation is here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from coreset.core.strategy import Strategy
from coreset.trainers.data.base import ImageData
from coreset.trainers.data.batches import EvalBatches, TrainStream
from coreset.trainers.tasks.measure import MODEL_SIGNALS, measure
from coreset.trainers.tasks.module import LitClassifier, Scheduled


class Task(ABC):
    """A kind of training. `metric`: its name on the curve, logged as val/... and test/...;
    `signals`: what `measure` can give; `dynamics`: whether its module tells losses and logits per
    example while it trains; `masks`: whether people draw masks rather than boxes.
    """

    metric: str = "accuracy"
    signals: frozenset[str] = frozenset()
    dynamics: bool = False
    masks: bool = False

    data_type: type[ImageData] = ImageData

    def check(self, data: ImageData) -> None:
        """Raise TypeError when the data are not what this task learns from."""
        if not isinstance(data, self.data_type):
            raise TypeError(
                f"task={type(self).__name__.lower()} learns from {self.data_type.__name__}"
                f" (data=coco_folder), got {type(data).__name__}"
            )

    def wrap(self, strategy: Strategy) -> Strategy:
        """Return the strategy as this task asks for it."""
        return strategy

    def new_model(self, factory: Any, data: ImageData) -> nn.Module:
        """Return a fresh model for the data's classes, channels and size."""
        _, h, _, c = data.images.shape
        model: nn.Module = factory(num_classes=len(data.classes), in_channels=c, image_size=h)
        return model

    @abstractmethod
    def module(self, model: nn.Module, data: ImageData, **recipe: Any) -> Scheduled:
        """Return the Lightning module that trains `model`, which it keeps as `.model`; recipe: the
        arguments of `coreset.trainers.tasks.module.Scheduled`, and `label_smoothing`.
        """

    @abstractmethod
    def train(
        self,
        data: ImageData,
        labels: NDArray[np.int64],
        indices: NDArray[np.int64],
        weights: NDArray[np.float64] | None,
        **shape: Any,
    ) -> Iterable[Any]:
        """Return the batches of one training on `indices`, whose labels alone are known; shape:
        steps, batch_size, seed, augment (whether to).
        """

    @abstractmethod
    def held(
        self, data: ImageData, labels: NDArray[np.int64], indices: NDArray[np.int64]
    ) -> Iterable[Any]:
        """Return batches of labeled examples of the pool to validate on."""

    @abstractmethod
    def test(self, data: ImageData) -> Iterable[Any]:
        """Return the batches of the test set."""

    @abstractmethod
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
        """Return the columns `names`, all in `signals`, at `indices`."""

    def objects(
        self,
        model: nn.Module,
        data: ImageData,
        indices: NDArray[np.int64],
        *,
        device: torch.device,
    ) -> list[list[dict[str, Any]]]:
        """Return the objects that a model gives of each image, as entries of a COCO results file
        (category_id, score, and bbox, or segmentation as a mask (H, W)); none of classification.
        """
        return [[] for _ in indices]


@dataclass(frozen=True)
class Classification(Task):
    """One label an image: cross-entropy, accuracy."""

    signals = MODEL_SIGNALS
    dynamics = True

    def module(self, model: nn.Module, data: ImageData, **recipe: Any) -> Scheduled:
        """Return the classifier of `coreset.trainers.tasks.module`."""
        return LitClassifier(model, data.mean, data.std, **recipe)

    def train(
        self,
        data: ImageData,
        labels: NDArray[np.int64],
        indices: NDArray[np.int64],
        weights: NDArray[np.float64] | None,
        **shape: Any,
    ) -> Iterable[Any]:
        """Return the stream of `coreset.trainers.data.batches`."""
        shape["augment"] = data.augment if shape["augment"] else "none"
        return TrainStream(data.images, labels, indices, weights=weights, **shape)

    def held(
        self, data: ImageData, labels: NDArray[np.int64], indices: NDArray[np.int64]
    ) -> Iterable[Any]:
        """Return evaluation batches of the held-out examples, in the order of `indices`."""
        return EvalBatches(data.images, labels, indices)

    def test(self, data: ImageData) -> Iterable[Any]:
        """Return evaluation batches of the test set, in its order."""
        return EvalBatches(data.test_images, data.test_labels)

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
        """Return the columns of the examples at `indices` from one fused pass."""
        return measure(
            model, data, indices, names, device=device, members=members, seed=seed, bf16=bf16
        )
