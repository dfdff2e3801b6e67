"""One budget of a distillation: make the images, train on them in place of the pool's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from coreset.core.store import Store, fingerprint
from coreset.distillation import Distiller, Progress, Source, Synthetic, Teacher
from coreset.numerics.pca import plane
from coreset.numerics.random import keyed_order
from coreset.runs.run_folder import RunFolder
from coreset.trainers.data.base import ImageData
from coreset.trainers.data.batches import TrainStream
from coreset.trainers.distillation.soft import LitSoft, Soft
from coreset.trainers.distillation.teacher import Teachers
from coreset.trainers.learners.fit import Fitted, Fitter, TrainingConfig
from coreset.trainers.learners.in_memory import InMemoryLearner
from coreset.trainers.tasks.base import Classification
from coreset.trainers.tasks.module import Scheduled

SHOWN_PER_CLASS = 10  # pictures


@dataclass(frozen=True, eq=False)
class DistilledTask(Classification):
    """Classification that learns from a distilled set; everything but the training batches is the
    pool's and the test set's.

    soft: what its soft labels take beside images and a label each.
    """

    images: NDArray[np.float32]
    temperature: float = 1.0
    soft: Soft | None = None

    def module(self, model: nn.Module, data: ImageData, **recipe: Any) -> Scheduled:
        """Return the same classifier, at the temperature of the labels."""
        if self.soft is not None:
            return LitSoft(model, data.mean, data.std, soft=self.soft, **recipe)
        return super().module(model, data, temperature=self.temperature, **recipe)

    def train(
        self,
        data: ImageData,
        labels: NDArray[Any],
        indices: NDArray[np.int64],
        weights: NDArray[np.float64] | None,
        **shape: Any,
    ) -> Iterable[Any]:
        """Return the same stream over the made images; of views, which are an augmentation
        themselves, where the labels are those of views.
        """
        augment = bool(shape["augment"])
        looks = self.soft is not None and self.soft.distilled.kind in ("crops", "online")
        shape["augment"] = data.augment if augment and not looks else "none"
        base = TrainStream(self.images, labels, indices, weights=weights, **shape)
        return base if self.soft is None else self.soft.stream(base, augment)


@dataclass(frozen=True, eq=False)
class DistillationContext:
    """What a round of distillation works with: the run's trainings and store, the pool's labels, a
    folder, and whom to tell.
    """

    fitter: Fitter
    recipe: TrainingConfig
    proxy: TrainingConfig
    store: Store
    seed: int
    model_key: str
    device: torch.device
    labels: NDArray[np.int64]
    folder: Path
    show: Callable[[str], None] = lambda _what: None

    def source(self) -> Source:
        """Return what the method may see: the pool, never the test set; teachers are trained on
        demand and kept in the store.
        """
        teachers = Teachers(
            self.fitter, self.proxy, self.store, self.seed, self.model_key, self.device, self.labels
        )
        return source_of(self.fitter.data, self.labels, self.device, teachers)


def source_of(
    data: ImageData,
    labels: NDArray[np.int64],
    device: torch.device | None = None,
    teacher: Any = None,
) -> Source:
    """Return a data set's pool as a distillation sees it; images may be mirrored where the loader
    may.
    """
    flips = data.augment == "crop_flip"
    device = torch.device("cpu") if device is None else device
    return Source(
        data.images, labels, data.classes, data.mean, data.std, data.ids, flips, device, data.name,
        data.fingerprint, teacher
    )  # fmt: skip


def fit_distilled(
    fitter: Fitter,
    recipe: TrainingConfig,
    distilled: Synthetic,
    seed: tuple[int, ...],
    test: bool = True,
    teacher: Teacher | None = None,
) -> Fitted:
    """Train a fresh model on a distilled set, by the same recipe and seeds as on a selection, and
    test it. teacher: who gives online labels.

    Raises ValueError for a recipe that holds examples out: made images cannot stand for real ones;
    and for online labels without their teacher.
    """
    if recipe.val_share:
        raise ValueError(
            "fit.val_share: a distilled set has no real example to hold out, expected 0, got"
            f" {recipe.val_share}"
        )
    soft = Soft.of(distilled, teacher)
    task = DistilledTask(
        distilled.pixels(), 1.0 if distilled.kind == "hard" else distilled.temperature, soft
    )
    targets = distilled.targets() if soft is None else soft.labels
    return replace(fitter, task=task).fit(
        recipe, targets, np.arange(len(targets)), seed=seed, test=test
    )


def distill_round(
    room: DistillationContext,
    method: Distiller,
    ipc: int,
    rng: np.random.Generator,
    seed: tuple[int, ...],
) -> tuple[Synthetic, Fitted, dict[str, float]]:
    """Return a distilled set of `ipc` images per class, which is left in the round's folder as
    `synthetic`, the model trained on it, and the seconds it took.

    A run that was killed goes on with the state in `distilling`, or with the set when it was whole.
    """
    begin = time.perf_counter()
    if (room.folder / "synthetic" / "manifest.json").exists():
        distilled = Synthetic.load(room.folder / "synthetic")
    else:
        progress = Progress(
            room.folder / "distilling",
            lambda step, steps, loss: _tell(room.show, step, steps, loss),
        )
        room.show("distilling")
        distilled = method(room.source(), ipc, rng, progress).with_info(
            recipe=dict(vars(room.recipe))
        )
        distilled.save(room.folder / "synthetic")
        progress.clear()
    seconds = {"select": time.perf_counter() - begin, "measure": 0.0}
    room.show("training")
    return (
        distilled,
        fit_distilled(room.fitter, room.recipe, distilled, seed, teacher=asked(room, distilled)),
        seconds,
    )


def asked(room: DistillationContext, distilled: Synthetic) -> Teacher | None:
    """Return the teacher that a set with online labels asks while training, out of the store; None
    for other labels.
    """
    if distilled.kind != "online":
        return None
    how, make = distilled.info["online"], room.source().teacher
    assert make is not None
    return make(how["network"], how["epoch"])


def _tell(show: Callable[[str], None], step: int, steps: int, loss: float) -> None:
    if step % 10 == 0 or step == steps:
        show(
            f"distilling, step {step:,} of {steps:,}"
            + ("" if np.isnan(loss) else f", loss {loss:.3g}")
        )


def entry_of(distilled: Synthetic, pool: int) -> dict[str, Any]:
    """Return what the ledger keeps of a distilled set: no position of the pool, its size said in
    three ways, and the labels it consumed.
    """
    return {
        "ids": [], "indices": [], "scores": None, "class_histogram": distilled.counts.tolist(),
        "synthetic": {**distilled.budget, "labels_used": pool, "label_kind": distilled.kind,
                      "fingerprint": fingerprint(distilled.images, distilled.labels)},
    }  # fmt: skip


def pictures(
    learner: InMemoryLearner,
    folder: RunFolder,
    labels: NDArray[np.int64],
    thumbs: int,
    points: int,
) -> dict[str, NDArray[Any]]:
    """Return the arrays of the report's gallery: made images of every budget (up to ten a class,
    fewer where there are many classes), and those of the last budget among real ones in the plane
    of the last model's features; pixels are cut to 0 .. 255.
    """
    data, classes = learner.fitter.data, len(learner.classes)
    each = max(1, min(SHOWN_PER_CLASS, thumbs // classes))
    shown, when, names, kinds = [], [], [], []
    for number in range(folder.done):
        distilled = Synthetic.load(folder.round(number) / "synthetic")
        # mosaics as they are stored
        stored = replace(distilled.with_labels(distilled.hard, "hard"), decode=1).pixels()
        pixels = np.clip(np.rint(stored), 0, 255).astype(np.uint8)
        rows = [r for c in range(classes) for r in np.flatnonzero(distilled.hard == c)[:each]]
        shown.append(pixels[rows])
        kinds.append(distilled.hard[rows])
        when += [number] * len(rows)
        names += [f"made image {r}" for r in rows]
    real = keyed_order(np.random.default_rng(0), data.ids)[:points]
    last = np.clip(np.rint(distilled.pixels()), 0, 255).astype(np.uint8)
    last_labels = np.repeat(distilled.hard, distilled.decode**2)
    both = replace(
        data, images=np.concatenate([data.images[real], last]),
        labels=np.concatenate([labels[real], last_labels]), ids=np.arange(len(real) + len(last)),
        content=""
    )  # fmt: skip
    measured = replace(learner, fitter=replace(learner.fitter, data=both))
    features = measured.signals(np.arange(len(both)), ["features"])["features"]
    chosen = np.full(len(both), -1)
    chosen[len(real) :] = folder.done - 1
    return {
        "thumbs": np.concatenate(shown), "thumb_labels": np.concatenate(kinds),
        "thumb_scores": np.full(len(when), np.nan),
        "thumb_round": np.array(when), "thumb_ids": np.array(names), "map_xy": plane(features),
        "map_label": both.labels,
        "map_chosen": chosen, "classes": np.array(data.classes),
        "pool_counts": np.bincount(labels, minlength=classes),
        "chosen_counts": distilled.counts,
    }  # fmt: skip
