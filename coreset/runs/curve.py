"""Accuracy-vs-budget curves: points, areas, labels to a target; JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from coreset.core.store import to_json

Axis = Literal["labels", "log", "round"]
Interpolation = Literal["labels", "log"]
GAIN = 0.02  # of the second half of a training: above it the training stopped on a slope


def _check_interpolation(axis: str) -> None:
    """Raise ValueError for what is neither of the two ways between points."""
    if axis not in ("labels", "log"):
        raise ValueError(f"axis: expected labels or log, got {axis!r}")


@dataclass(frozen=True)
class Point:
    """One measurement: `labels` spent in all (validation labels included), their `share` of the
    pool, the test `value` in [0, 1], NaN when the test gave none.
    """

    labels: int
    share: float
    value: float
    round: int = 0
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        value: float | None = self.value
        if value is None:  # JSON's null: a test that gave no number
            object.__setattr__(self, "value", float("nan"))


@dataclass(frozen=True)
class Curve:
    """One run of one strategy at one seed: points in the order of labels.

    >>> a = Curve("margin", 0, [Point(10, 0.1, 0.5), Point(40, 0.4, 0.9)])
    >>> round(a.labels_to_reach(0.7), 6), a.labels_to_reach(0.95)
    (20.0, None)
    """

    strategy: str
    seed: int
    points: Sequence[Point]
    metric: str = "accuracy"

    def __post_init__(self) -> None:
        points = list(self.points)
        if any(b.labels <= a.labels for a, b in zip(points, points[1:], strict=False)):
            raise ValueError(
                f"{self.strategy}, seed {self.seed}: points must grow in labels, got"
                f" {[p.labels for p in points]}"
            )
        object.__setattr__(self, "points", points)

    @property
    def labels(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Labels spent at every point, (P,)."""
        return np.array([p.labels for p in self.points], np.float64)

    @property
    def values(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Test value at every point, (P,)."""
        return np.array([p.value for p in self.points], np.float64)

    def area(self, axis: Axis = "log") -> float:
        """Return the mean height of the curve over an axis, which must be stated: trapezoids over
        labels, log labels or rounds, divided by the width.

        A method can win on one axis and lose on another. One point: its value.
        """
        if not self.points:
            raise ValueError(
                f"{self.strategy}, seed {self.seed}: a curve without points has no area"
            )
        if axis not in ("labels", "log", "round"):
            raise ValueError(f"axis: expected labels, log or round, got {axis!r}")
        x = {
            "labels": self.labels,
            "log": np.log(self.labels),
            "round": np.arange(len(self.points), dtype=np.float64),
        }[axis]
        if len(x) == 1:
            return float(self.values[0])
        return float(np.trapezoid(self.values, x) / (x[-1] - x[0]))

    def labels_to_reach(self, target: float, axis: Interpolation = "log") -> float | None:
        """Return how many labels the curve first needs for `target`; None when it never gets there.

        axis: what the curve is linear in between two points, `log` labels (as `area` measures by
        default) or `labels`, which never gives fewer. A curve that starts above the target answers
        its first point: it may need fewer. Raises ValueError for another axis.

        >>> a = Curve("margin", 0, [Point(10, 0.1, 0.5), Point(40, 0.4, 0.9)])
        >>> round(a.labels_to_reach(0.7, "labels"), 6)
        25.0
        """
        _check_interpolation(axis)
        x, y = np.log(self.labels) if axis == "log" else self.labels, self.values
        for i, value in enumerate(y):
            if value >= target:
                if i == 0:
                    return float(self.labels[0])
                share = (target - y[i - 1]) / (value - y[i - 1])
                at = x[i - 1] + share * (x[i] - x[i - 1])
                return float(np.exp(at) if axis == "log" else at)
        return None

    def label_saving(self, vs: Curve, axis: Interpolation = "log") -> float | None:
        """Return the share of labels saved against `vs` at the best value `vs` reaches: 0.4 = 40 %
        fewer labels; None when that is never reached.

        axis: as in `labels_to_reach`.
        """
        target = float(vs.values.max())
        mine, theirs = self.labels_to_reach(target, axis), vs.labels_to_reach(target, axis)
        return None if mine is None or theirs is None else 1 - mine / theirs

    def _repr_html_(self) -> str:
        """Return the curve drawn, with its points below, for a notebook."""
        from coreset.core import html

        values = ", ".join(f"{p.labels} labels: {p.value:.3f}" for p in self.points)
        table = html.rows(
            {"labels": [p.labels for p in self.points], self.metric: list(self.values)}
        )
        drawn = html.line(self.labels.tolist(), self.values.tolist(), values)
        return html.card(f"{self.strategy}, seed {self.seed}", "<br>", drawn, table)

    def lines(self) -> str:
        """Return the curve as JSON lines, one a point."""
        rows = (
            {"strategy": self.strategy, "seed": self.seed, "metric": self.metric, **asdict(p)}
            for p in self.points
        )
        return "".join(to_json(r, sort_keys=True) + "\n" for r in rows)


def read_curves(paths: Iterable[str | Path]) -> list[Curve]:
    """Read JSON lines back, one curve per (strategy, seed, metric), in the order first seen. A
    point met again replaces the earlier one.

    Raises ValueError with file and line for a line that is no point.
    """
    by_key: dict[tuple[str, int, str], dict[int, Point]] = {}
    for path in paths:
        for number, line in enumerate(Path(path).read_text().splitlines(), 1):
            try:
                row = json.loads(line)
                key = (row.pop("strategy"), row.pop("seed"), row.pop("metric"))
                point = Point(**row)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ValueError(
                    f"{path}, line {number}: not a point of a curve ({error})"
                ) from error
            by_key.setdefault(key, {})[point.labels] = point
    return [
        Curve(s, seed, [points[n] for n in sorted(points)], metric)
        for (s, seed, metric), points in by_key.items()
    ]


def mean_curve(
    curves: Sequence[Curve],
) -> tuple[list[int], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return labels (P,), mean and sample standard deviation (P,) over curves, at the label counts
    that all of them have (sd of one curve: 0).
    """
    shared = set.intersection(*(set(int(p.labels) for p in c.points) for c in curves))
    labels = sorted(shared)
    values = np.array([[p.value for p in c.points if p.labels in shared] for c in curves])
    sd = values.std(axis=0, ddof=1) if len(curves) > 1 else np.zeros(len(labels))
    return labels, values.mean(axis=0), sd
