"""Heads on frozen features: linear, MLP and nearest neighbors, each tuned on labeled data alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from coreset.numerics.softmax_regression import (
    ABSENT,
    Directions,
    LinearModel,
    directions,
    fit_softmax,
    held_out_loss,
)

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


class FittedHead(Protocol):
    """A head after training: logits of features, and its arrays."""

    def logits(self, x: NDArray[Any]) -> Floats:
        """Return (n, C) float64 for features x (n, D)."""
        ...


class Head(Protocol):
    """A kind of head: its settings; `fit` trains one, `restore` makes one of saved arrays."""

    def fit(
        self, x: Floats, y: Labels, classes: int, weights: Floats, rng: np.random.Generator
    ) -> tuple[FittedHead, dict[str, Any]]:
        """Return the head fitted to x (n, D), y (n,), weights (n,), and what the ledger says."""
        ...

    def refit(
        self,
        x: Floats,
        y: Labels,
        classes: int,
        weights: Floats,
        info: Mapping[str, Any],
        seed: int,
    ) -> FittedHead:
        """Return a head with the settings that `fit` chose, written in its `info`."""
        ...

    def state(self, fitted: Any) -> dict[str, NDArray[Any]]:
        """Return the arrays of a fitted head."""
        ...

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> FittedHead:
        """Return the fitted head of such arrays."""
        ...


def stratified_folds(y: Labels, folds: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the fold (n,) of each example: classes are dealt out one after the other, so that
    every fold has its share of each, and folds differ by one example at most.

    >>> stratified_folds(np.array([0, 0, 1, 1]), 2, np.random.default_rng(0)).tolist()[:2] in (
    ...     [0, 1],
    ...     [1, 0],
    ... )
    True
    """
    order = rng.permutation(len(y))
    order = order[np.argsort(y[order], kind="stable")]
    out = np.empty(len(y), np.int64)
    out[order] = np.arange(len(y)) % folds
    return out


def cross_validated(
    fit: Callable[[NDArray[np.bool_], float], Floats],
    grid: Sequence[float],
    start: float,
    y: Labels,
    weights: Floats,
    fold: NDArray[np.int64],
    least: int,
) -> tuple[float, dict[str, float]]:
    """Return the value of `grid` with the lowest held-out cross-entropy, and the losses by value.

    fit(train, value): logits (n, C) of all examples by a head trained on the mask `train`. The
    search goes down or up from `start` as long as the loss falls. A held-out example counts where
    the training part has its class; with fewer than `least` of those, `start` stays.
    """
    kept, counted = [], 0
    for number in range(int(fold.max()) + 1):
        train = fold != number
        shown = np.zeros(int(y.max()) + 1, bool)
        shown[y[train]] = True
        held = ~train & shown[y]
        kept.append((train, held))
        counted += int(held.sum())
    if counted < least:
        return start, {}
    losses: dict[float, float] = {}

    def loss(value: float) -> float:
        if value not in losses:
            total = norm = 0.0
            for train, held in kept:
                if held.any():
                    logits = fit(train, value)
                    total += float(weights[held] @ held_out_loss(logits[held], y[held]))
                    norm += float(weights[held].sum())
            losses[value] = total / norm if norm else 0.0
        return losses[value]

    values = sorted(grid)
    best = values.index(start)
    for step in (-1, 1):
        while 0 <= best + step < len(values) and loss(values[best + step]) < loss(values[best]):
            best += step
    return values[best], {f"{v:g}": losses[v] for v in sorted(losses)}


