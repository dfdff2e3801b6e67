"""What a distilled set is worth: it and real images at the same budget, with hard and soft labels,
with and without augmentation, on several networks.

Protocol: a part of the pool is held out first; everything is made from the rest; the learning rate
of each cell is the one that is best on the part held out, with one network; then several fresh
networks are trained to the last epoch and tested once. No test image decides anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from coreset.core.store import Store
from coreset.distillation import Source, Synthetic, Teacher
from coreset.distillation.scores import augmentation_robust, label_robust
from coreset.distillation.soft import fixed_labels
from coreset.numerics.random import keyed_order
from coreset.trainers.data.base import ImageData
from coreset.trainers.distillation.round import fit_distilled, source_of
from coreset.trainers.distillation.teacher import Teachers
from coreset.trainers.learners.fit import Fitter, ModelFactory, TrainingConfig

Make = Callable[[Source, int, np.random.Generator], Synthetic]
LABELS, AUGMENT = ("hard", "soft"), (False, True)
RANDOM = "random"


@dataclass(frozen=True)
class Plan:
    """How the cells of the grid are filled. sets, nets: made sets, and networks on each. rates:
    learning rates to choose from. held_out: share of the pool for that choice.
    """

    sets: int = 2
    nets: int = 2
    rates: Sequence[float] = (0.001, 0.003, 0.01)
    held_out: float = 0.1
    temperature: float = 4.0

    def __post_init__(self) -> None:
        if self.sets < 1 or self.nets < 1 or not self.rates or not 0 < self.held_out < 1:
            raise ValueError(
                "sets, nets, rates, held_out: expected at least 1, 1, one rate and a share between"
                f" 0 and 1, got {self.sets}, {self.nets}, {list(self.rates)}, {self.held_out}"
            )


def split(data: ImageData, share: float, seed: int) -> tuple[ImageData, ImageData]:
    """Return the pool without a random part of it, and the same with that part as its test set."""
    order = keyed_order(np.random.default_rng(seed), data.ids)
    count = max(1, round(share * len(order)))
    held, rest = np.sort(order[:count]), np.sort(order[count:])
    less = replace(
        data, images=data.images[rest], labels=data.labels[rest], ids=data.ids[rest], content=""
    )
    return less, replace(less, test_images=data.images[held], test_labels=data.labels[held])


def grid(
    data: ImageData,
    methods: Mapping[str, Make],
    budgets: Sequence[int],
    models: Mapping[str, ModelFactory],
    recipe: TrainingConfig,
    teaching: TrainingConfig,
    folder: Path,
    plan: Plan | None = None,
    seed: int = 0,
    log: Callable[[str], None] = lambda text: None,
    device: str = "cpu",
) -> list[dict[str, Any]]:
    """Return one entry per method, images per class, labels, augmentation and network: `accuracy`
    of every set and network, `rate` of every set.

    methods: {name: make(source, images per class, rng) -> Synthetic with hard labels}; `random`
    must be among them. models: {name: factory}; the first one teaches, and it alone is trained in
    all four ways; the others see hard labels without augmentation, which is the cross-architecture
    grid. recipe: of every cell but for lr and augment; teaching: of the teacher and of the full
    data. The entries of `full` are all data. device: `cpu` or `cuda`, of all of it.
    """
    plan = plan or Plan()
    if RANDOM not in methods:
        raise ValueError(
            "methods: random images are the baseline of every score and must be among them, got"
            f" {', '.join(methods)}"
        )
    less, judge = split(data, plan.held_out, seed)
    first = next(iter(models))
    place = torch.device(device)
    trainer = {"accelerator": "cpu" if device == "cpu" else "gpu"}
    fitters = {
        name: (Fitter(less, m, trainer), Fitter(judge, m, trainer)) for name, m in models.items()
    }
    teachers = Teachers(fitters[first][0], teaching, Store(folder), seed, first, place, less.labels)
    source = source_of(less, less.labels, place, teachers)
    teacher = teachers()
    entries: dict[tuple[Any, ...], dict[str, Any]] = {}
    for number in range(plan.sets):
        for name, make in methods.items():
            for ipc in budgets:
                distilled = make(source, ipc, np.random.default_rng([seed, number]))
                log(f"{name}, {ipc} per class, set {number + 1}")
                for model, labels, augment in _cells(models, first):
                    seen = (
                        distilled
                        if labels == "hard"
                        else fixed_labels(distilled, teacher, place, temperature=plan.temperature)
                    )
                    own = replace(recipe, augment=augment)
                    rate = _best_rate(fitters[model][1], own, seen, plan.rates, (seed, number))
                    cell = {
                        "method": name,
                        "ipc": ipc,
                        "labels": labels,
                        "augment": augment,
                        "model": model,
                    }
                    entry = entries.setdefault(
                        tuple(cell.values()),
                        {**cell, "accuracy": [], "rate": [], **distilled.budget},
                    )
                    entry["rate"].append(rate)
                    for net in range(plan.nets):
                        fitted = fit_distilled(
                            fitters[model][0], replace(own, lr=rate), seen, (seed, number, net + 1)
                        )
                        entry["accuracy"].append(fitted.accuracy)
    return [*entries.values(), _full(fitters[first][0], teaching, teacher, seed)]


def _cells(models: Mapping[str, Any], first: str) -> list[tuple[str, str, bool]]:
    return [(first, labels, augment) for labels in LABELS for augment in AUGMENT] + [
        (m, "hard", False) for m in models if m != first
    ]


def _best_rate(
    judge: Fitter,
    recipe: TrainingConfig,
    distilled: Synthetic,
    rates: Sequence[float],
    seed: tuple[int, ...],
) -> float:
    if len(rates) == 1:
        return rates[0]
    accuracies = [
        fit_distilled(judge, replace(recipe, lr=r), distilled, (*seed, 0)).accuracy for r in rates
    ]
    return rates[int(np.argmax(accuracies))]


def _full(fitter: Fitter, recipe: TrainingConfig, teacher: Teacher, seed: int) -> dict[str, Any]:
    everything = np.arange(len(fitter.data.labels))
    plain = fitter.fit(
        replace(recipe, augment=False), fitter.data.labels, everything, seed=(seed, 9)
    ).accuracy
    return {
        "method": "full",
        "ipc": None,
        "labels": "hard",
        "augment": False,
        "model": "",
        "accuracy": [plain],
        "teacher": teacher.accuracy,
    }


def scores(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the label-robust and the augmentation-robust score of every method and budget, from
    the means over sets and networks of the first network.

    Any labels: the better of hard and soft, for the method and for random images alike.

    >>> cells = [
    ...     ("m", "hard", False, 0.6),
    ...     ("m", "hard", True, 0.6),
    ...     ("m", "soft", False, 0.7),
    ...     ("m", "soft", True, 0.7),
    ... ]
    >>> cells += [("random", *c[1:3], 0.6) for c in cells]
    >>> rows = [
    ...     dict(
    ...         zip(("method", "labels", "augment", "accuracy"), (*c[:3], [c[3]])), ipc=1, model="a"
    ...     )
    ...     for c in cells
    ... ]
    >>> full = {
    ...     "method": "full",
    ...     "ipc": None,
    ...     "labels": "hard",
    ...     "augment": False,
    ...     "model": "",
    ...     "accuracy": [0.9],
    ... }
    >>> [round(r["label_robust"], 4) for r in scores([*rows, full]) if r["method"] == "m"]
    [0.2285]
    """
    mean = {
        (e["method"], e["ipc"], e["labels"], e["augment"], e["model"]): float(
            np.mean(e["accuracy"])
        )
        for e in entries
    }
    first = next(e["model"] for e in entries if e["method"] != "full")
    full = mean["full", None, "hard", False, ""]
    out = []
    for method, ipc in dict.fromkeys(
        (e["method"], e["ipc"]) for e in entries if e["method"] != "full"
    ):

        def at(name: str, labels: str, augment: bool, ipc: int | None = ipc) -> float:
            return mean[name, ipc, labels, augment, first]

        best = {
            name: max(at(name, labels, False) for labels in LABELS) for name in (method, RANDOM)
        }
        out.append({
            "method": method, "ipc": ipc,
            "label_robust": label_robust(full, at(method, "hard", False), best[method],
                                         best[RANDOM]),
            "augmentation_robust": augmentation_robust(
                at(method, "hard", True), at(RANDOM, "hard", True), at(method, "hard", False),
                at(RANDOM, "hard", False)
            ),
        })  # fmt: skip
    return out


