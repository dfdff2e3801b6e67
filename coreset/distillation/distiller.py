"""Distiller: the contract of a method that makes a small data set out of a large one. It sees every
image and every label of the pool.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from coreset.core.pool import Indices
from coreset.core.store import fingerprint
from coreset.distillation.dataset import Synthetic, smallest_labels
from coreset.distillation.nn.layers import last_linear
from coreset.distillation.progress import Progress
from coreset.numerics.random import keyed_uniform, salt
from coreset.registry import create


@dataclass(frozen=True, eq=False)
class Teacher:
    """A network trained on the pool that scores or labels images: normalized (B, C, S, S) -> logits
    (B, classes); in eval mode, frozen.

    epoch: of its training; accuracy: on the test set, NaN when it was not tested; name: what it is,
    for the manifest.
    """

    model: nn.Module
    classes: tuple[str, ...]
    epoch: int | None = None
    accuracy: float = float("nan")
    name: str = "teacher"

    def __post_init__(self) -> None:
        self.model.eval().requires_grad_(False)

    def check(self, classes: Sequence[str]) -> Teacher:
        """Return the teacher when its classes are these, in this order; ValueError when they are
        not.
        """
        if tuple(self.classes) != tuple(classes):
            same = sorted(self.classes) == sorted(classes)
            what = "the same classes in another order" if same else "other classes"
            raise ValueError(
                f"teacher: trained on {what}: {list(self.classes)} there, {list(classes)} in the"
                " pool"
            )
        return self

    @torch.no_grad()
    def logits(self, x: Tensor, batch_size: int = 512) -> Tensor:
        """Return logits (B, classes) float32 on the device of `x`,
        which the network is moved to.
        """
        model = self.model.to(x.device)
        return torch.cat([model(part).float() for part in torch.split(x, batch_size)])

    @torch.no_grad()
    def describe(self, x: Tensor, batch_size: int = 512) -> tuple[Tensor, Tensor]:
        """Return features (B, D), the input of the last linear layer, and logits (B, classes),
        float32 on the device of `x`, which the network is moved to.
        """
        model = self.model.to(x.device)
        caught: list[Tensor] = []
        hook = last_linear(model).register_forward_hook(
            lambda _, args, _out: caught.append(args[0].flatten(1).float())
        )
        try:
            logits = torch.cat([model(part).float() for part in torch.split(x, batch_size)])
        finally:
            hook.remove()
        return torch.cat(caught), logits


TeacherFactory = Callable[..., Teacher]


@dataclass(frozen=True, eq=False)
class Source:
    """What a distillation may see: the pool with all its labels.

    images (N, S, S, C) uint8; labels (N,) int64; classes: names in label order; mean, std: per
    channel, of pixels / 255; ids: outside names; flips: whether a mirrored image keeps its class;
    device: where to compute; name: of the data set; teacher: makes a Teacher on demand, called as
    teacher(network=None, epoch=None): network: makes an untrained nn.Module (None: the run's
    model); epoch: after how many epochs of its training (None: all). Raises ValueError for images
    or labels of the wrong shape, labels that are unknown and classes without an example.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    ids: NDArray[Any] = None  # type: ignore[assignment]  # filled below
    flips: bool = False
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    name: str = ""
    fingerprint: str = ""
    teacher: TeacherFactory | None = None

    def __post_init__(self) -> None:
        images, labels = self.images, np.asarray(self.labels)
        if images.ndim != 4 or images.shape[1] != images.shape[2] or images.dtype != np.uint8:
            raise ValueError(
                f"images: expected uint8 (N, S, S, C), got {images.dtype} of shape {images.shape}"
            )
        if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
            raise ValueError(
                f"labels: expected {len(images)} whole numbers, one per image, got {labels.dtype}"
                f" of shape {labels.shape}"
            )
        outside = np.flatnonzero((labels < 0) | (labels >= len(self.classes)))
        if outside.size:
            raise ValueError(
                f"labels: distillation needs the label of every example of the pool; {outside.size}"
                f" are unknown or outside 0 .. {len(self.classes) - 1}, first at position"
                f" {int(outside[0])}"
            )
        counts = np.bincount(labels, minlength=len(self.classes))
        if not counts.all():
            gone = [str(self.classes[c]) for c in np.flatnonzero(counts == 0)]
            raise ValueError(f"classes: no example in the pool of {', '.join(map(repr, gone))}")
        ids = np.arange(len(images)) if self.ids is None else np.asarray(self.ids)
        object.__setattr__(self, "labels", labels.astype(np.int64))
        object.__setattr__(self, "ids", ids)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        _, h, w, c = self.images.shape
        return c, h, w

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Examples per class, (classes,)."""
        return np.bincount(self.labels, minlength=len(self.classes)).astype(np.int64)

    def tensor(self, rows: Indices) -> Tensor:
        """Return the images at `rows`, normalized float32 (n, C, S, S) on the device."""
        x = (
            torch.from_numpy(np.ascontiguousarray(self.images[rows]))
            .to(self.device)
            .permute(0, 3, 1, 2)
            .float()
        )
        mean, std = (
            torch.tensor(v, device=self.device).view(1, -1, 1, 1) for v in (self.mean, self.std)
        )
        return ((x / 255 - mean) / std).contiguous()

    def rows(self, seed: int) -> list[Indices]:
        """Return the rows of every class in a random order that depends on `seed` and on the ids,
        not on how the pool is arranged.
        """
        key = keyed_uniform(seed, self.ids)
        each = [np.flatnonzero(self.labels == c) for c in range(len(self.classes))]
        return [r[np.argsort(key[r], kind="stable")] for r in each]

    def made(self, images: Tensor, labels: NDArray[Any], **rest: Any) -> Synthetic:
        """Return normalized images (M, C, S, S) as a distilled set of this pool; `rest`: other
        fields of Synthetic.
        """
        return Synthetic(
            images.detach().float().cpu().numpy(), labels, self.classes, self.mean, self.std,
            **{"space": "normalized", **rest}
        )  # fmt: skip

    def made_pixels(self, images: Tensor, labels: NDArray[Any], **rest: Any) -> Synthetic:
        """Return the same stored as uint8: rounded and cut to 0 .. 255, a quarter of the bytes."""
        mean, std = (
            torch.tensor(v, device=images.device).view(1, -1, 1, 1) for v in (self.mean, self.std)
        )
        pixels = (
            ((images.detach().float() * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
        )
        return Synthetic(
            pixels.cpu().numpy(), labels, self.classes, self.mean, self.std, space="pixels", **rest
        )

    def real(self, rows: Indices) -> Synthetic:
        """Return the pool's own images at `rows` as a set, uint8 with hard labels; info says which
        they are.
        """
        info = {"ids": self.ids[rows].tolist()}
        pixels = np.ascontiguousarray(self.images[rows].transpose(0, 3, 1, 2))
        return Synthetic(
            pixels, self.labels[rows], self.classes, self.mean, self.std, "pixels", info=info
        )


class Distiller(ABC):
    """Make a small data set out of a large one: a frozen dataclass whose fields are its parameters,
    beside the functions that are the method.

    Calling it checks the question, distills and checks the answer. It reads the labels of the whole
    pool (`labels_used`), whatever the budget, and a larger budget's answer does not contain a
    smaller one's. good_to: images per class above which the method is no better than random images,
    None when that is not known; good_why: who found that. wants_teacher: whether `source.teacher`
    must be there.
    """

    needs = frozenset({"labels"})  # of the whole pool: no active mode
    needs_selected = frozenset[str]()
    random = True
    good_to: int | None = None
    good_why = ""
    wants_teacher = False

    @abstractmethod
    def distill(
        self, source: Source, ipc: int, rng: np.random.Generator, progress: Progress
    ) -> Synthetic:
        """Return `ipc` images per class. The question is already checked; the answer will be."""

    def parameters(self) -> dict[str, Any]:
        """Return the fields: what its YAML file holds."""
        return {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]

    def cells(self, side: int) -> int:
        """Return how many training images one stored image of `side` pixels holds."""
        return int(getattr(self, "decode", 1)) ** 2

    def image_bytes(self, shape: tuple[int, int, int], classes: int) -> int:
        """Return what one stored image with its label costs in bytes: float32 pixels and a hard
        label.
        """
        return 4 * int(np.prod(shape)) + smallest_labels(classes).itemsize

    def check(self, source: Source, ipc: int) -> None:
        """Raise TypeError or ValueError when the question cannot be answered; warn when the answer
        will not be worth it.
        """
        who = type(self).__name__
        if isinstance(ipc, bool) or not isinstance(ipc, int | np.integer):
            raise TypeError(f"ipc: expected a whole number of images per class, got {ipc!r}")
        fewest = int(source.counts.min())
        if not 1 <= ipc <= fewest:
            name = source.classes[int(source.counts.argmin())]
            raise ValueError(
                f"ipc: expected 1 to {fewest} (the images of class {name!r}), got {ipc}"
            )
        if self.wants_teacher and source.teacher is None:
            raise ValueError(f"{who} needs a teacher: pass Source(..., teacher=...)")
        if self.good_to is not None and ipc > self.good_to:
            warnings.warn(
                f"{who}: {ipc} images per class; above about {self.good_to} this method is no"
                " better than as many random images with the same recipe"
                + (f": {self.good_why}" if self.good_why else ""),
                stacklevel=3,
            )

    def __call__(
        self, source: Source, ipc: int, rng: np.random.Generator, progress: Progress | None = None
    ) -> Synthetic:
        """Check, distill, check the answer: exactly `ipc` stored images per class (hard labels: of
        every class), in the pool's classes, finite.
        """
        self.check(source, ipc)
        progress = Progress() if progress is None else progress
        seed = salt(rng)
        about = {
            "method": type(self).__name__, "configuration": self.parameters(), "seed": seed,
            "data": {"name": source.name, "fingerprint": source.fingerprint,
                     "size": len(source.images), "labels_used": len(source.images)},
        }  # fmt: skip
        if not progress.key:
            key = fingerprint(_plain(about), int(ipc), source.labels, source.ids)
            progress = replace(progress, key=key)
        answer = self.distill(source, int(ipc), np.random.default_rng(seed), progress)
        who = type(self).__name__
        assert answer.classes == tuple(source.classes), (
            f"{who} returned other classes than the pool's"
        )
        wanted = ipc * len(source.classes)
        assert len(answer) == wanted, f"{who} returned {len(answer)} images instead of {wanted}"
        known = answer.kind in ("hard", "online") or answer.truth is not None
        assert not known or (answer.counts == ipc).all(), (
            f"{who} returned {answer.counts} of the classes"
        )
        assert answer.images.shape[1:] == source.shape, (
            f"{who} returned images of shape {answer.images.shape[1:]}"
        )
        return replace(answer, info={**about, **answer.info})


def _plain(value: Any) -> Any:
    """Return parameters that are distillers or strategies as their class and parameters: what a
    fingerprint takes.
    """
    if isinstance(value, Mapping):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if hasattr(value, "parameters") and callable(value.parameters):
        return [type(value).__name__, _plain(value.parameters())]
    return value


def distiller(name: str | Distiller, options: Mapping[str, Any] | None = None) -> Distiller:
    """Return a distillation method by name with `options` as its parameters, as
    `coreset.registry.strategy` does for selection.

    >>> distiller("dm", {"steps": 10}).parameters()["steps"]
    10
    """
    method: Distiller = create(name, options, "distiller", "coreset.distillers", Distiller)
    return method


def distill(
    method: str | Distiller,
    ipc: int,
    *,
    images: NDArray[np.uint8],
    labels: ArrayLike,
    classes: Sequence[str] | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    **source: Any,
) -> Synthetic:
    """Distill a labeled pool to `ipc` images per class: `distill("dm", 1, images=x, labels=y)`.

    method: a name (`coreset.registry.names("coreset.distillers")`) or a Distiller. images (N, S, S,
    C) uint8. classes: names in label order (default "0", "1", ...). options: the method's
    parameters. source: other fields of Source. Mean and std are the pool's per channel unless they
    are given. Raises KeyError for an unknown method, ValueError or TypeError for a question that
    cannot be answered.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    names = (
        tuple(map(str, range(int(labels.max()) + 1)))
        if classes is None
        else tuple(map(str, classes))
    )
    if "mean" not in source:
        x = images.reshape(-1, images.shape[-1]) / 255
        std = x.std(axis=0)
        source |= {
            "mean": tuple(x.mean(axis=0).tolist()),
            "std": tuple(np.where(std > 0, std, 1.0).tolist()),
        }
    pool = Source(images, labels, names, **source)
    return distiller(method, options)(pool, ipc, np.random.default_rng(seed), progress)
