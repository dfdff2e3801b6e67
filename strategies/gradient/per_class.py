"""Solve class by class, each with its share of the budget, or all at once; what CRAIG, GradMatch
and GLISTER share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.pool import Indices
from coreset.core.signals import Signals
from coreset.numerics.classes import class_shares, interleave
from coreset.numerics.gradients import (
    LastLayerGradients,
    column_gradients,
    known_labels,
    last_layer_gradients,
)
from coreset.numerics.tensors import as_tensor

SOURCES = ("last_layer", "gradients")
Rows = NDArray[np.int64]
Values = NDArray[np.float64]


def per_class(
    labels: NDArray[Any], k: int, apart: bool, solve: Callable[[Rows, int], tuple[Rows, Values]]
) -> tuple[Rows, Values]:
    """Return `k` rows and a value of each, from solve(rows of a part, its share) -> (places among
    these rows in order, values).

    apart: one part per class, the answers interleaved; otherwise one part, all rows.

    >>> labels = np.array([0, 1, 0, 0])
    >>> rows, _ = per_class(labels, 4, True, lambda rows, share: (np.arange(share), np.ones(share)))
    >>> rows
    array([0, 2, 1, 3])
    """
    parts = (
        [(r, n) for _, r, n in class_shares(labels, k)] if apart else [(np.arange(len(labels)), k)]
    )
    chosen, values = [], []
    for rows, share in parts:
        places, value = solve(rows, share)
        chosen.append(rows[places])
        values.append(value)
    order = interleave([len(c) for c in chosen])
    return np.concatenate(chosen)[order], np.concatenate(values)[order]


def check_source(source: str, known: tuple[str, ...] = SOURCES) -> None:
    """Raise ValueError for a source of gradients that is none."""
    if source not in known:
        raise ValueError(f"source: expected {' or '.join(known)}, got {source!r}")


def gradient_columns(source: str, apart: bool) -> frozenset[str]:
    """Return the names of the columns that gradients are read from; `apart`: class by class.

    >>> sorted(gradient_columns("gradients", True))
    ['gradients', 'labels']
    """
    if source == "last_layer":
        return frozenset({"features", "labels", "probs"})
    return frozenset({"gradients", "labels"} if apart else {"gradients"})


def gradients_of(
    signals: Signals, positions: Indices, source: str, apart: bool, bias: bool
) -> tuple[LastLayerGradients, NDArray[Any]]:
    """Return the gradients at positions and the class (n,) of each, all 0 where classes are not
    looked at and not read.

    Labels unknown (-1) form a class of their own for the column `gradients`; for last-layer
    gradients they raise ValueError.
    """
    if source == "last_layer":
        g: LastLayerGradients = last_layer_gradients(signals, positions, bias=bias)
        return g, known_labels(signals, positions, g.shape[0]).cpu().numpy()
    labels = np.zeros(len(positions), np.int64)
    if apart:
        labels = as_tensor(signals.column("labels")).cpu().numpy()[positions]
    return column_gradients(signals, positions), labels
