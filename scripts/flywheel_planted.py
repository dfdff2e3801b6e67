"""The planted test of the flywheel on Fashion-MNIST.

python scripts/flywheel_planted.py [case ...]

Cases: `planted` (95 % of a class pair hidden, a camera rotated, another blurred, 5 % of labels
flipped), `nothing` (no plant), `leak` (copies of test images among the training examples),
`poisoned` (the oracle flips labels), `harm` (a batch that helps one slice and harms another), and
`other` (another class, another camera inverted, 10 % flipped). Writes results/flywheel/<case>.json,
results/flywheel/table.md and, for `planted`, the flywheel's page.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from coreset.core.cache import cache_dir
from coreset.core.store import Store
from coreset.flywheel import FlywheelData
from coreset.trainers.data.base import ImageData
from coreset.trainers.data.sources import FASHION_CLASSES, fashion_mnist
from coreset.trainers.learners.probe import ProbeLearner
from coreset.trainers.tasks.features import Pretrained

OUT = Path("results/flywheel")
SIZES = {"train": 3000, "pool": 8000, "dev": 3000, "test": 5000, "canary": 300}
CAMERAS = 10
TURNS = 6


@dataclass(frozen=True)
class Plant:
    """What is wrong with the start set. hidden: classes of which `hide` is left out of it, and that
    have `rare` of production each; cameras: number to what it does to its pictures, left out of the
    start set alike; flips: share of its labels that are wrong; leaked: copies of test examples.
    """

    hidden: tuple[int, ...] = ()
    cameras: dict[int, str] = field(default_factory=dict)
    flips: float = 0.0
    leaked: int = 0
    hide: float = 0.95
    rare: float = 0.05

    def names(self, classes: tuple[str, ...]) -> set[str]:
        """Return the slices that ought to be named."""
        return {f"class={classes[c]}" for c in self.hidden} | {f"camera=c{n}" for n in self.cameras}


PLANTS = {
    "planted": Plant((2, 4), {3: "rotate", 5: "blur"}, 0.05),
    "nothing": Plant(),
    "leak": Plant(leaked=25),
    "poisoned": Plant((2, 4), {3: "rotate"}),
    "harm": Plant((2, 4), {3: "rotate"}),
    "other": Plant((5,), {7: "invert"}, 0.10),
}


def picture(images: NDArray[np.uint8], how: str) -> NDArray[np.uint8]:
    """Return pictures (n, 28, 28, 1) as a faulty camera gives them."""
    if how == "rotate":
        return np.rot90(images, axes=(1, 2)).copy()
    if how == "blur":
        return gaussian_filter(images.astype(np.float32), (0, 2.0, 2.0, 0)).astype(np.uint8)  # type: ignore[no-any-return]
    if how == "invert":
        return 255 - images
    raise ValueError(f"camera: expected rotate, blur or invert, got {how!r}")


def world(plant: Plant, seed: int) -> tuple[FlywheelData, NDArray[np.int64], NDArray[np.bool_]]:
    """Return the data of a flywheel, the true labels and which labels were flipped."""
    source = fashion_mnist()
    rng = np.random.default_rng([seed, 1])
    images = np.concatenate([source.images, source.test_images])
    truth = np.concatenate([source.labels, source.test_labels])
    left = list(rng.permutation(len(truth)))
    by_class = {c: [i for i in left if truth[i] == c] for c in range(10)}
    chances = np.full(CAMERAS, 1.0)
    chances[list(plant.cameras)] = plant.rare * CAMERAS / 2
    chances /= chances.sum()
    rows, roles, cameras = [], [], []
    for role, size in SIZES.items():
        prior = np.full(10, 1.0)
        prior[list(plant.hidden)] = plant.rare * 10
        prior /= prior.sum()
        here = chances.copy()
        if role == "train":
            prior[list(plant.hidden)] *= 1 - plant.hide
            here[list(plant.cameras)] *= 1 - plant.hide
        classes = rng.choice(10, size, p=prior / prior.sum())
        rows += [by_class[c].pop() for c in classes]
        roles += [role] * size
        cameras += rng.choice(CAMERAS, size, p=here / here.sum()).tolist()
    at, role = np.array(rows), np.array(roles)  # type: ignore[assignment]
    shown, labels, camera = images[at].copy(), truth[at].astype(np.int64), np.array(cameras)
    for number, how in plant.cameras.items():
        shown[camera == number] = picture(shown[camera == number], how)
    if plant.leaked:
        to, source_rows = np.flatnonzero(role == "train"), np.flatnonzero(role == "test")
        to = to[: plant.leaked]
        noise = rng.integers(-2, 3, shown[to].shape)
        copies = shown[source_rows[: plant.leaked]].astype(np.int64) + noise
        shown[to] = np.clip(copies, 0, 255).astype(np.uint8)
        labels[to] = labels[source_rows[: plant.leaked]]
    given = labels.copy()
    flipped = np.zeros(len(at), bool)
    train = np.flatnonzero(role == "train")
    wrong = rng.choice(train, round(plant.flips * len(train)), replace=False)
    given[wrong] = (given[wrong] + rng.integers(1, 10, len(wrong))) % 10
    flipped[wrong] = True
    given[role == "pool"] = -1
    data = FlywheelData(
        np.array([f"x{i:05d}" for i in at]),
        given,
        role,  # type: ignore[arg-type]
        features_of(shown),
        source.classes,
        {"camera": np.array([f"c{n}" for n in camera])},
        pictures=shown,
    )
    return data, labels, flipped


def features_of(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return frozen features (n, 1280): EfficientNet-Lite0 at 56 pixels, computed once."""
    none = np.full(len(images), -1, np.int64)
    holder = ImageData("planted", images, none, images[:1], none[:1] + 1, FASHION_CLASSES)
    store = Store(cache_dir() / "flywheel")
    return np.array(Pretrained(size=56, precision=32)(holder, store))


def learner_of(data: FlywheelData) -> ProbeLearner:
    """Return a linear head on the frozen features of all examples."""
    test = data.at("test")
    return ProbeLearner(
        data.features, data.features[test], data.labels[test], data.classes, ids=data.ids
    )
