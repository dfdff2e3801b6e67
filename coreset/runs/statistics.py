"""Statistics of curves: paired differences, areas, label savings, tests, ranks.

Replicates are paired: replicate r of every strategy has the same pool, start and test set. All
intervals resample replicates, keeping pairs together (Efron & Tibshirani, "An Introduction to the
Bootstrap", 1993).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr
from scipy.stats import bootstrap, friedmanchisquare, rankdata, studentized_range

from coreset.runs.curve import Axis, Curve, Interpolation

Floats = NDArray[np.float64]
LEVEL = 0.95  # of every interval
RESAMPLES = 9999


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval at `level` over `n` replicates; low and high are NaN with
    fewer than two.
    """

    mean: float
    low: float
    high: float
    n: int
    level: float = LEVEL

    @property
    def sign(self) -> int:
        """1 where the whole interval lies above 0, -1 below, else 0."""
        return int(self.low > 0) - int(self.high < 0)


def difference(a: ArrayLike, b: ArrayLike, level: float = LEVEL, seed: int = 0) -> Interval:
    """Return the mean of a - b, paired, with its BCa bootstrap interval (Efron, 1987).

    Raises ValueError for samples of different length.

    >>> difference([0.5, 0.6, 0.9], [0.4, 0.5, 0.8]).low
    0.1
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if len(a) != len(b):
        raise ValueError(f"expected pairs, got {len(a)} and {len(b)} values")
    d = a - b
    if len(d) < 2:
        return Interval(float(d.mean()) if len(d) else np.nan, np.nan, np.nan, len(d), level)
    if np.ptp(d) <= 1e-12:
        value = float(np.round(d.mean(), 12))
        return Interval(value, value, value, len(d), level)
    result = bootstrap(
        (d,),
        np.mean,
        confidence_level=level,
        n_resamples=RESAMPLES,
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(d.mean()), float(result.low), float(result.high), len(d), level)


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


@dataclass(frozen=True, eq=False)
class Panel:
    """Paired curves as one array: values (S, R, B) of names (S), replicates (R), labels (B).

    Only replicates and label counts that all strategies have.
    """

    names: Sequence[str]
    replicates: Sequence[int]
    labels: NDArray[np.int64]
    values: Floats

    def of(self, name: str) -> Floats:
        """Return the values (R, B) of a strategy. Raises KeyError for another name."""
        if name not in self.names:
            raise KeyError(f"no strategy {name!r} here; there are {', '.join(self.names)}")
        return np.asarray(self.values[list(self.names).index(name)])

    def areas(self, axis: Axis = "log") -> Floats:
        """Return the mean height of every curve (S, R) over labels, log labels or rounds."""
        x = {
            "labels": self.labels.astype(np.float64),
            "log": np.log(self.labels),
            "round": np.arange(len(self.labels), dtype=np.float64),
        }[axis]
        if len(x) == 1:
            return np.asarray(self.values[:, :, 0])
        return np.asarray(np.trapezoid(self.values, x, axis=2) / (x[-1] - x[0]))


def panel(curves: Sequence[Curve]) -> Panel:
    """Return the curves of one metric as paired arrays.

    Raises ValueError where strategies have no replicate or no label count in common.
    """
    table: dict[str, dict[int, Curve]] = {}
    for curve in curves:
        table.setdefault(curve.strategy, {})[curve.seed] = curve
    replicates = sorted(set.intersection(*(set(rows) for rows in table.values())))
    if not replicates:
        raise ValueError(f"no replicate is shared by all of {', '.join(table)}")
    budgets = [{p.labels for p in table[s][r].points} for s in table for r in replicates]
    labels = sorted(set.intersection(*budgets))
    if not labels:
        raise ValueError(f"no label count is shared by all of {', '.join(table)}")
    values = np.array(
        [
            [
                [{p.labels: p.value for p in table[s][r].points}[n] for n in labels]
                for r in replicates
            ]
            for s in table
        ]
    )
    return Panel(list(table), replicates, np.array(labels, np.int64), values)


def crossing(
    labels: NDArray[np.int64], values: Floats, target: Floats, axis: Interpolation = "log"
) -> Floats:
    """Return how many labels curves (M, B) first need for targets (M,): NaN where never; linear
    between points in log labels or labels. A curve that starts above answers its first point.

    >>> crossing(np.array([10, 40]), np.array([[0.5, 0.9]]), np.array([0.7]))
    array([20.])
    """
    x = np.log(labels) if axis == "log" else labels.astype(np.float64)
    reached = values >= target[:, None]
    first = reached.argmax(axis=1)
    rows = np.arange(len(values))
    before = np.maximum(first - 1, 0)
    low, high = values[rows, before], values[rows, first]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(first > 0, (target - low) / (high - low), 0.0)
    at = x[before] + share * (x[first] - x[before])
    out = np.where(first > 0, np.exp(at) if axis == "log" else at, labels[0])
    return np.asarray(np.where(reached.any(axis=1), out, np.nan))


@dataclass(frozen=True)
class Saving:
    """Labels that `name` needs for what random reaches with `labels`; factor = labels / needed with
    its interval. `reached`: share of resamples in which the mean curve gets there at all; bound:
    "at least" where the curve starts above the target (it may need fewer).
    """

    name: str
    labels: int
    needed: float
    factor: Interval
    reached: float
    bound: bool


def label_saving(
    data: Panel,
    name: str,
    labels: int,
    baseline: str = "random",
    axis: Interpolation = "log",
    level: float = LEVEL,
    seed: int = 0,
) -> Saving:
    """Return the label saving of a strategy at what the baseline's mean curve reaches with
    `labels`.

    The interval is the percentile bootstrap over replicates of the ratio of mean curves, both
    resampled together; a resample that never reaches the target counts as a factor of labels /
    largest budget or less, so as the lowest value.
    """
    at = int(np.flatnonzero(data.labels == labels)[0])
    mine, theirs = data.of(name), data.of(baseline)
    n = len(mine)
    draws = np.random.default_rng(seed).integers(n, size=(RESAMPLES, n))
    weights = np.zeros((RESAMPLES + 1, n))
    np.add.at(weights, (np.arange(RESAMPLES)[:, None], draws), 1 / n)
    weights[-1] = 1 / n  # the sample itself
    needed = crossing(data.labels, weights @ mine, (weights @ theirs)[:, at], axis)
    factor = np.where(np.isnan(needed), labels / data.labels[-1], labels / needed)
    low, high = np.quantile(factor[:-1], [(1 - level) / 2, (1 + level) / 2])
    if n < 2:
        low = high = np.nan
    point = float(factor[-1]) if not np.isnan(needed[-1]) else float("nan")
    return Saving(
        name,
        int(labels),
        float(needed[-1]),
        Interval(point, float(low), float(high), n, level),
        float((~np.isnan(needed[:-1])).mean()),
        bool(needed[-1] <= data.labels[0]),
    )


@dataclass(frozen=True)
class Record:
    """Budgets at which a strategy is above (win), below (loss) or not apart from (tie) a baseline
    by the interval of the paired difference; worst: the lowest mean difference, and at how many
    labels.
    """

    win: int
    tie: int
    loss: int
    worst: Interval
    worst_labels: int


def record(
    data: Panel, name: str, baseline: str = "random", level: float = LEVEL, seed: int = 0
) -> Record:
    """Return wins, ties and losses of a strategy over the budgets, and its worst shortfall."""
    mine, theirs = data.of(name), data.of(baseline)
    cells = [difference(mine[:, b], theirs[:, b], level, seed) for b in range(len(data.labels))]
    signs = [cell.sign for cell in cells]
    worst = min(range(len(cells)), key=lambda b: cells[b].mean)
    return Record(
        signs.count(1), signs.count(0), signs.count(-1), cells[worst], int(data.labels[worst])
    )


def penalties(data: Panel, level: float = 0.05) -> Floats:
    """Return the pairwise penalty matrix (S, S): the share of budgets at which row i beats column j
    in a two-sided paired t-test at `level`; NaN on the diagonal.

    Ash et al., ICLR 2020, section 4 (arXiv:1906.03671), there a sum over budgets; no correction.
    """
    count = len(data.names)
    out = np.full((count, count), np.nan)
    for i in range(count):
        for j in range(count):
            if i != j:
                d = data.values[i] - data.values[j]
                p = [paired_p(d[:, b].tolist()) for b in range(d.shape[1])]
                won = [q is not None and q < level and d[:, b].mean() > 0 for b, q in enumerate(p)]
                out[i, j] = float(np.mean(won))
    return out


@dataclass(frozen=True)
class Ranks:
    """Mean ranks (1 best) of strategies over data sets, Friedman's test and Nemenyi's critical
    difference: two strategies whose mean ranks differ by less are not told apart at `level`.
    """

    names: Sequence[str]
    mean: Sequence[float]
    data_sets: int
    p: float
    critical: float
    level: float = 0.05


def ranks(scores: Mapping[str, Mapping[str, float]], level: float = 0.05) -> Ranks:
    """Return mean ranks of {data set: {strategy: score, higher better}}, best first.

    Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7, 2006. Ties
    share ranks. p and the critical difference are NaN with fewer than two data sets or strategies
    (Friedman's test wants three of these). Raises ValueError where a strategy is missing on a data
    set.
    """
    names = list(next(iter(scores.values())))
    for data, row in scores.items():
        if set(row) != set(names):
            odd = sorted(set(row) ^ set(names))
            raise ValueError(f"{data}: expected the same strategies on every data set, not {odd}")
    table = np.array([[row[name] for name in names] for row in scores.values()])
    placed = np.array([rankdata(-row) for row in table])
    mean, (n, k) = placed.mean(axis=0), table.shape
    p = critical = float("nan")
    if n > 1 and k > 2:
        p = float(friedmanchisquare(*table.T).pvalue)
    if n > 1 and k > 1:
        q = float(studentized_range.ppf(1 - level, k, np.inf)) / np.sqrt(2)
        critical = q * float(np.sqrt(k * (k + 1) / (6 * n)))
    order = np.argsort(mean, kind="stable")
    return Ranks([names[i] for i in order], mean[order].tolist(), n, p, critical, level)


def gap_closed(data: Panel, name: str, oracle: str, baseline: str = "random") -> float:
    """Return the share of the area between a baseline and an oracle (log labels, mean over
    replicates) that a strategy closes; NaN where the oracle is no better than the baseline.
    """
    areas = dict(zip(data.names, data.areas("log").mean(axis=1), strict=True))
    gap = areas[oracle] - areas[baseline]
    return float((areas[name] - areas[baseline]) / gap) if gap > 0 else float("nan")
