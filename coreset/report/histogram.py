"""Histograms of scores: all rows that have one in gray, those that were kept in color."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from coreset.report.theme import MUTED, RANDOM, STRATEGIES, quiet

_BINS = 40


def bins(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], bool]:
    """Return the edges of the bins and whether they grow by ratio: between the 0.5th and 99.5th
    percentile, by ratio for a long tail of positive values.

    Whole numbers of a small range get a bin each. values: finite, at least one.

    >>> bins(np.array([1.0, 2.0, 2.0, 4.0]))
    (array([0.5, 1.5, 2.5, 3.5, 4.5]), False)
    """
    low, middle, high = np.percentile(values, (0.5, 50, 99.5))
    if (values == values.round()).all() and high - low < _BINS:
        return np.arange(np.floor(low), np.ceil(high) + 2) - 0.5, False
    if low > 0 and high / max(middle, 1e-300) > 8:
        return np.geomspace(low, high, _BINS + 1), True
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, _BINS + 1), False


def plot_histogram(values: NDArray[np.float64], kept: NDArray[np.bool_], ax: Axes) -> Axes:
    """Draw the distribution of finite `values` (n,) and of those `kept` (n,) into `ax`, both as
    counts; values beyond the shown range fall into the end bins.
    """
    edges, by_ratio = bins(values)
    inside = np.clip(values, edges[0], edges[-1])
    for part, color, alpha in ((inside, RANDOM, 0.35), (inside[kept], STRATEGIES[0], 0.9)):
        heights, _ = np.histogram(part, edges)
        ax.stairs(heights, edges, fill=True, color=color, alpha=alpha, linewidth=0)
    if by_ratio:
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    ax.set_xlim(edges[0], edges[-1])
    ax.set_ylim(bottom=0)
    quiet(ax, ("bottom",))
    ax.set_yticks([])
    if not by_ratio:
        ax.locator_params(axis="x", nbins=5)
    ax.set_title(
        f"rows, tallest bar {int(np.histogram(inside, edges)[0].max())}",
        loc="left",
        fontsize=8,
        color=MUTED,
        pad=2,
    )
    return ax