@dataclass(frozen=True)
class Linear:
    """Multinomial logistic regression: c * sum of cross-entropies + |W|^2 / 2, bias free.

    grid: values of c that `folds`-fold cross-validation on the labeled examples compares by
    cross-entropy; start: where the search begins, and c while fewer than `least` held-out examples
    have their class in the other folds. most: cross-validation looks at as many examples at most,
    drawn at random.
    """

    grid: Sequence[float] = (0.1, 1.0, 10.0, 100.0, 1000.0)
    start: float = 100.0
    folds: int = 5
    least: int = 20
    most: int = 2000

    def __post_init__(self) -> None:
        check_grid("grid", self.grid, self.start, self.folds, self.least)
        if self.most < 2:
            raise ValueError(f"most: expected at least 2 examples, got {self.most}")

    def fit(
        self, x: Floats, y: Labels, classes: int, weights: Floats, rng: np.random.Generator
    ) -> tuple[LinearModel, dict[str, Any]]:
        """Choose c, then fit to everything."""
        whole = directions(x, weights)
        z = whole.scores  # the same head in no more dimensions than examples
        every = (z, y, weights)
        if len(y) > self.most:
            some = rng.permutation(len(y))[: self.most]
            z, y, weights = z[some], y[some], weights[some]
        fold = stratified_folds(y, min(self.folds, len(y)), rng)
        parts: dict[bytes, Directions] = {}  # by fold: the same at every c

        def logits(train: NDArray[np.bool_], c: float) -> Floats:
            w, key = weights[train], train.tobytes()
            along = parts.get(key) or directions(z[train], w)
            parts[key] = along
            return fit_softmax(z[train], y[train], classes, c, w, 1e-4, along).logits(z)

        c, losses = cross_validated(logits, self.grid, self.start, y, weights, fold, self.least)
        model = fit_softmax(x, every[1], classes, c, every[2], along=whole)
        return model, {"c": c, "cross_entropy": losses}

    def refit(
        self,
        x: Floats,
        y: Labels,
        classes: int,
        weights: Floats,
        info: Mapping[str, Any],
        seed: int,
    ) -> LinearModel:
        """Fit with the c that was chosen."""
        return fit_softmax(x, y, classes, float(info["c"]), weights, 1e-4)

    def state(self, fitted: LinearModel) -> dict[str, NDArray[Any]]:
        """Return weight and bias."""
        return {"weight": fitted.weight, "bias": fitted.bias}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> LinearModel:
        """Return the model of these arrays."""
        return LinearModel(arrays["weight"], arrays["bias"])


@dataclass(frozen=True, eq=False)
class NeighborModel:
    """Votes of the k nearest labeled examples x (m, D), y (m,), weights (m,); p = (votes of the
    class + share of the class) / (all votes + 1).
    """

    x: Floats
    y: Labels
    weights: Floats
    k: int
    classes: int

    def logits(self, x: NDArray[Any], skip: bool = False) -> Floats:
        """Return log p (n, C) of x (n, D); skip: x are the labeled examples, each without its own
        vote.
        """
        out = np.empty((len(x), self.classes))
        prior = np.bincount(self.y, self.weights, self.classes) / self.weights.sum()
        square = (self.x**2).sum(axis=1)
        k = min(self.k, len(self.x) - skip)
        for start in range(0, len(x), 2048):
            part = np.asarray(x[start : start + 2048], np.float64)
            gap = square - 2 * (part @ self.x.T)
            if skip:
                gap[np.arange(len(part)), start + np.arange(len(part))] = np.inf
            near = np.argsort(gap, axis=1, kind="stable")[:, :k]
            votes = np.zeros((len(part), self.classes))
            at = np.arange(len(part))
            for column in range(k):
                np.add.at(votes, (at, self.y[near[:, column]]), self.weights[near[:, column]])
            p = (votes + prior) / (votes.sum(axis=1, keepdims=True) + 1)
            floor = np.exp(-ABSENT)
            out[start : start + len(part)] = np.log(np.maximum(p, floor))
        return out


@dataclass(frozen=True)
class Neighbors:
    """k nearest neighbors; k of `grid` by leave-one-out cross-entropy on the labeled examples."""

    grid: Sequence[int] = (1, 3, 5, 10, 20, 50)
    start: int = 1
    least: int = 20

    def __post_init__(self) -> None:
        check_grid("grid", self.grid, self.start, 2, self.least)

    def fit(
        self, x: Floats, y: Labels, classes: int, weights: Floats, rng: np.random.Generator
    ) -> tuple[NeighborModel, dict[str, Any]]:
        """Choose k, keep the examples."""
        counts = np.bincount(y, minlength=classes)
        k, losses = self.start, {}
        if (counts[y] > 1).sum() >= self.least:
            held = counts[y] > 1
            for value in sorted(self.grid):
                model = NeighborModel(x, y, weights, value, classes)
                each = held_out_loss(model.logits(x, skip=True), y)
                losses[value] = float(np.average(each[held], weights=weights[held]))
            k = min(losses, key=lambda v: (losses[v], v))
        info = {"k": k, "cross_entropy": {str(v): loss for v, loss in losses.items()}}
        return NeighborModel(x, y, weights, k, classes), info

    def refit(
        self,
        x: Floats,
        y: Labels,
        classes: int,
        weights: Floats,
        info: Mapping[str, Any],
        seed: int,
    ) -> NeighborModel:
        """Keep the examples with the k that was chosen."""
        kept = weights > 0
        return NeighborModel(x[kept], y[kept], weights[kept], int(info["k"]), classes)

    def state(self, fitted: NeighborModel) -> dict[str, NDArray[Any]]:
        """Return the examples, k and the number of classes."""
        sizes = np.array([fitted.k, fitted.classes])
        return {"x": fitted.x, "y": fitted.y, "weights": fitted.weights, "sizes": sizes}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> NeighborModel:
        """Return the model of these arrays."""
        k, classes = (int(v) for v in arrays["sizes"])
        return NeighborModel(arrays["x"], arrays["y"], arrays["weights"], k, classes)


