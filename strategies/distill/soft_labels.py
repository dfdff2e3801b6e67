"""Soft labels after any subset: a teacher says what it sees in the images, chosen or made, and
training learns that.

Qin, Deng & Alvarez-Melis, "A Label is Worth a Thousand Images in Dataset Distillation", NeurIPS
2024 (arXiv:2406.10485): random images with one soft label each, of a teacher from early in its
training where images are few. Of crops as in SRe2L (arXiv:2306.13092), asked anew as in RDED
(arXiv:2312.03526).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from coreset import Pool, Signals, Strategy
from coreset.core.pool import Indices
from coreset.core.ranges import check_range
from coreset.core.strategy import listed
from coreset.distillation import Distiller, Progress, Source, Synthetic, Teacher
from coreset.distillation.dataset import smallest_labels
from coreset.distillation.distiller import distiller
from coreset.distillation.soft import crop_labels, fixed_labels, online_labels
from coreset.distillation.views import Views
from coreset.registry import names, strategy
from coreset.strategies.combine.parts import narrow
from coreset.strategies.distill.common import positive, stream

LABELS = {"fixed": 1.0, "crops": 20.0, "online": 20.0}  # and their temperatures in the papers
CHOICE, BASE, VIEWS = range(3)  # random streams
HALF = 2  # bytes of a float16, and of a number of a view
GIVEN = frozenset({"features", "logits", "probs", "labels"})


def choose(base: Strategy, source: Source, teacher: Teacher, ipc: int, seed: int) -> Indices:
    """Return `ipc` rows of each class, class after class, as a strategy chooses them among the
    class; what it reads is the teacher's.

    Raises ValueError for a strategy that reads more than features, logits, probabilities and
    labels, and for one whose choices only stand with their weights.
    """
    wanted = base.needs | base.needs_selected
    if wanted - GIVEN:
        raise ValueError(
            f"base: {type(base).__name__} needs {listed(wanted - GIVEN)}; a teacher gives"
            f" {listed(GIVEN)}"
        )
    signals = Signals(len(source.images), labels=source.labels)
    if wanted - {"labels"}:
        blocks = np.array_split(np.arange(len(source.images)), -(-len(source.images) // 512))
        seen = [[t.cpu() for t in teacher.describe(source.tensor(rows))] for rows in blocks]
        features, logits = (torch.cat(parts).numpy() for parts in zip(*seen, strict=True))
        for name, values in (("features", features), ("logits", logits)):
            signals.put(name, None, values)
        signals.put("probs", None, torch.from_numpy(logits).softmax(dim=1).numpy())
    pool, out = Pool(len(source.images), ids=source.ids), []
    for c in range(len(source.classes)):
        answer = base(
            narrow(pool, np.flatnonzero(source.labels == c)), signals, ipc, stream(seed, CHOICE, c)
        )
        if (
            answer.weights is not None
            and np.ptp(answer.weights) > 1e-9 * np.abs(answer.weights).max()
        ):
            raise ValueError(
                f"base: {type(base).__name__} weighs its choices, which a distilled set cannot keep"
            )
        out.append(answer.indices)
    return np.concatenate(out)


@dataclass(frozen=True)
class SoftLabels(Distiller):
    """Choose or make images with another method, then let a teacher label them.

    base: a method that selects (its choice within each class) or distills, by name or made. labels:
    `fixed`, one of each training image; `crops`, one of each of `crops` random views of it, kept
    with the set, of which training takes one an epoch in turn; `online`, the teacher asked about
    new views in every step. temperature: None: 1 for fixed ones, 20 for the others. hard: share of
    the hard label's cross-entropy in the loss. scale, cutmix: of the views; mirrored where that
    keeps the class. network: parameters of a ConvNet as teacher, None: the run's model. epoch: of
    its training, None: the last. Training without augmentation asks an online teacher about the
    images as they are.
    """

    base: Any = "random"
    labels: str = "fixed"
    temperature: float | None = None
    hard: float = 0.0
    crops: int = 300
    scale: tuple[float, float] = (0.08, 1.0)
    cutmix: float = 1.0
    network: Mapping[str, Any] | None = None
    epoch: int | None = None

    wants_teacher = True

    def __post_init__(self) -> None:
        if self.labels not in LABELS:
            raise ValueError(f"labels: expected {', '.join(LABELS)}, got {self.labels!r}")
        check_range("a share in [0, 1]", hard=self.hard)
        positive(crops=self.crops, temperature=self.heat)
        object.__setattr__(self, "scale", tuple(self.scale))
        Views(self.scale, cutmix=self.cutmix)
        if isinstance(self.method, SoftLabels):
            raise ValueError(
                "base: expected a method that chooses or makes images, got soft_labels once more"
            )

    @property
    def method(self) -> Strategy | Distiller:
        """The method that chooses or makes the images."""
        if isinstance(self.base, Strategy | Distiller):
            return self.base
        name = str(self.base)
        return distiller(name) if name in names("coreset.distillers") else strategy(name)

    @property
    def heat(self) -> float:
        """The temperature."""
        return LABELS[self.labels] if self.temperature is None else self.temperature

    def cells(self, side: int) -> int:
        """Return how many training images one stored image of `side` pixels holds: as many as the
        method's.
        """
        method = self.method
        return method.cells(side) if isinstance(method, Distiller) else 1

    def image_bytes(self, shape: tuple[int, int, int], classes: int) -> int:
        """Return the bytes of pixels, hard label, soft labels and views. Raises ValueError for
        online labels, whose teacher costs the same for any number of images.
        """
        if self.labels == "online":
            raise ValueError(
                "labels: online ones cost the teacher's weights, however many images there are:"
                " give the budget as images or ipc"
            )
        method = self.method
        pixels = int(np.prod(shape)) + smallest_labels(classes).itemsize
        image = method.image_bytes(shape, classes) if isinstance(method, Distiller) else pixels
        each = (
            HALF * classes
            if self.labels == "fixed"
            else self.crops * HALF * (classes + Views(cutmix=self.cutmix).numbers)
        )
        return image + self.cells(shape[1]) * each

    def check(self, source: Source, ipc: int) -> None:
        """Check the question, and the method's."""
        super().check(source, ipc)
        if isinstance(method := self.method, Distiller):
            method.check(source, ipc)

    def distill(
        self, source: Source, ipc: int, rng: np.random.Generator, progress: Progress
    ) -> Synthetic:
        """Take the images, ask the teacher."""
        assert source.teacher is not None
        seed = int(rng.integers(2**62))
        teacher = source.teacher(self.network, self.epoch).check(source.classes)
        method, place = self.method, progress.within("base")
        distilled = (
            method(source, ipc, stream(seed, BASE), place)
            if isinstance(method, Distiller)
            else source.real(choose(method, source, teacher, ipc, seed))
        )
        known = {"method": type(method).__name__, "configuration": method.parameters()}
        distilled = replace(distilled, info={"base": {**known, **distilled.info}})
        views = Views(self.scale, source.flips, self.cutmix)
        if self.labels == "fixed":
            soft = fixed_labels(distilled, teacher, source.device, self.heat, self.hard)
        elif self.labels == "online":
            asked = {
                "network": None if self.network is None else dict(self.network),
                "epoch": teacher.epoch,
            }
            soft = online_labels(distilled, teacher, views, asked, self.heat, self.hard)
        else:
            labeling = int(stream(seed, VIEWS).integers(2**62))
            soft = crop_labels(
                distilled, teacher, views, self.crops, labeling, source.device, self.heat,
                self.hard,
                lambda done, all_: progress.show(done, all_, float("nan")),
            )  # fmt: skip
        place.clear()
        return soft
