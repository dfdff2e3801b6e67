"""A distilled set as a map-style dataset."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from coreset.distillation.labels import soften
from coreset.distillation.views import look


class Items(Dataset[tuple[Tensor, Any]]):
    """Pairs of a normalized image (C, S, S) and its label: a whole number, or probabilities
    (classes,).
    """

    def __init__(self, images: NDArray[np.float32], labels: NDArray[Any]) -> None:
        self.images, self.labels = torch.from_numpy(images), torch.from_numpy(labels)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        label = self.labels[index]
        return self.images[index], int(label) if label.ndim == 0 else label


class ViewItems(Dataset[tuple[Tensor, Any]]):
    """Pairs of a view of a normalized image and its probabilities, all images of the first view
    first.
    """

    def __init__(
        self,
        images: NDArray[np.float32],
        logits: NDArray[Any],
        views: NDArray[Any],
        temperature: float,
    ) -> None:
        self.images, self.logits, self.views, self.temperature = (
            torch.from_numpy(images),
            logits,
            views,
            temperature,
        )

    def __len__(self) -> int:
        return len(self.views) * len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index: {index} of {len(self)} items")
        view, image = divmod(index % len(self), len(self.images))
        seen = look(self.images, self.views[view], np.array([image]))[0]
        return seen, torch.from_numpy(soften(self.logits[view, image], self.temperature))


def check_against(want: tuple[int, ...], classes: tuple[str, ...], dataset: Any) -> None:
    """Raise ValueError when a distilled set cannot stand for `dataset`: images of another shape, or
    other classes.

    want: shape (C, S, S) of the distilled images; classes: their names in label order.
    """
    theirs = getattr(dataset, "classes", None)
    if theirs is not None and tuple(map(str, theirs)) != classes:
        raise ValueError(
            f"classes: the dataset has {list(theirs)}, the distilled set {list(classes)}, in this"
            " order"
        )
    image = np.asarray(dataset[0][0])
    shape = image.shape if image.ndim == 3 else (1, *image.shape)
    if shape != want and (*shape[2:], *shape[:2]) != want:
        raise ValueError(
            f"images: the dataset's first has shape {image.shape}, the distilled ones (C, S, S) ="
            f" {want}"
        )