@dataclass(frozen=True, eq=False)
class MlpModel:
    """One hidden layer of ReLU: x @ w0 + b0, ReLU, @ w1 + b1 for the classes that had examples."""

    layers: tuple[Floats, Floats, Floats, Floats]
    present: NDArray[np.bool_]

    def logits(self, x: NDArray[Any]) -> Floats:
        """Return (n, C) float64 for x (n, D)."""
        w0, b0, w1, b1 = self.layers
        known = np.maximum(np.asarray(x, np.float64) @ w0 + b0, 0) @ w1 + b1
        z = np.empty((len(x), len(self.present)))
        z[:, self.present] = known
        z[:, ~self.present] = known.min(axis=1, keepdims=True) - ABSENT
        return z


@dataclass(frozen=True)
class Mlp:
    """One hidden layer of `width` units, trained by scikit-learn's L-BFGS; the squared penalty
    alpha of `grid` by cross-validation as in `Linear`.
    """

    width: int = 128
    grid: Sequence[float] = (0.001, 0.01, 0.1, 1.0)
    start: float = 0.01
    folds: int = 3
    least: int = 20
    steps: int = 200

    def __post_init__(self) -> None:
        check_grid("grid", self.grid, self.start, self.folds, self.least)
        if self.width < 1 or self.steps < 1:
            raise ValueError(
                f"width, steps: expected at least 1, got {self.width} and {self.steps}"
            )

    def fit(
        self, x: Floats, y: Labels, classes: int, weights: Floats, rng: np.random.Generator
    ) -> tuple[MlpModel, dict[str, Any]]:
        """Choose alpha, then fit to everything."""
        seed = int(rng.integers(2**31))
        fold = stratified_folds(y, min(self.folds, len(y)), rng)
        train = partial(self._train, classes=classes, seed=seed)
        alpha, losses = cross_validated(
            lambda part, a: train(x[part], y[part], weights=weights[part], alpha=a).logits(x),
            self.grid,
            self.start,
            y,
            weights,
            fold,
            self.least,
        )
        info = {"alpha": alpha, "cross_entropy": losses}
        return train(x, y, weights=weights, alpha=alpha), info

    def refit(
        self,
        x: Floats,
        y: Labels,
        classes: int,
        weights: Floats,
        info: Mapping[str, Any],
        seed: int,
    ) -> MlpModel:
        """Fit with the alpha that was chosen."""
        return self._train(x, y, classes=classes, weights=weights, alpha=info["alpha"], seed=seed)

    def _train(
        self, x: Floats, y: Labels, *, classes: int, weights: Floats, alpha: float, seed: int
    ) -> MlpModel:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier

        kept = weights > 0
        x, y, weights = x[kept], y[kept], weights[kept]
        present = np.bincount(y, minlength=classes) > 0
        if present.sum() == 1:
            flat = np.zeros((x.shape[1], 1))
            return MlpModel((flat, np.zeros(1), np.zeros((1, 1)), np.zeros(1)), present)
        net = MLPClassifier(
            (self.width,), solver="lbfgs", alpha=alpha, max_iter=self.steps, random_state=seed
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            net.fit(x, y, sample_weight=weights)
        w1, b1 = net.coefs_[1], net.intercepts_[1]
        if present.sum() == 2:  # one output: the log-odds of the second class
            w1, b1 = np.hstack([0 * w1, w1]), np.array([0.0, b1[0]])
        return MlpModel((net.coefs_[0], net.intercepts_[0], w1, b1), present)

    def state(self, fitted: MlpModel) -> dict[str, NDArray[Any]]:
        """Return the four arrays and the classes that had examples."""
        named = dict(zip(("w0", "b0", "w1", "b1"), fitted.layers, strict=True))
        return {**named, "present": fitted.present.astype(np.uint8)}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> MlpModel:
        """Return the model of these arrays."""
        layers = (arrays["w0"], arrays["b0"], arrays["w1"], arrays["b1"])
        return MlpModel(layers, arrays["present"].astype(bool))


def check_grid(name: str, grid: Sequence[float], start: float, folds: int, least: int) -> None:
    """Raise ValueError for a grid that is empty, not positive or without `start`."""
    if not len(grid) or min(grid) <= 0 or start not in list(grid):
        raise ValueError(
            f"{name}: expected positive values, start={start} among them, got {list(grid)}"
        )
    if folds < 2 or least < 0:
        raise ValueError(
            f"expected folds of at least 2 and least of at least 0, got {folds}, {least}"
        )


HEADS: dict[str, type] = {"linear": Linear, "mlp": Mlp, "knn": Neighbors}
