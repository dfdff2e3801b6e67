"""The numbers behind the curves: one row per strategy, tested against random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtr

from coreset.report.compare import by_strategy, mean_line
from coreset.runs.curve import Curve, mean_curve

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


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Return p values after Holm's step-down correction; None stays and is not counted.

    Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of
    Statistics 1979.

    >>> holm([0.01, None, 0.04, 0.03])
    [0.03, None, 0.06, 0.06]
    """
    order = sorted((value, i) for i, value in enumerate(p) if value is not None)
    out: list[float | None] = [None] * len(p)
    highest = 0.0
    for rank, (value, i) in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * value))
        out[i] = highest
    return out


def paired_p(differences: Sequence[float]) -> float | None:
    """Return the two-sided p value of the paired t-test; None with fewer than two differences or no
    spread between them.

    >>> round(paired_p([1.0, 2.0, 3.0]), 4)
    0.0742
    """
    d = np.asarray(differences, np.float64)
    if len(d) < 2 or d.std(ddof=1) <= 1e-12 * max(1.0, float(np.abs(d).max())):
        return None
    t = d.mean() / (d.std(ddof=1) / np.sqrt(len(d)))
    return float(2 * stdtr(len(d) - 1, -abs(t)))


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
