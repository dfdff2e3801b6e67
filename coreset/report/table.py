"""The numbers behind the curves: one row per strategy, tested against random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from coreset.report.compare import by_strategy, mean_line
from coreset.runs.curve import Curve, mean_curve
from coreset.runs.statistics import holm, paired_p

TARGET = 0.95  # of full accuracy


@dataclass(frozen=True)
class Row:
    """What one strategy reached.

    area: mean height of the curve over log labels, mean over seeds, None unless it has every shared
    budget; values: mean and sd at each shared budget; reach: labels at which the mean line first
    has 95 % of the full value, None when never, and `at_first` when the first budget already has
    it; difference: of the areas to random's over the label counts both have, mean over the `pairs`
    seeds both have; p: of the paired t-test, two-sided, after Holm's correction over strategies,
    None with fewer than two pairs or no spread. select, train: seconds a run.
    """

    strategy: str
    seeds: int
    area: float | None
    values: Mapping[int, tuple[float, float]]
    reach: float | None
    at_first: bool
    difference: float | None
    pairs: int
    p: float | None
    select: float | None
    train: float | None


def shared_budgets(curves: Sequence[Curve]) -> list[int]:
    """Return the label counts that at least two strategies have in all their seeds (all of them
    when there is one strategy).
    """
    lines = [set(mean_curve(group)[0]) for group in by_strategy(curves).values()]
    return sorted(
        n for n in set.union(*lines) if len(lines) == 1 or sum(n in line for line in lines) > 1
    )


def _area(curve: Curve, labels: set[int]) -> float | None:
    points = [p for p in curve.points if p.labels in labels]
    return (
        replace(curve, points=points).area("log") if labels and len(points) == len(labels) else None
    )


def _differences(mine: Sequence[Curve], random: Sequence[Curve]) -> list[float]:
    """Return area minus random's area per seed that both have, over the label counts that all these
    curves have.
    """
    theirs = {c.seed: c for c in random}
    pairs = [(c, theirs[c.seed]) for c in mine if c.seed in theirs]
    if not pairs:
        return []
    labels = set(mean_curve([c for pair in pairs for c in pair])[0])
    areas = [(_area(a, labels), _area(b, labels)) for a, b in pairs]
    return [a - b for a, b in areas if a is not None and b is not None]


def table(
    curves: Sequence[Curve],
    full: float | None,
    seconds: Mapping[str, tuple[float | None, float | None]] | None = None,
) -> list[Row]:
    """Return one row per strategy, the largest area first.

    full: mean test value of training on all data, None when unknown; seconds: to select and to
    train by strategy.
    """
    budgets = set(shared_budgets(curves))
    rows = []
    differences: list[list[float]] = []
    groups = by_strategy(curves)
    for name, group in groups.items():
        labels, means, sds = mean_curve(group)
        areas = [a for c in group if (a := _area(c, budgets)) is not None]
        line = mean_line(group)
        reach = None if full is None else line.labels_to_reach(TARGET * full)
        versus = [] if name == "random" else _differences(group, groups.get("random", []))
        differences.append(versus)
        select, train = (seconds or {}).get(name, (None, None))
        rows.append(
            Row(
                strategy=name,
                seeds=len(group),
                area=float(np.mean(areas)) if len(areas) == len(group) else None,
                values={
                    n: (float(m), float(s))
                    for n, m, s in zip(labels, means, sds, strict=True)
                    if n in budgets
                },
                reach=reach,
                at_first=reach is not None and reach == labels[0],
                difference=float(np.mean(versus)) if versus else None,
                pairs=len(versus),
                p=None,
                select=select,
                train=train,
            )
        )
    corrected = holm([paired_p(d) for d in differences])
    rows = [replace(row, p=p) for row, p in zip(rows, corrected, strict=True)]
    return sorted(rows, key=lambda r: (r.area is None, -(r.area or 0.0), r.strategy))
