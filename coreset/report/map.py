"""Where the picks lie: a 2-D map of features, the pool faint, the chosen ringed,
colored by class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from numpy.typing import NDArray

from coreset.report.theme import INK, class_color

# rings and discs are drawn in turns, so that neighbors of one class do not melt into one
_LAYERS = 4


def _dots(
    ax: Axes, xy: NDArray[Any], points: float, color: str, alpha: float, front: float
) -> None:
    """Draw discs as one path of very short strokes with round caps: a tenth of the size of as many
    markers in an SVG.
    """
    if not len(xy):
        return
    vertices = np.repeat(np.asarray(xy, np.float64), 2, axis=0)
    vertices[1::2, 0] += 1e-3 * np.ptp(ax.get_xlim()) / 100  # a stroke of no length has no caps
    codes = np.tile(np.array([Path.MOVETO, Path.LINETO], np.uint8), len(xy))
    path = Path(vertices, codes)
    path.should_simplify = False
    ax.add_patch(
        PathPatch(
            path,
            fill=False,
            edgecolor=color,
            linewidth=points,
            capstyle="round",
            alpha=alpha,
            zorder=front,
        )
    )


def _frame(xy: NDArray[Any], ax: Axes) -> None:
    """Set a square around the points."""
    if len(xy):
        middle, half = (
            (xy.max(axis=0) + xy.min(axis=0)) / 2,
            max(float(np.ptp(xy, axis=0).max()) / 2, 1e-6) * 1.06,
        )
        ax.set_xlim(middle[0] - half, middle[0] + half)
        ax.set_ylim(middle[1] - half, middle[1] + half)
    ax.set_aspect("equal")
    ax.set_axis_off()


def plot_kept(xy: NDArray[Any], kept: NDArray[np.bool_], colors: tuple[str, str], ax: Axes) -> Axes:
    """Draw points (P, 2) into `ax` in the first color where `kept` (P,), else in the second, and
    return it.

    The two are drawn in turns, so that neither hides the other. Raises ValueError when the lengths
    differ.
    """
    if xy.shape != (len(kept), 2):
        raise ValueError(f"xy, kept: expected (P, 2) and (P,), got {xy.shape} and {kept.shape}")
    _frame(xy, ax)
    for layer in range(_LAYERS):
        for here, color in ((kept, colors[0]), (~kept, colors[1])):
            _dots(ax, xy[here][layer::_LAYERS], 3.0, color, 0.6, 1 + layer)
    return ax


def plot_map(gallery: Mapping[str, NDArray[Any]], ax: Axes, most: int = 2000) -> Axes:
    """Draw the map of a gallery into `ax` and return it.

    gallery: `map_xy` (P, 2), `map_label` (P,), `map_chosen` (P,) round of choice or -1. At most
    `most` of the pool are drawn, evenly spaced in order; the chosen are all drawn. Raises
    ValueError when the three differ in length.
    """
    xy, labels, chosen = (np.asarray(gallery[key]) for key in ("map_xy", "map_label", "map_chosen"))
    if xy.shape != (len(labels), 2) or len(chosen) != len(labels):
        raise ValueError(
            f"map_xy, map_label, map_chosen: expected (P, 2), (P,), (P,), got {xy.shape},"
            f" {labels.shape}, {chosen.shape}"
        )
    taken = chosen >= 0
    rest = np.flatnonzero(~taken)
    rest = (
        rest[np.linspace(0, len(rest) - 1, min(most, len(rest))).astype(np.int64)]
        if len(rest)
        else rest
    )
    _frame(xy, ax)
    size = float(np.clip(5.0 * np.sqrt(200 / max(int(taken.sum()), 1)), 2.4, 5.0))
    classes = np.unique(labels).tolist()
    for label in classes:
        _dots(ax, xy[rest[labels[rest] == label]], 2.0, class_color(label), 0.35, 1)
    for i, label in enumerate(classes * _LAYERS):
        mine = xy[taken & (labels == label)][i // len(classes) :: _LAYERS]
        _dots(ax, mine, size + 1.2, INK, 1.0, 2 + i)
        _dots(ax, mine, size, class_color(label), 1.0, 2.5 + i)
    return ax
