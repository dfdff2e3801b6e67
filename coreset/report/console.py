"""The closing tables in the terminal:
one run round by round, several strategies budget by budget.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from coreset.report.classes import print_classes
from coreset.report.compare import Comparison, by_strategy, compare, mean_line
from coreset.report.headline import headline
from coreset.report.load import Run, read_runs
from coreset.report.pairwise import cells, wins
from coreset.report.sentence import seeds_of, sentence
from coreset.report.slopes import on_slope
from coreset.report.table import Row, table
from coreset.report.words import count, duration, p_value, points, share
from coreset.runs.curve import Curve

_BARS = "▁▂▃▄▅▆▇█"
_MOST_BUDGETS = 5  # of the largest: the table has 80 columns
_WIDEST = 27  # of a strategy's name, in characters


def sparkline(values: Sequence[float], low: float, high: float) -> str:
    """Return one bar per value, `low` the shortest and `high` the tallest, a dot for NaN.

    >>> sparkline([0.0, 0.5, 1.0], 0.0, 1.0)
    '▁▅█'
    """
    width = max(high - low, 1e-12)
    bars = (_BARS[min(7, max(0, int(8 * (v - low) / width)))] if v == v else "·" for v in values)
    return "".join(bars)


def _new(title: str, columns: Iterable[str]) -> Table:
    out = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        padding=(0, 2, 0, 0),
        header_style="dim",
    )
    for i, column in enumerate(columns):
        out.add_column(column, justify="left" if i == 0 else "right", no_wrap=True)
    return out


def print_run(run: str | Path | Run, console: Console) -> None:
    """Print one run: labels, test value, gain over the round before and over its random baseline,
    seconds; a sparkline and the sentence.

    An unfinished run prints the rounds it has. Raises ValueError when it has none.
    """
    path = (run.path if isinstance(run, Run) else Path(run)).resolve()
    runs = read_runs(path)
    seen = compare(runs)
    own = next((r for r in runs if r.path == path), runs[0])
    if not own.rounds or not own.curves:
        raise ValueError(f"{path}: no finished round to print")
    curve = own.curves[0]
    others = by_strategy(seen.curves).get("random", []) if own.strategy != "random" else []
    random = {p.labels: p.value for c in others if c.seed == own.seed for p in c.points}
    heads = [
        "labels",
        "share",
        f"{curve.metric}, %",
        "gain",
        *["− random"] * bool(random),
        "select",
        "train",
    ]
    out = _new(f"{escape(own.strategy)}, seed {own.seed}", heads)
    spent = {int(r["labels"]): r.get("seconds") or {} for r in own.rounds}
    before: float | None = None
    for p in curve.points:
        seconds = spent.get(p.labels, {})
        cells = [
            count(p.labels),
            share(p.share),
            f"{100 * p.value:.1f}",
            points(None if before is None else p.value - before),
        ]
        if random:
            cells.append(points(p.value - random[p.labels] if p.labels in random else None))
        out.add_row(*cells, duration(seconds.get("select")), duration(seconds.get("train")))
        before = p.value
    console.print(out)
    values = curve.values.tolist()
    line = (
        f"{sparkline(values, min(values), max(values))}  {100 * values[0]:.1f} to"
        f" {100 * values[-1]:.1f} %"
    )
    if seen.full is not None:
        line += f", all labels {100 * seen.full:.1f} %"
    console.print(line, highlight=False)
    if not own.finished:
        console.print(
            f"unfinished: {len(own.rounds)} of {own.state.get('rounds', '?')} rounds",
            style="yellow",
            highlight=False,
        )
    _print_verdict(seen, console)


def print_comparison(paths: str | Path | Iterable[str | Path], console: Console) -> None:
    """Print several runs: strategies by budgets (mean over seeds, best in bold), sparkline,
    difference to random, labels to 95 % of full, seconds.
    """
    seen = compare(read_runs(paths))
    rows = table(seen.curves, seen.full, seen.seconds)
    every = sorted({n for row in rows for n in row.values})
    budgets = every[-_MOST_BUDGETS:]
    lines = {name: mean_line(group) for name, group in by_strategy(seen.curves).items()}
    values = [v for line in lines.values() for v in line.values.tolist()]
    title = f"test {escape(seen.metric)}, %, {seeds_of(seen.curves)}"
    out = _new(title, ["strategy", "", *map(count, budgets), "area"])
    for row in rows:
        best = [row.values[n][0] if n in row.values else None for n in budgets]
        cells = [_cell(v, n, rows) for v, n in zip(best, budgets, strict=True)]
        out.add_row(
            escape(shortened(row.strategy)),
            _spark(lines[row.strategy], min(values), max(values)),
            *cells,
            "–" if row.area is None else f"{100 * row.area:.1f}",
            style="dim" if row.strategy == "random" else None,
        )
    console.print(out)
    heads = ["strategy", "− random", "p", "to 95 %", "select", "train"]
    out = _new("area against random, labels to 95 % of all, seconds", heads)
    for row in rows:
        out.add_row(
            escape(shortened(row.strategy)),
            points(row.difference),
            p_value(row.p),
            "–" if row.reach is None else ("≤ " if row.at_first else "") + count(row.reach),
            duration(row.select),
            duration(row.train),
            style="dim" if row.strategy == "random" else None,
        )
    console.print(out)
    _print_wins(seen, console)
    print_classes(seen, console)
    for line in seen.left_out:
        console.print(escape(line), style="yellow", highlight=False)
    _print_verdict(seen, console)


def _print_wins(seen: Comparison, console: Console) -> None:
    """Print who beats whom where at least three strategies share two seeds."""
    names, matrix = wins(seen.curves)
    if len(names) < 3 or not np.isfinite(matrix).any():
        return
    title = "row beats column: share of budgets, paired t-test over seeds at the 5 % level"
    out = _new(title, ["", *map(escape, names)])
    for row in cells(names, matrix):
        out.add_row(*map(escape, row))
    console.print(out)


def shortened(name: str) -> str:
    """Return a strategy's name in at most 27 characters, the end in place of what is left out.

    >>> shortened("class_quota(balance=equal, cap=5, column=labels)")
    'class_quota(ba…lumn=labels)'
    """
    return name if len(name) <= _WIDEST else f"{name[:14]}…{name[-12:]}"


def _print_verdict(seen: Comparison, console: Console) -> None:
    """Print what is proven, what the means say, and which trainings stopped on a slope."""
    claim = headline(seen.curves, seen.full)
    console.print(escape(claim), style="bold", highlight=False, soft_wrap=True)
    means = f"By the means alone: {sentence(seen.curves, seen.full)}"
    console.print(escape(means), highlight=False, soft_wrap=True)
    for line in on_slope(seen):
        console.print(escape(line), style="yellow", highlight=False, soft_wrap=True)


def _spark(line: Curve, low: float, high: float) -> str:
    return sparkline(line.values.tolist(), low, high)


def _cell(value: float | None, budget: int, rows: Sequence[Row]) -> str:
    if value is None:
        return "–"
    values = [row.values[budget][0] for row in rows if budget in row.values]
    return (
        f"[bold]{100 * value:.1f}[/]"
        if value == max(values) > min(values)
        else f"{100 * value:.1f}"
    )
