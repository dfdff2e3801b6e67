"""Do two strategies differ at all? Jaccard overlap of what they chose in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray

from coreset.report.load import Run
from coreset.report.render import render
from coreset.report.theme import INK, STRATEGIES, figure, quiet, var
from coreset.report.words import plain


def jaccard(a: ArrayLike, b: ArrayLike) -> float:
    """Return |a and b| / |a or b| of two sets of positions; NaN when both are empty.

    >>> jaccard([1, 2, 3], [2, 3, 4])
    0.5
    """
    one, two = np.unique(np.asarray(a, np.int64)), np.unique(np.asarray(b, np.int64))
    both = len(np.intersect1d(one, two, assume_unique=True))
    either = len(one) + len(two) - both
    return both / either if either else float("nan")


def overlap(runs: Mapping[str, Sequence[Run]]) -> tuple[list[str], NDArray[np.float64]]:
    """Return names (S,) and their overlap (S, S), mean over the seeds two strategies share at the
    same size; NaN where they share none.

    Where a strategy has several runs at a seed the largest final set counts; two sets of different
    size are not compared.
    """
    names = list(runs)
    sets: dict[str, dict[int, NDArray[np.int64]]] = {name: {} for name in names}
    for name, group in runs.items():
        for run in group:
            chosen = run.chosen
            if len(chosen) > len(sets[name].get(run.seed, ())):
                sets[name][run.seed] = chosen
    out = np.full((len(names), len(names)), np.nan)
    for i, one in enumerate(names):
        for j, two in enumerate(names[: i + 1]):
            pairs = [
                (sets[one][s], sets[two][s]) for s in sorted(sets[one].keys() & sets[two].keys())
            ]
            values = [jaccard(a, b) for a, b in pairs if len(a) == len(b)]
            if values:
                out[i, j] = out[j, i] = float(np.mean(values))
    return names, out


def overlap_html(names: Sequence[str], matrix: NDArray[Any]) -> Markup:
    """Return the lower triangle as an HTML table, deeper blue = more in common."""
    rows = []
    for i in range(1, len(names)):
        shares = [f"{100 * v:.0f}" if np.isfinite(v) else None for v in matrix[i, :i].tolist()]
        rows.append((names[i], shares))
    heat = var(STRATEGIES[0])
    return render("training/overlap_table.html", rows=rows, foot=names[:-1], heat=heat)


def overlap_figure(names: Sequence[str], matrix: NDArray[Any]) -> Figure:
    """Return the lower triangle as a figure, for PNG and SVG."""
    size = 1.6 + 0.42 * len(names)
    fig, ax = figure(size, size)
    for i in range(1, len(names)):
        for j in range(i):
            if np.isfinite(matrix[i, j]):
                ax.add_patch(
                    Rectangle(
                        (j - 0.5, i - 0.5),
                        1,
                        1,
                        color=STRATEGIES[0],
                        alpha=float(matrix[i, j]),
                        linewidth=0,
                    )
                )
                ax.text(
                    j,
                    i,
                    f"{100 * matrix[i, j]:.0f}",
                    ha="center",
                    va="center",
                    fontsize=8,
                    color=INK,
                )
    ax.set(xlim=(-0.5, len(names) - 1.5), ylim=(len(names) - 0.5, 0.5), aspect="equal")
    shown = [plain(name) for name in names]
    ax.set_xticks(range(len(names) - 1), shown[:-1], rotation=60, ha="right", parse_math=False)
    ax.set_yticks(range(1, len(names)), shown[1:], parse_math=False)
    quiet(ax, ())
    fig.subplots_adjust(left=1.2 / size, right=0.98, top=0.98, bottom=1.2 / size)
    return fig
