"""What a suite of paired replicates says: one sentence, one table, every number with its level and
sample.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from coreset.report.words import count, counted, p_value, percent
from coreset.runs.statistics import (
    LEVEL,
    Interval,
    Panel,
    Record,
    Saving,
    difference,
    gap_closed,
    holm,
    label_saving,
    paired_p,
    record,
)

ALPHA = 0.05  # of two-sided tests after Holm's correction
SHARES = (0.9, 0.95, 0.99)  # of what the whole pool reaches


@dataclass(frozen=True, eq=False)
class Line:
    """One strategy against random: per budget its mean value and the paired difference, areas on
    three axes minus random's, p of the area over log labels (Holm over all rows that are compared),
    label savings by budget, wins, share of the gap to the oracle, seconds to select, peak MB.

    fair: False where choices read labels of candidates: a reference, not tested.
    """

    name: str
    fair: bool
    means: Sequence[float]
    differences: Sequence[Interval]
    areas: Mapping[str, Interval]
    p: float | None
    savings: Sequence[Saving]
    record: Record
    gap: float
    seconds: float
    peak_mb: float


def lines(
    data: Panel,
    unfair: Collection[str] = (),
    oracle: str | None = None,
    seconds: Mapping[str, float] | None = None,
    peak: Mapping[str, float] | None = None,
) -> list[Line]:
    """Return a line per strategy, the largest area over log labels first.

    unfair: strategies that read labels of candidates; oracle: the one that is the upper curve.
    """
    random = data.of("random")
    names = list(data.names)
    areas = {axis: data.areas(axis) for axis in ("labels", "log", "round")}
    base = names.index("random")
    tested = [name for name in names if name not in unfair and name != "random"]
    p = holm(
        [paired_p((areas["log"][names.index(n)] - areas["log"][base]).tolist()) for n in tested]
    )
    corrected = dict(zip(tested, p, strict=True))
    out = []
    for i, name in enumerate(names):
        mine = data.of(name)
        out.append(
            Line(
                name,
                name not in unfair,
                mine.mean(axis=0).tolist(),
                [difference(mine[:, b], random[:, b]) for b in range(len(data.labels))],
                {axis: difference(a[i], a[base]) for axis, a in areas.items()},
                corrected.get(name),
                [label_saving(data, name, int(n)) for n in data.labels],
                record(data, name),
                gap_closed(data, name, oracle) if oracle in names else float("nan"),
                (seconds or {}).get(name, float("nan")),
                (peak or {}).get(name, float("nan")),
            )
        )
    order = np.argsort(-areas["log"].mean(axis=1), kind="stable")
    return [out[i] for i in order]


def best_fair(lines: Sequence[Line]) -> Line | None:
    """Return the line with the largest area among those that could label, random left out."""
    fair = [line for line in lines if line.fair and line.name != "random"]
    return fair[0] if fair else None


def spread(interval: Interval, scale: float = 100.0, digits: int = 1) -> str:
    """Return an interval in words: '+2.1 [+1.5, +2.7]'; a dash where there is none.

    >>> spread(Interval(0.021, 0.015, 0.027, 30))
    '+2.1 [+1.5, +2.7]'
    """
    if np.isnan(interval.mean):
        return "–"
    mean = f"{scale * interval.mean:+.{digits}f}"
    if np.isnan(interval.low):
        return mean
    return f"{mean} [{scale * interval.low:+.{digits}f}, {scale * interval.high:+.{digits}f}]"


def record_words(line: Line) -> list[str]:
    """Return budgets won, tied and lost against random, the worst difference and where, and the
    share of the gap to the oracle: ['6/1/0', '+1.0 [-0.4, +1.9] at 320', '108 %'].
    """
    r = line.record
    gap = "–" if np.isnan(line.gap) else f"{100 * line.gap:.0f} %"
    return [f"{r.win}/{r.tie}/{r.loss}", f"{spread(r.worst)} at {count(r.worst_labels)}", gap]


def saving_words(saving: Saving) -> str:
    """Return a label saving: '3.1x [2.6, 3.8]', with a sign where it is a bound or never reached.

    >>> saving_words(Saving("a", 640, 200.0, Interval(3.2, 2.9, 3.6, 30), 1.0, False))
    '3.2x [2.9, 3.6]'
    """
    if np.isnan(saving.factor.mean):
        return "not reached"
    sign = "≥ " if saving.bound else ""
    low, high = saving.factor.low, saving.factor.high
    range_ = "" if np.isnan(low) else f" [{low:.1f}, {high:.1f}]"
    return f"{sign}{saving.factor.mean:.1f}x{range_}"


def smallest(labels: Sequence[int], means: Sequence[float], target: float) -> int | None:
    """Return the smallest measured budget whose mean reaches `target`, None where none does.

    >>> smallest([20, 40], [0.7, 0.9], 0.9)
    40
    """
    reached = [int(n) for n, mean in zip(labels, means, strict=True) if mean >= target]
    return min(reached) if reached else None


def answer(lines: Sequence[Line], data: Panel, metric: str) -> str:
    """Return the answer to "does selection pay?" in one or two sentences that state level and
    sample. It claims no more than the intervals and the corrected test do.
    """
    best, sample = best_fair(lines), counted(len(data.replicates), "replicate")
    if best is None:
        return f"Nothing was compared with random ({sample})."
    area, last = best.areas["log"], best.savings[-1]
    tested = sum(line.p is not None for line in lines)
    p = p_value(best.p)
    p = "no test" if best.p is None else f"p {p}" if p.startswith("<") else f"p = {p}"
    test = (
        f"mean {metric} over log labels {spread(area)} points against random, {100 * LEVEL:.0f} %"
        f" interval over {sample}; {p} after Holm's correction over"
        f" {counted(tested, 'strategy')}, paired t-test"
    )
    if best.p is None or best.p >= ALPHA or area.mean <= 0 or area.sign <= 0:
        return (
            f"Not proven: the strategy with the largest area, {best.name}, is not shown to differ"
            f" from random ({test})."
        )
    labels, value = count(int(data.labels[-1])), percent(data.of("random").mean(axis=0)[-1])
    saved = last.factor
    verdict = "Yes"
    if np.isnan(saved.mean):
        verdict = "On the mean of the budgets"
        cost = f"but it does not reach what random reaches with {labels} labels ({value})"
    else:
        bound = "at most " if last.bound else ""
        cost = (
            f"what random reaches with {labels} labels ({value}) it reaches with"
            f" {bound}{count(last.needed)}, {saved.mean:.1f} times fewer [{saved.low:.1f},"
            f" {saved.high:.1f}]"
        )
    losing = [line.name for line in lines if line.fair and line.areas["log"].sign < 0]
    worse = f" Below random by their intervals: {', '.join(losing)}." if losing else ""
    return f"{verdict}, with {best.name}: {cost} ({test}).{worse}"


def markdown(lines: Sequence[Line], data: Panel, metric: str, full: float | None) -> str:
    """Return the table of a suite in Markdown: values with their paired differences, areas, test,
    savings, wins and worst shortfall, gap closed, seconds and memory.
    """
    heads = ["strategy", *(count(int(n)) for n in data.labels), "area, log labels", "area, labels"]
    heads += ["area, rounds", "p (Holm)", f"saving at {count(int(data.labels[-1]))}"]
    heads += ["win/tie/loss", "worst", "gap closed"]
    if full is not None:
        heads += [f"{100 * share:.0f} % of full" for share in SHARES]
    heads += ["select s", "peak MB"]
    rows = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for line in lines:
        cells = [line.name if line.fair else f"{line.name} (knows labels)"]
        for mean, gap in zip(line.means, line.differences, strict=True):
            own = f"{100 * mean:.1f}"
            cells.append(own if line.name == "random" else f"{own} ({spread(gap)})")
        if line.name == "random":
            cells += ["0", "0", "0", "–", "1", "–", "–", "0 %"]
        else:
            cells += [spread(line.areas[axis]) for axis in ("log", "labels", "round")]
            cells += [p_value(line.p) if line.fair else "–", saving_words(line.savings[-1])]
            cells += record_words(line)
        if full is not None:
            budgets = [smallest(data.labels.tolist(), line.means, full * part) for part in SHARES]
            cells += ["–" if n is None else count(n) for n in budgets]
        cells += [_number(line.seconds, 1), _number(line.peak_mb, 0)]
        rows.append(f"| {' | '.join(cells)} |")
    unfair = any(not line.fair for line in lines)
    who = "all strategies that read no label of a candidate" if unfair else "all strategies"
    note = (
        f"Test {metric} in %, mean over {counted(len(data.replicates), 'replicate')}; in brackets"
        " the"
        f" paired difference to random in points with its {100 * LEVEL:.0f} % bootstrap interval"
        " (BCa), areas likewise. p: two-sided paired t-test on the area over log labels, Holm's"
        f" correction over {who}. Saving: labels of"
        " random"
        f" over labels needed for what random reaches, {100 * LEVEL:.0f} % percentile interval."
        " Win/tie/loss: budgets whose interval lies above, around or below 0, uncorrected. Gap"
        " closed: share of the area between random and the oracle. Select: CPU seconds of a whole"
        " curve, measuring included."
    )
    if full is not None:
        note += (
            f" The whole pool reaches {percent(full)}; of full: the smallest measured budget whose"
            " mean reaches that share of it."
        )
    return "\n".join([note, "", *rows]) + "\n"


def _number(value: float, digits: int) -> str:
    return "–" if np.isnan(value) else f"{value:.{digits}f}"
