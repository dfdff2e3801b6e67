"""Accuracy per class, and which class is taken for which, at the last budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from coreset.report.compare import Comparison
from coreset.report.load import Run

MOST = 6  # classes and confusions that are printed


def confusion_of(runs: Sequence[Run]) -> NDArray[np.int64] | None:
    """Return the sum of the confusion matrices (true, predicted) at the last budget of several
    runs, None where one of them has none or another number of classes.
    """
    matrices = [
        np.array(run.rounds[-1].get("confusion") or [], np.int64) for run in runs if run.rounds
    ]
    if not matrices or any(m.ndim != 2 or m.shape != matrices[0].shape for m in matrices):
        return None
    return np.asarray(np.sum(matrices, axis=0))


def recalls(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the accuracy per class (C,), NaN for a class without a test example.

    >>> recalls(np.array([[3, 1], [0, 0]])).tolist()
    [0.75, nan]
    """
    total = confusion.sum(axis=1)
    return np.where(total > 0, np.diag(confusion) / np.maximum(total, 1), np.nan)


def confusions(confusion: NDArray[np.int64]) -> list[tuple[int, int, float]]:
    """Return (true class, predicted class, share of the true class) off the diagonal, most first.

    >>> confusions(np.array([[3, 1], [2, 2]]))
    [(1, 0, 0.5), (0, 1, 0.25)]
    """
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(share, 0.0)
    order = np.argsort(-share, axis=None, kind="stable")
    pairs = np.column_stack(np.unravel_index(order, share.shape)).tolist()
    return [(t, p, float(share[t, p])) for t, p in pairs if share[t, p] > 0]


def print_classes(seen: Comparison, console: Console) -> None:
    """Print the classes that strategies differ in most, and the confusions of each strategy;
    nothing where the runs have no confusion matrix.
    """
    matrices: dict[str, NDArray[np.int64]] = {}
    names: list[str] = []
    for name, runs in seen.runs.items():
        matrix = confusion_of(runs)
        if matrix is not None:
            matrices[name] = matrix
            gallery = next((r.gallery for r in runs if r.gallery is not None), None)
            names = names or _names(gallery, len(matrix))
    if not matrices:
        return
    per_class = np.array([recalls(m) for m in matrices.values()])
    spread = np.nan_to_num(per_class.max(axis=0) - per_class.min(axis=0))
    shown = np.argsort(-spread if len(matrices) > 1 else per_class[0], kind="stable")[:MOST]
    names = names or [str(i) for i in range(per_class.shape[1])]
    out = Table(
        title="accuracy per class, %, where they differ most", title_justify="left",
        title_style="bold", box=None, padding=(0, 2, 0, 0), header_style="dim"
    )  # fmt: skip
    out.add_column("strategy", no_wrap=True)
    for c in shown.tolist():
        out.add_column(escape(names[c][:9]), justify="right", no_wrap=True)
    for name, values in zip(matrices, per_class, strict=True):
        cells = ["–" if np.isnan(values[c]) else f"{100 * values[c]:.0f}" for c in shown]
        out.add_row(escape(name[:20]), *cells)
    console.print(out)
    for name, matrix in matrices.items():
        first = [f"{names[t]} as {names[p]} {100 * s:.0f} %" for t, p, s in confusions(matrix)[:3]]
        if first:
            console.print(escape(f"{name[:20]} takes {', '.join(first)}"), highlight=False)


def _names(gallery: Any, count: int) -> list[str]:
    if gallery is None or len(gallery["classes"]) != count:
        return []
    return [str(c) for c in gallery["classes"]]
