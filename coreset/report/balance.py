"""Class balance: what share of the choice each class has, beside its share of the pool."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from coreset.report.theme import INK, MUTED, RANDOM, quiet
from coreset.report.words import plain

_NAMED = 24


def plot_balance(
    pool: ArrayLike, chosen: ArrayLike, classes: Sequence[str], ax: Axes, color: str = RANDOM
) -> Axes:
    """Draw a bar per class for the chosen and a tick for the pool, both as shares in per cent, into
    `ax` and return it.

    pool, chosen: counts (C,). More than 24 classes are sorted by their share of the pool and go
    without names. Raises ValueError when `pool`, `chosen` and `classes` differ in length.
    """
    a, b = np.asarray(pool, np.float64), np.asarray(chosen, np.float64)
    if not len(a) == len(b) == len(classes):
        raise ValueError(
            f"pool, chosen, classes: expected one entry per class, got {len(a)}, {len(b)} and"
            f" {len(classes)}"
        )
    many = len(a) > _NAMED
    order = np.argsort(-a, kind="stable") if many else np.arange(len(a))
    a, b = (100 * v[order] / max(v.sum(), 1.0) for v in (a, b))
    y = np.arange(len(a))
    ax.barh(y, b, height=0.62 if not many else 1.0, color=color, linewidth=0, alpha=0.85)
    width = 0.44 if not many else 0.5
    ax.vlines(a, y - width, y + width, color=INK, linewidth=1.3 if not many else 0.8)
    ax.set_ylim(len(a) - 0.4, -0.6)
    ax.set_xlim(0, 1.06 * max(float(a.max(initial=0)), float(b.max(initial=0)), 1e-9))
    quiet(ax, ("bottom",))
    ax.locator_params(axis="x", nbins=4)
    ax.set_xlabel("share of all, %", fontsize=9, color=MUTED, loc="left")
    ax.tick_params(axis="y", length=0)
    if many:
        ax.set_yticks([])
    else:
        ax.set_yticks(y)
        ax.set_yticklabels([_short(c) for c in classes], parse_math=False)
    return ax


def _short(name: str) -> str:
    name = plain(name)
    return name if len(name) <= 16 else name[:15] + "…"


def imbalance(pool: ArrayLike, chosen: ArrayLike) -> float:
    """Return the total variation distance of the two class distributions, in [0, 1]: the share of
    the choice that would have to change class.

    >>> imbalance([50, 50], [30, 10])
    0.25
    """
    a, b = np.asarray(pool, np.float64), np.asarray(chosen, np.float64)
    return float(np.abs(a / max(a.sum(), 1.0) - b / max(b.sum(), 1.0)).sum() / 2)
