"""The headline of a report: what a test proves against random, or that nothing is proven."""

from __future__ import annotations

from collections.abc import Sequence

from coreset.report.compare import mean_line
from coreset.report.sentence import fair_groups
from coreset.report.table import Row, table
from coreset.report.words import counted, p_value, percent, points, share
from coreset.runs.curve import Curve

LEVEL = 0.05  # of the two-sided paired t-test after Holm's correction
_MOST_NAMES = 3


def headline(curves: Sequence[Curve], full: float | None) -> str:
    """Return the one claim that the numbers prove, without a full stop.

    curves: one per strategy and seed; full: mean test value of training on all data, None when
    unknown. A mean value above `full` comes first: such a reference is no ceiling, and nothing is
    claimed beside it. Else the strategies whose areas over log labels differ from random's at
    `LEVEL` (paired t-test over the seeds both have, Holm's correction over all strategies), else
    that nothing is proven, and why. Curves that know more labels than they spend are not compared.
    """
    groups = fair_groups(curves)
    beaten = _beaten(groups, full)
    if beaten is not None:
        return beaten
    rows = table([c for group in groups.values() for c in group], full)
    tested = [row for row in rows if row.p is not None]
    proven = [row for row in tested if row.p is not None and row.p < LEVEL]
    if not proven:
        return f"Nothing is proven: {_why_not(groups, tested)}"
    claim = _sides(proven)
    return f"{claim} (area over log labels, {_test(proven)})"


def _beaten(groups: dict[str, list[Curve]], full: float | None) -> str | None:
    """Return the sentence on the mean value farthest above the full-data reference, or None."""
    if full is None:
        return None
    lines = {name: mean_line(group) for name, group in groups.items()}
    above = [(p.value, name, p) for name, line in lines.items() for p in line.points]
    value, name, point = max(above, key=lambda item: item[0])
    if value <= full:
        return None
    spent = share(point.share) if point.share > 0 else counted(point.labels, "label")
    spent = f"{spent} of the labels" if point.share > 0 else spent
    return (
        f"{name} with {spent} has {percent(value)}, more than {percent(full)} of training on all: "
        "the full-data reference is no ceiling, and nothing is claimed against it"
    )


def _why_not(groups: dict[str, list[Curve]], tested: Sequence[Row]) -> str:
    if "random" not in groups:
        return "there is no random baseline to compare with"
    if len(groups) == 1:
        return "random was compared with no other strategy"
    if tested:
        least = min(tested, key=lambda row: row.p or 0.0)
        pairs = _pairs(tested)
        return (
            f"no strategy differs from random at the {100 * LEVEL:g} % level over {pairs} "
            f"(smallest p = {p_value(least.p)}, {least.strategy})"
        )
    seeds = {name: {c.seed for c in group} for name, group in groups.items()}
    both = max(len(own & seeds["random"]) for name, own in seeds.items() if name != "random")
    if both < 2:
        return f"{counted(both, 'seed')} beside random, and a test needs at least two"
    return f"over {counted(both, 'seed')} the differences to random do not vary"


def _pairs(rows: Sequence[Row]) -> str:
    low, high = min(row.pairs for row in rows), max(row.pairs for row in rows)
    return counted(high, "seed") if low == high else f"{low} to {counted(high, 'seed')}"


def _test(rows: Sequence[Row]) -> str:
    largest = max(row.p or 0.0 for row in rows)
    p = p_value(largest)
    p = f"p {p}" if p.startswith("<") else f"p = {p}" if len(rows) == 1 else f"p ≤ {p}"
    return f"paired t-test over {_pairs(rows)}, {p} after Holm’s correction"


def _sides(rows: Sequence[Row]) -> str:
    """Return who is ahead of random and who is behind, with the differences in points."""
    ahead = [row for row in rows if (row.difference or 0.0) > 0]
    behind = [row for row in reversed(rows) if (row.difference or 0.0) < 0]
    parts = []
    for group, where in ((ahead, "ahead of random"), (behind, "behind random")):
        if group:
            parts.append(f"{_names(group)} {'is' if len(group) == 1 else 'are'} {where}")
    return "; ".join(parts)


def _names(rows: Sequence[Row]) -> str:
    shown = [f"{row.strategy} ({points(row.difference)} points)" for row in rows[:_MOST_NAMES]]
    left = len(rows) - len(shown)
    shown += [f"{left} more"] * bool(left)
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
