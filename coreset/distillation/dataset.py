"""Synthetic: a few made images with labels that stand for a whole pool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.distillation.folder import read_folder, write_folder, write_images
from coreset.distillation.items import Items, ViewItems, check_against
from coreset.distillation.labels import KINDS, check_labels, soften

SPACES = ("normalized", "pixels")


def smallest_labels(classes: int) -> np.dtype[Any]:
    """Return the smallest unsigned type that holds the labels 0 .. classes - 1: what a hard label
    costs.

    >>> smallest_labels(10).itemsize, smallest_labels(1000).itemsize
    (1, 2)
    """
    return np.min_scalar_type(classes - 1)


@dataclass(frozen=True, eq=False)
class Synthetic:
    """A distilled set: M stored images, their labels, and all it takes to train on them.

    images (M, C, S, S) float32, float16 or uint8. classes: names in label order. mean, std: per
    channel, of pixels / 255. space: `normalized` = (pixel / 255 - mean) / std, or `pixels` = 0 ..
    255. decode: every stored image is a mosaic of decode x decode training images. info: who made
    it of what. labels, by kind:

    - `hard`: (M,) whole numbers.
    - `probs` or `logits`: (M, classes) floats, or (M decode^2, classes), a row a training image.
      Probabilities were taken at `temperature`, logits are divided by it.
    - `crops`: logits (E, M decode^2, classes) of E views of every training image, which `views` (E,
      M decode^2, 5 or 10) holds: see coreset.distillation.views.
    - `online`: (M,) whole numbers; training asks a teacher, which info["online"] describes.

    Soft labels may come with `truth`, the hard ones (M,). mix: the share of the hard label's
    cross-entropy in the loss. Raises ValueError or TypeError naming the field that is wrong.

    >>> cats = Synthetic(
    ...     np.zeros((2, 1, 4, 4), np.float32),
    ...     np.array([0, 1]),
    ...     ("cat", "dog"),
    ...     (0.5,),
    ...     (0.25,),
    ...     decode=2,
    ... )
    >>> cats.pixels().shape, cats.targets().tolist()
    ((8, 4, 4, 1), [0, 0, 0, 0, 1, 1, 1, 1])
    """

    images: NDArray[Any]
    labels: NDArray[Any]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    space: str = "normalized"
    decode: int = 1
    kind: str = "hard"
    temperature: float = 1.0
    info: Mapping[str, Any] = field(default_factory=dict)
    truth: NDArray[Any] | None = None
    mix: float = 0.0
    views: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        images, labels = np.asarray(self.images), np.asarray(self.labels)
        classes = tuple(str(c) for c in self.classes)
        if images.ndim != 4 or not len(images) or images.shape[2] != images.shape[3]:
            raise ValueError(
                f"images: expected square images (M, C, S, S), got shape {images.shape}"
            )
        if images.dtype.name not in ("float32", "float16", "uint8"):
            raise TypeError(f"images: expected float32, float16 or uint8, got {images.dtype}")
        if self.space not in SPACES or self.kind not in KINDS:
            raise ValueError(
                f"expected space {' or '.join(SPACES)} and kind {', '.join(KINDS)}, got"
                f" {self.space!r} and {self.kind!r}"
            )
        if images.dtype == np.uint8 and self.space != "pixels":
            raise ValueError("images: uint8 holds pixels, expected space='pixels'")
        if not np.isfinite(images).all():
            raise ValueError("images: some are NaN or infinite")
        if (
            len(self.mean) != images.shape[1]
            or len(self.std) != images.shape[1]
            or min(self.std) <= 0
        ):
            raise ValueError(
                f"mean, std: expected {images.shape[1]} of each, std above 0, got {self.mean},"
                f" {self.std}"
            )
        if not isinstance(self.decode, int) or not 1 <= self.decode <= images.shape[2]:
            raise ValueError(
                f"decode: expected 1 to {images.shape[2]} (the side of an image), got {self.decode}"
            )
        if not self.temperature > 0:
            raise ValueError(f"temperature: expected more than 0, got {self.temperature}")
        labels = check_labels(labels, self.kind, len(images), self.decode, classes)
        truth = (
            None
            if self.truth is None
            else check_labels(np.asarray(self.truth), "hard", len(images), 1, classes)
        )
        mean, std = tuple(map(float, self.mean)), tuple(map(float, self.std))
        for name, value in (
            ("images", images), ("labels", labels), ("classes", classes), ("mean", mean), ("std", std), ("truth", truth),
        ):  # fmt: skip
            object.__setattr__(self, name, value)
        self._check_soft()

    def _check_soft(self) -> None:
        """Raise ValueError where labels and what goes with them contradict each other."""
        whole = self.kind in ("hard", "online")
        if whole and self.truth is not None:
            raise ValueError(f"truth: kind {self.kind!r} has hard labels already")
        if not 0 <= self.mix <= 1 or (
            self.mix and (self.kind == "hard" or not (whole or self.truth is not None))
        ):
            raise ValueError(
                f"mix: expected 0 to 1, above 0 only with soft labels and truth, got {self.mix}"
            )
        if self.kind == "online" and "online" not in self.info:
            raise ValueError('kind: online labels need info["online"], which describes the teacher')
        if (self.kind == "crops") != (self.views is not None):
            raise ValueError(f"views: expected with kind 'crops' alone, got kind {self.kind!r}")
        if self.views is not None:
            from coreset.distillation.views import check_views

            if self.truth is None:
                raise ValueError("truth: labels of crops need the hard labels too")
            check_views(self.views, self.labels.shape[:2], self.images.shape[2])

    def __len__(self) -> int:
        return len(self.images)

    @property
    def hard(self) -> NDArray[np.int64]:
        """The label of every stored image, (M,): the true one where it is known, else the largest
        of a soft one (of the mean over its cells), ties to the lowest class.
        """
        if self.kind in ("hard", "online"):
            return self.labels
        if self.truth is not None:
            return np.asarray(self.truth)
        soft = self.labels.reshape(len(self), -1, len(self.classes)).mean(axis=1, dtype=np.float64)
        return np.asarray(soft.argmax(axis=1), np.int64)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Stored images per class, (classes,)."""
        return np.bincount(self.hard, minlength=len(self.classes)).astype(np.int64)

    @property
    def nbytes(self) -> int:
        """Bytes of images, labels and views as they are saved, and of the weights of a teacher that
        training asks; a hard label takes the smallest unsigned type.
        """
        one = len(self) * smallest_labels(len(self.classes)).itemsize
        labels = (
            one
            if self.kind in ("hard", "online")
            else self.labels.nbytes + (0 if self.truth is None else one)
        )
        views = 0 if self.views is None else self.views.nbytes
        asked = self.info["online"]["bytes"] if self.kind == "online" else 0
        return int(self.images.nbytes + labels + views + asked)

    @property
    def budget(self) -> dict[str, float | int]:
        """The three ways to say how large it is: images per class (mean), images, bytes; and how
        many images it trains on.
        """
        per_class = len(self) / len(self.classes)
        return {
            "ipc": int(per_class) if per_class == int(per_class) else per_class,
            "images": len(self),
            "bytes": self.nbytes,
            "trained_images": len(self) * self.decode**2,
        }

    def normalized(self) -> NDArray[np.float32]:
        """Return what a network trains on: decoded, normalized images (M decode^2, C, S, S)."""
        import torch

        from coreset.distillation.nn.decode import decode

        x: NDArray[Any] = self.images.astype(np.float32)
        if self.space == "pixels":
            x = (x / np.float32(255) - _channels(self.mean)) / _channels(self.std)
        return decode(torch.from_numpy(x), self.decode).numpy()

    def pixels(self) -> NDArray[np.float32]:
        """Return the decoded images (M decode^2, S, S, C) on the scale 0 .. 255; made images may
        lie outside it and are not cut.
        """
        x = (self.normalized() * _channels(self.std) + _channels(self.mean)) * 255
        return np.ascontiguousarray(x.transpose(0, 2, 3, 1), np.float32)

    def targets(self) -> NDArray[Any]:
        """Return the label of every decoded image: (M decode^2,) int64, or (M decode^2, classes)
        float32 probabilities at `temperature`.

        Raises ValueError for labels of crops and of a teacher: an image has many.
        """
        if self.kind in ("crops", "online"):
            raise ValueError(
                f"targets: with kind {self.kind!r} an image has no one label; its hard ones are in"
                " .hard"
            )
        labels = self.labels
        if self.kind != "hard":
            labels = (
                soften(labels, self.temperature)
                if self.kind == "logits"
                else labels.astype(np.float32)
            )
        return np.repeat(labels, len(self) * self.decode**2 // len(labels), axis=0)

    def with_labels(
        self,
        labels: NDArray[Any],
        kind: str,
        temperature: float = 1.0,
        *,
        truth: NDArray[Any] | None = None,
        mix: float = 0.0,
        views: NDArray[Any] | None = None,
        **info: Any,
    ) -> Synthetic:
        """Return the same images with other labels; `info` is added to what is known of it."""
        return replace(
            self, labels=labels, kind=kind, temperature=temperature, truth=truth, mix=mix,
            views=views, info={**self.info, **info}
        )  # fmt: skip

    def with_info(self, **info: Any) -> Synthetic:
        """Return the same set with more said about it."""
        return replace(self, info={**self.info, **info})

    def of(self, dataset: Any = None) -> Any:
        """Return a map-style dataset of (image (C, S, S) float32, normalized; label), to train on
        in place of `dataset`; of labeled crops, every view is an item.

        Raises ValueError when `dataset` has images of another shape or its `classes` are others, or
        in another order, and for labels that only a teacher can give.
        """
        if dataset is not None:
            check_against(self.images.shape[1:], self.classes, dataset)
        if self.views is not None:
            return ViewItems(self.normalized(), self.labels, self.views, self.temperature)
        return Items(self.normalized(), self.targets())

    def manifest(self) -> dict[str, Any]:
        """Return everything about the set but its numbers, as plain JSON values.

        info holds method, configuration, seed, data set (name, fingerprint, size, labels used) and
        the recipe it is to be trained with, as far as they are known.
        """
        known = ("method", "configuration", "seed", "data", "recipe")
        return {
            **{key: self.info.get(key) for key in known},
            "classes": list(self.classes),
            "images_per_class": self.counts.tolist(),
            "image": {
                "count": len(self), "channels": self.images.shape[1], "size": self.images.shape[2],
                "dtype": str(self.images.dtype),
                "space": self.space, "mean": list(self.mean), "std": list(self.std),
                "decode": self.decode,
            },
            "label": {"kind": self.kind, "dtype": str(self.labels.dtype),
                      "temperature": self.temperature, "mix": self.mix},
            "bytes": self.nbytes,
            "info": {key: value for key, value in self.info.items() if key not in known},
        }  # fmt: skip

    def save(self, folder: str | Path) -> Path:
        """Write `images.safetensors`, `labels.safetensors` and, last, `manifest.json` into a
        folder; return it.
        """
        small = smallest_labels(len(self.classes))
        columns = {
            "labels": self.labels.astype(small) if self.kind in ("hard", "online") else self.labels
        }
        if self.truth is not None:
            columns["truth"] = self.truth.astype(small)
        if self.views is not None:
            columns["views"] = self.views
        return write_folder(folder, self.manifest(), self.images, columns)

    @classmethod
    def load(cls, folder: str | Path) -> Synthetic:
        """Read what `save` wrote. Raises ValueError for another format version or a folder that is
        not whole, FileNotFoundError for none.
        """
        return cls(**read_folder(folder))

    def export(self, folder: str | Path) -> Path:
        """Write the decoded images as PNG, cut to 0 .. 255, one folder a class, numbered so that
        their order by name is the label order; return the folder.
        """
        pixels = np.clip(np.rint(self.pixels()), 0, 255).astype(np.uint8)
        return write_images(folder, pixels, np.repeat(self.hard, self.decode**2), self.classes)


def _channels(values: tuple[float, ...]) -> NDArray[np.float32]:
    return np.asarray(values, np.float32).reshape(1, -1, 1, 1)
