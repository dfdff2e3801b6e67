"""One replicate: pool, validation and test set drawn anew, with the stress a suite asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.store import Store
from coreset.trainers.bench.suite import Protocol
from coreset.trainers.data.base import ImageData
from coreset.trainers.tasks.self_supervised import SelfSupervised

SPLIT, STRESS, START, TRAINING, STRATEGY, PROXY = range(6)  # random streams, one each
JITTER = 0.02  # of a near-duplicate, relative to the spread of the features


def stream(protocol: Protocol, which: int, *numbers: int) -> np.random.Generator:
    """Return the generator of one random stream of a replicate."""
    return np.random.default_rng([protocol.seed, which, *numbers])


@dataclass(frozen=True, eq=False)
class PoolTaught:
    """Features that a pool teaches: of every replicate's pool anew, so that no network has seen an
    image it is tested on. images (N, H, W, C): of the whole data set; store: the folder that keeps
    networks and features, by the content of the pool.
    """

    embedding: SelfSupervised
    images: NDArray[np.uint8]
    name: str
    store: Path

    def features(
        self, pool: NDArray[np.int64], others: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the features of a pool and of other rows, by a network that only the pool taught."""
        unknown = np.full(len(pool), -1)
        view = ImageData(
            self.name, self.images[pool], unknown, self.images[others],
            np.zeros(len(others), np.int64), ("no", "label"),
        )  # fmt: skip
        store = Store(self.store)
        return self.embedding(view, store), self.embedding.test(view, store)


@dataclass(frozen=True, eq=False)
class Table:
    """Features, labels (N,), class names and ids of a whole data set, test included. features:
    frozen (N, D), or what each pool teaches.
    """

    name: str
    features: NDArray[Any] | PoolTaught
    labels: NDArray[np.int64]
    classes: Sequence[str]
    ids: NDArray[Any]


@dataclass(frozen=True, eq=False)
class Replicate:
    """What all rows of one replicate share.

    features (n, D) of pool and validation set, candidates: mask (n,) of the pool; labels (n,) as an
    annotator gives them, -1 for an image of a class that nobody asked for, truth (n,) before label
    noise; test_features, test_labels; ids (n,);
    source (n,): where a row came from (another than itself only for a near-duplicate).
    """

    number: int
    features: NDArray[np.float32]
    candidates: NDArray[np.bool_]
    labels: NDArray[np.int64]
    truth: NDArray[np.int64]
    test_features: NDArray[np.float32]
    test_labels: NDArray[np.int64]
    ids: NDArray[Any]
    start: NDArray[np.int64]


def amount(value: float, size: int) -> int:
    """Return a number of examples: below 1 a share of `size`, else itself."""
    return int(value * size) if value < 1 else int(value)


def long_tail(
    order: NDArray[np.int64], labels: NDArray[np.int64], ratio: float, size: int
) -> NDArray[np.int64]:
    """Return at most `size` positions of `order`, class c of K with a share that falls as
    ratio ** (-c / (K - 1)) (Cui et al., CVPR 2019, arXiv:1901.05555), at least one of each.
    """
    classes = np.unique(labels[order])
    share = ratio ** (-np.arange(len(classes)) / max(1, len(classes) - 1))
    most = min(
        size / share.sum(),
        *(float((labels[order] == c).sum()) / s for c, s in zip(classes, share, strict=True)),
    )
    parts = [
        order[labels[order] == c][: max(1, round(most * s))]
        for c, s in zip(classes, share, strict=True)
    ]
    return np.concatenate(parts)


def replicate(table: Table, protocol: Protocol, number: int) -> Replicate:
    """Return replicate `number` of a data set: everything but test_features before any head reads
    it. Raises ValueError when the data are too few.
    """
    size = len(table.labels)
    test, pool = amount(protocol.test, size), amount(protocol.pool, size)
    validation = amount(protocol.validation, size)
    if test + validation + protocol.budgets[-1] >= size:
        raise ValueError(
            f"test, validation: {test} and {validation} of {size} examples leave none for a pool of"
            f" at least {protocol.budgets[-1] + 1}"
        )
    rng = stream(protocol, SPLIT, number)
    order = rng.permutation(size)
    held, tested, rest = np.split(order, [validation, validation + test])
    rng = stream(protocol, STRESS, number)
    outside = np.empty(0, np.int64)
    if protocol.outside:
        classes = np.unique(table.labels)
        left_out = max(1, round(protocol.outside * len(classes)))
        outside = rng.permutation(classes)[:left_out]
        held, tested = (part[~np.isin(table.labels[part], outside)] for part in (held, tested))
    if protocol.imbalance > 1:
        rest = long_tail(rest, table.labels, protocol.imbalance, pool)
    pool = min(pool, len(rest))
    if pool <= protocol.budgets[-1]:
        raise ValueError(f"budgets: {protocol.budgets[-1]} labels but a pool of {pool} examples")
    rows = np.sort(rest[:pool]) if protocol.imbalance == 1 else np.sort(rest)
    held, tested = np.sort(held), np.sort(tested)
    if isinstance(table.features, PoolTaught):
        own, other = table.features.features(rows, np.concatenate([held, tested]))
        features, held_features = np.array(own), other[: len(held)]
        test_features = np.asarray(other[len(held) :])
    else:
        features, held_features, test_features = (
            np.asarray(table.features[part], np.float32) for part in (rows, held, tested)
        )
    truth = table.labels[rows].copy()
    ids = table.ids[rows]
    copies = int(protocol.duplicates * len(rows))
    if copies:
        place = rng.permutation(len(rows))
        of = rng.choice(place[copies:], copies)
        noise = rng.normal(size=(copies, features.shape[1])) * features.std(axis=0) * JITTER
        features[place[:copies]] = features[of] + noise
        truth[place[:copies]] = truth[of]
        names = [str(i) for i in ids]
        for a, b in zip(of, place[:copies], strict=True):
            names[b] = f"{ids[a]}~{ids[b]}"
        ids = np.array(names)
    labels = truth.copy()
    wrong = rng.permutation(len(rows))[: int(protocol.noise * len(rows))]
    shift = rng.integers(1, len(table.classes), len(wrong))
    labels[wrong] = (labels[wrong] + shift) % len(table.classes)
    unasked = np.isin(truth, outside)
    labels[unasked] = truth[unasked] = -1
    features = np.concatenate([features, held_features])
    candidates = np.arange(len(features)) < len(rows)
    first = stream(protocol, START, number).permutation(len(rows))[: protocol.budgets[0]]
    return Replicate(
        number,
        features,
        candidates,
        np.concatenate([labels, table.labels[held]]),
        np.concatenate([truth, table.labels[held]]),
        test_features,
        table.labels[tested],
        np.concatenate([ids, table.ids[held].astype(ids.dtype)]),
        first,
    )