def table(entries: Sequence[Mapping[str, Any]]) -> str:
    """Return the grid in Markdown: accuracy in per cent, mean and standard deviation over sets and
    networks.
    """
    models = list(dict.fromkeys(e["model"] for e in entries if e["method"] != "full"))
    first, others = models[0], models[1:]
    columns = [(first, labels, augment) for labels in LABELS for augment in AUGMENT] + [
        (m, "hard", False) for m in others
    ]
    heads = [
        f"{labels}{', augmented' if augment else ''}" + (f" ({model})" if model != first else "")
        for model, labels, augment in columns
    ]
    by = {
        (e["method"], e["ipc"], e["model"], e["labels"], e["augment"]): e["accuracy"]
        for e in entries
    }
    robust = {(s["method"], s["ipc"]): s for s in scores(entries)}
    lines = [
        "| images per class | method | "
        + " | ".join(heads)
        + " | label-robust | augmentation-robust |",
        "|---" * (len(heads) + 4) + "|",
    ]
    for method, ipc in sorted(robust, key=lambda k: k[1]):
        cells = [
            f"{100 * np.mean(a):.1f} ± {100 * np.std(a):.1f}"
            for a in (by[method, ipc, *c] for c in columns)
        ]
        own = robust[method, ipc]
        lines.append(
            f"| {ipc} | {method} | "
            + " | ".join(cells)
            + f" | {own['label_robust']:.3f} | {own['augmentation_robust']:.3f} |"
        )
    return "\n".join(lines) + "\n"
