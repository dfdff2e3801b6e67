"""Who beats whom: the pairwise win matrix over budgets.

Ash, Zhang, Krishnamurthy, Langford & Agarwal, "Deep Batch Active Learning by Diverse, Uncertain
Gradient Lower Bounds", ICLR 2020, section 4 (arXiv:1906.03671), there a penalty matrix; so in Beck
et al., "Effective Evaluation of Deep Active Learning on Image Classification Tasks", 2021
(arXiv:2106.15324). One budget is one comparison: a paired t-test over seeds at the 5 % level.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from coreset.report.compare import by_strategy
from coreset.report.shapes import table
from coreset.report.words import percent
from coreset.runs.curve import Curve
from coreset.runs.statistics import paired_p

LEVEL = 0.05  # two-sided, as published: without a correction for the number of pairs


def wins(curves: Sequence[Curve]) -> tuple[list[str], NDArray[np.float64]]:
    """Return names (S,) in order of fewest losses, and the share of budgets won (S, S).

    Entry (i, j): share of the budgets that i and j both have with at least two common seeds at
    which i beats j significantly. NaN on the diagonal and where there is no such budget. The mean
    of column j is the share of comparisons that j loses.
    """
    groups = by_strategy(curves)
    names = list(groups)
    values = {
        name: {(c.seed, p.labels): p.value for c in group for p in c.points}
        for name, group in groups.items()
    }
    out = np.full((len(names), len(names)), np.nan)
    for i, one in enumerate(names):
        for j, other in enumerate(names):
            if i != j:
                out[i, j] = _share_won(values[one], values[other])
    lost = [_lost(out[:, j]) for j in range(len(names))]
    order = sorted(range(len(names)), key=lambda j: (np.isnan(lost[j]), lost[j], names[j]))
    return [names[j] for j in order], out[np.ix_(order, order)]


def _share_won(one: dict[tuple[int, int], float], other: dict[tuple[int, int], float]) -> float:
    shared = sorted(one.keys() & other.keys())
    won = []
    for labels in sorted({labels for _, labels in shared}):
        d = [one[key] - other[key] for key in shared if key[1] == labels]
        if len(d) > 1:
            p = paired_p(d)
            won.append(p is not None and p < LEVEL and float(np.mean(d)) > 0)
    return float(np.mean(won)) if won else float("nan")


def _lost(column: NDArray[np.float64]) -> float:
    known = column[np.isfinite(column)]
    return float(known.mean()) if len(known) else float("nan")


def cells(names: Sequence[str], matrix: NDArray[np.float64]) -> list[list[str]]:
    """Return the rows of the table in words: a name and its wins; the last row holds the losses."""
    rows = [
        [name, *("–" if np.isnan(v) else percent(v, 0) for v in row)]
        for name, row in zip(names, matrix, strict=True)
    ]
    lost = [_lost(matrix[:, j]) for j in range(len(names))]
    return [*rows, ["loses", *("–" if np.isnan(v) else percent(v, 0) for v in lost)]]


def wins_html(curves: Sequence[Curve]) -> Markup:
    """Return the section of the report; nothing where no two strategies share two seeds."""
    names, matrix = wins(curves)
    if not np.isfinite(matrix).any():
        return Markup()
    note = (
        "Share of the budgets at which the row beats the column: paired t-test over seeds at the "
        "5 % level, two-sided, not corrected. Last row: share of comparisons lost, fewest first."
    )
    heads = ("row beats column", *names)
    return table("Who beats whom", heads, cells(names, matrix), [note])
