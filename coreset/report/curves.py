"""What a label buys: test value against labels spent, drawn, said in a sentence and counted in a
table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from scipy.special import stdtrit

from coreset.report.compare import by_strategy
from coreset.report.labels import groups, spread
from coreset.report.sentence import seeds_of, sentence
from coreset.report.table import TARGET, table
from coreset.report.theme import INK, MUTED, RULE, figure, quiet, strategy_styles
from coreset.report.words import count, counted, percent, plain, share
from coreset.runs.curve import Curve, mean_curve

__all__ = ["curve_figure", "plot_curves", "sentence", "table"]

_LABEL_SIZE = 10.0  # points
_LEADER = 18.0  # points between a line's end and its label


def plot_curves(
    curves: Sequence[Curve],
    ax: Axes,
    full: float | None = None,
    pool_size: int | None = None,
    level: float | None = None,
) -> Axes:
    """Draw mean and ± 1 sd over seeds per strategy against labels on a log axis, named at the line
    ends; `random` in gray. level: instead of the sd the interval of the mean at this level (t).

    full: mean test value of training on all data (a dotted line, and one at 95 % of it); pool_size:
    N, for shares beside label counts. Returns `ax`. Artists have the gids `curve-0`, `curve-1`, ...
    in the order of `by_strategy`, for `hover`.
    """
    if not curves:
        raise ValueError("curves: expected at least one to draw")
    lines = by_strategy(curves)
    styles = strategy_styles(list(lines))
    ends: dict[str, tuple[float, float]] = {}
    shade = 0.14 if len(lines) < 5 else 0.07
    for i, (name, group) in enumerate(lines.items()):
        labels, mean, sd = mean_curve(group)
        sd = sd * _widening(len(group), level)
        style = styles[name]
        front = 2 if name == "random" else 3 + 0.01 * i
        if len(group) > 1:
            ax.fill_between(
                labels,
                100 * (mean - sd),
                100 * (mean + sd),
                color=style["color"],
                alpha=shade,
                linewidth=0,
                zorder=1,
            )
        ax.plot(
            labels,
            100 * mean,
            linewidth=1.8,
            markersize=4.2,
            markeredgewidth=0,
            solid_capstyle="round",
            zorder=front,
            gid=f"curve-{i}",
            **style,
        )
        ends[name] = (float(labels[-1]), float(100 * mean[-1]))
    _axes(ax, curves, full, pool_size, level)
    _name_ends(ax, ends, styles)
    return ax


def _widening(n: int, level: float | None) -> float:
    """Return half the interval of a mean of n values, in standard deviations; 1 without a level."""
    return 1.0 if level is None or n < 2 else float(stdtrit(n - 1, (1 + level) / 2) / np.sqrt(n))


def hover(curves: Sequence[Curve]) -> dict[str, str]:
    """Return what to say when the pointer rests on a line, by gid."""
    lines = {}
    for i, (name, group) in enumerate(by_strategy(curves).items()):
        rows = [f"{name}, {counted(len(group), 'seed')}"]
        rows += [
            f"{count(n)} labels: {100 * m:.1f} ± {100 * s:.1f} %"
            for n, m, s in zip(*mean_curve(group), strict=True)
        ]
        lines[f"curve-{i}"] = "\n".join(rows)
    return lines


def curve_figure(
    curves: Sequence[Curve],
    full: float | None = None,
    pool_size: int | None = None,
    level: float | None = None,
) -> Figure:
    """Return the plot as a figure whose right margin holds the longest name; level: see
    `plot_curves`.
    """
    fig, ax = figure(8.6, 4.7)
    probe = [
        fig.text(0, 0, plain(name), fontsize=_LABEL_SIZE, parse_math=False)
        for name in by_strategy(curves)
    ]
    widest = max(text.get_window_extent().width for text in probe) / fig.dpi  # inches
    for text in probe:
        text.remove()
    right = min(3.6, widest + _LEADER / 72 + 0.08)
    fig.subplots_adjust(
        left=0.42 / 8.6, right=1 - right / 8.6, top=1 - 0.34 / 4.7, bottom=0.62 / 4.7
    )
    plot_curves(curves, ax, full, pool_size, level)
    return fig


def _ticks(labels: list[int], pixels: float, low: float, high: float, apart: float) -> list[int]:
    """Return those of the label counts that fit on a log axis of some width at least `apart` from
    one another, the last and the first before others.
    """
    place = {n: pixels * np.log(n / low) / np.log(high / low) for n in labels}
    kept: list[int] = []
    for n in [labels[-1], labels[0], *labels[1:-1]]:
        if all(abs(place[n] - place[m]) >= apart for m in kept):
            kept.append(n)
    return sorted(kept)


def _axes(
    ax: Axes,
    curves: Sequence[Curve],
    full: float | None,
    pool_size: int | None,
    level: float | None,
) -> None:
    quiet(ax)
    labels = sorted({p.labels for c in curves for p in c.points})
    pad = (labels[-1] / labels[0]) ** 0.02 if len(labels) > 1 else 1.5
    low, high = labels[0] / pad, labels[-1] * pad
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    box = ax.get_window_extent()
    inches = box.width / ax.get_figure(root=True).dpi  # type: ignore[union-attr]
    ticks = _ticks(labels, 72 * inches, low, high, 40.0)
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    of_pool = f" (below: share of the pool of {count(pool_size)})" if pool_size else ""
    ax.xaxis.set_major_formatter(FuncFormatter(lambda n, _: count(n)))
    for n, label in [(n, share(n / pool_size)) for n in ticks] if pool_size else []:
        ax.annotate(
            label,
            (n, 0),
            (0, -17),
            ("data", "axes fraction"),
            "offset points",
            ha="center",
            va="top",
            fontsize=9,
            color=MUTED,
        )
    ax.set_xlabel(
        f"labels spent{of_pool}",
        color=MUTED,
        fontsize=9.5,
        loc="left",
        labelpad=18 if pool_size else 5,
    )
    bands = []
    for group in by_strategy(curves).values():
        _, mean, sd = mean_curve(group)
        bands.append(
            (mean - sd * _widening(len(group), level), mean + sd * _widening(len(group), level))
        )
    bottom, top = (
        100 * min(low.min() for low, _ in bands),
        100 * max(high.max() for _, high in bands),
    )
    top = top if full is None else max(top, 100 * full)
    room = max(0.06 * (top - bottom), 0.2)
    ax.set_ylim(bottom - room, top + room)
    ax.yaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    ax.grid(axis="y", color=RULE, linewidth=0.6, zorder=0)
    ax.set_axisbelow(True)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    what = "± 1 sd" if level is None else f"and its {100 * level:g} % interval"
    spread = "one seed" if seeds_of(curves) == "1 seed" else f"mean {what} over {seeds_of(curves)}"
    ax.set_title(
        plain(f"test {curves[0].metric}, % ({spread})"),
        loc="left",
        fontsize=9.5,
        color=MUTED,
        pad=8,
        parse_math=False,
    )
    if full is not None:
        everything = f"all {count(pool_size)} labels" if pool_size else "all labels"
        for value, label in (
            (full, f"{everything}: {percent(full)}"),
            (TARGET * full, "95 % of it"),
        ):
            if 100 * value < bottom - room:
                continue
            ax.axhline(100 * value, color=INK, linewidth=0.9, linestyle=(0, (1, 2.2)), zorder=1.5)
            ax.annotate(
                label,
                (0, 100 * value),
                (4, 3),
                ("axes fraction", "data"),
                "offset points",
                fontsize=9,
                color=INK,
            )


def _name_ends(
    ax: Axes, ends: dict[str, tuple[float, float]], styles: dict[str, dict[str, Any]]
) -> None:
    """Write every name beside its line's end, with a thin leader; names that share an end are
    spread.
    """
    names = list(ends)
    to_axes = ax.transData + ax.transAxes.inverted()
    at = np.array([to_axes.transform(ends[name]) for name in names])
    box = ax.get_window_extent()
    dpi = ax.get_figure(root=True).dpi  # type: ignore[union-attr]
    height, width = 72 * box.height / dpi, 72 * box.width / dpi
    last = at[:, 0].max()
    for group in groups(at[:, 0].tolist(), 0.05):
        size = min(_LABEL_SIZE, 0.8 * (height + _LABEL_SIZE) / len(group))
        # ends inside the plot: its name stands above the end
        early = at[group, 0].max() < last - 0.05
        wanted = at[group, 1] + (1.1 * size / height if early else 0.0)
        levels = spread(wanted, 1.25 * size / height, 0.0, 1.0 + 0.5 * size / height)
        x = at[group, 0].max() + (0.0 if early else _LEADER / width)
        for i, y in zip(group, levels, strict=True):
            style = styles[names[i]]
            if not early:
                ax.plot(
                    [at[i, 0], x - 3 / width],
                    [at[i, 1], y],
                    transform=ax.transAxes,
                    color=style["color"],
                    linestyle=style["linestyle"],
                    linewidth=0.8,
                    alpha=0.65,
                    clip_on=False,
                    zorder=1.8,
                )
            ax.text(
                x,
                y,
                plain(names[i]),
                transform=ax.transAxes,
                color=style["color"],
                fontsize=size,
                ha="right" if early else "left",
                va="center_baseline",
                zorder=9,
                parse_math=False,
            )
