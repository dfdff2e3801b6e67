"""How wrong a model is on one example: 0 or 1 for classes, a loss where that is what counts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from coreset.flywheel.statistics import paired_gain

Values = NDArray[np.float64]
Columns = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Subset:
    """Frozen examples that are judged together. rows (m,): their places among the frozen ones;
    everyone (n,): those of their whole part, the test set; classes: that a slice is about, none
    where it is about more than classes.
    """

    rows: NDArray[np.int64]
    everyone: NDArray[np.int64]
    classes: tuple[int, ...] = ()


@runtime_checkable
class Measure(Protocol):
    """Error of single examples, from what `Learner.signals` gives; 0 is best."""

    @property
    def word(self) -> str:
        """What the error is, in a word or two, for tables: `error`, `loss`."""

    @property
    def percent(self) -> bool:
        """Whether errors are shares, which are written in per cent and their gains in points."""

    @property
    def needs(self) -> frozenset[str]:
        """Names of the signals that are read."""

    def errors(self, columns: Mapping[str, Any], labels: NDArray[np.int64]) -> Values:
        """Return the error (n,) of every example."""

    def predicted(self, columns: Mapping[str, Any]) -> NDArray[np.int64] | None:
        """Return the predicted class (n,), or None where there is none."""

    def calibration(self, columns: Mapping[str, Any], labels: NDArray[np.int64]) -> float | None:
        """Return how far confidences are off, 0 is best, or None where there are none."""

    def of_set(self, columns: Columns, labels: NDArray[np.int64], subset: Subset) -> float:
        """Return the error of a set of examples: what versions are compared by."""

    def gain(
        self,
        before: Sequence[Columns],
        after: Sequence[Columns],
        labels: NDArray[np.int64],
        subset: Subset,
        alpha: float,
    ) -> tuple[float, float, float]:
        """Return by how much the error of a set falls from one arm to another, one mapping of
        columns a seed, with a two-sided interval of 1 - alpha over examples and seeds.
        """


class PerExample(ABC):
    """A measure whose error of a set is the mean of the examples' errors."""

    @abstractmethod
    def errors(self, columns: Columns, labels: NDArray[np.int64]) -> Values:
        """Return the error (n,) of every example."""

    def of_set(self, columns: Columns, labels: NDArray[np.int64], subset: Subset) -> float:
        """Return the mean error."""
        return float(self.errors(columns, labels)[subset.rows].mean())

    def gain(
        self,
        before: Sequence[Columns],
        after: Sequence[Columns],
        labels: NDArray[np.int64],
        subset: Subset,
        alpha: float,
    ) -> tuple[float, float, float]:
        """Return the gain and the interval of `coreset.flywheel.statistics.paired_gain`."""
        old, new = (
            np.stack([self.errors(c, labels)[subset.rows] for c in arm]) for arm in (before, after)
        )
        return paired_gain(old, new, alpha)


@dataclass(frozen=True)
class Wrong(PerExample):
    """1 where the most probable class is not the label, else 0; reads `probs` (n, C)."""

    word = "error"
    percent = True
    needs = frozenset({"probs"})

    def errors(self, columns: Mapping[str, Any], labels: NDArray[np.int64]) -> Values:
        """Return the 0/1 errors.

        >>> Wrong().errors({"probs": np.array([[0.9, 0.1], [0.2, 0.8]])}, np.array([0, 0]))
        array([0., 1.])
        """
        return np.asarray(np.argmax(columns["probs"], axis=1) != labels, np.float64)

    def predicted(self, columns: Mapping[str, Any]) -> NDArray[np.int64] | None:
        """Return the most probable class."""
        return np.asarray(np.argmax(columns["probs"], axis=1), np.int64)

    def calibration(self, columns: Mapping[str, Any], labels: NDArray[np.int64]) -> float | None:
        """Return the expected calibration error over 15 bins of equal width (Guo et al., "On
        Calibration of Modern Neural Networks", ICML 2017).
        """
        return expected_calibration_error(np.asarray(columns["probs"], np.float64), labels)


@dataclass(frozen=True)
class Loss(PerExample):
    """A column of losses as it is, for tasks without classes: text, boxes, masks.

    column: name of the signal, such as `loss` (nats a token) or `image_error` (1 - F1 of boxes).
    """

    column: str = "loss"
    word = "loss"
    percent = False

    @property
    def needs(self) -> frozenset[str]:
        """Return the column's name."""
        return frozenset({self.column})

    def errors(self, columns: Mapping[str, Any], labels: NDArray[np.int64]) -> Values:
        """Return the column.

        >>> Loss().errors({"loss": [2.5]}, np.array([0]))
        array([2.5])
        """
        return np.asarray(columns[self.column], np.float64)

    def predicted(self, columns: Mapping[str, Any]) -> NDArray[np.int64] | None:
        """Return None: nothing is classified."""
        return None

    def calibration(self, columns: Mapping[str, Any], labels: NDArray[np.int64]) -> float | None:
        """Return None: there are no confidences."""
        return None


def shown(value: float, percent: bool) -> str:
    """Return an error as tables write it, without a unit.

    >>> shown(0.1234, True), shown(2.3456, False)
    ('12.3', '2.346')
    """
    return f"{100 * value:.1f}" if percent else f"{value:.3f}"


def change(value: float, percent: bool) -> str:
    """Return a difference of two errors with its sign.

    >>> change(0.1234, True), change(-0.05, False)
    ('+12.3', '−0.050')
    """
    return ("−" if value < 0 else "+") + shown(abs(value), percent)


def expected_calibration_error(
    probs: NDArray[np.float64], labels: NDArray[np.int64], bins: int = 15
) -> float:
    """Return the mean gap of confidence and accuracy over bins of confidence, weighted by size.

    >>> expected_calibration_error(np.array([[0.75, 0.25]] * 4), np.array([0, 0, 0, 1]))
    0.0
    """
    confidence = probs.max(axis=1)
    right = (probs.argmax(axis=1) == labels).astype(np.float64)
    at = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(at, right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / max(len(labels), 1))
