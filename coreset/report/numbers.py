"""The numbers of a report: every strategy at some budgets, area, labels to the target, p."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from coreset.report.compare import Comparison
from coreset.report.render import render
from coreset.report.shapes import Cell
from coreset.report.table import TARGET, Row
from coreset.report.theme import strategy_styles, var
from coreset.report.words import count, duration, p_value, percent, points, share

_MOST_BUDGETS = 5  # columns


def _some(budgets: Sequence[int]) -> list[int]:
    """Return at most five budgets, evenly spaced in order, first and last among them."""
    keep = np.unique(
        np.linspace(0, len(budgets) - 1, min(len(budgets), _MOST_BUDGETS)).round().astype(int)
    )
    return [budgets[i] for i in keep.tolist()]


def numbers(seen: Comparison, rows: Sequence[Row]) -> Markup:
    """Return the section with the table: one row a strategy, at most five budgets."""
    budgets = _some(sorted({n for row in rows for n in row.values}))
    at = {n: [row.values[n][0] for row in rows if n in row.values] for n in budgets}
    best = {n: max(values) if max(values) > min(values) else None for n, values in at.items()}
    styles = strategy_styles([row.strategy for row in rows])
    several = any(row.seeds > 1 for row in rows)
    uneven = len({row.seeds for row in rows}) > 1
    heads: list[str | tuple[str, str]] = ["strategy", *["seeds"] * uneven]
    heads += [
        (count(n), share(n / seen.pool_size) if seen.pool_size else "labels") for n in budgets
    ]
    heads += [
        ("area", "log labels"),
        ("labels to", f"{percent(TARGET, 0)} of full"),
        ("area −", "random’s"),
        ("p", "Holm"),
        "select",
        "train",
    ]
    body: dict[str, list[str | Cell]] = {}
    for row in rows:
        dot = var(styles[row.strategy]["color"])
        cells: list[str | Cell] = [Cell(row.strategy, dot=dot)]
        cells += [str(row.seeds)] * uneven
        cells += [_value(row, n, best[n]) for n in budgets]
        cells.append("–" if row.area is None else f"{100 * row.area:.1f}")
        cells += [_reach(row, seen.pool_size), points(row.difference), p_value(row.p)]
        body[row.strategy] = [*cells, duration(row.select), duration(row.train)]
    note = f"Test {seen.metric} in %" + (", mean ± sd over seeds" if several else "")
    note += (
        ", at labels spent. Area: mean height of the curve over log labels. p: paired t-test on the"
        " areas by seed, two-sided. Seconds of a whole run."
    )
    if seen.full is not None:
        note += (
            f" All labels reach {percent(seen.full)}, 95 % of that is"
            f" {percent(TARGET * seen.full)}."
        )
    notes = [note, *seen.left_out]
    return render("training/numbers.html", notes=notes, heads=heads, rows=body)


def _value(row: Row, budget: int, best: float | None) -> str | Cell:
    """Return mean and sd of a strategy at a budget, the best in bold."""
    if budget not in row.values:
        return "–"
    mean, sd = row.values[budget]
    spread = f"± {100 * sd:.1f}" if row.seeds > 1 else ""
    return Cell(f"{100 * mean:.1f}", spread, bold=mean == best)


def _reach(row: Row, pool_size: int | None) -> str | Cell:
    """Return the labels that reach the target, and their share of the pool."""
    if row.reach is None:
        return "–"
    words = ("≤ " if row.at_first else "") + count(row.reach)
    return Cell(words, share(row.reach / pool_size)) if pool_size else words
