"""The scores of a curation: a histogram of every column, what was kept beside all."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
from markupsafe import Markup
from matplotlib.figure import Figure

from coreset.core.places import read_table, table_schema
from coreset.report.histogram import plot_histogram
from coreset.report.render import render
from coreset.report.shapes import Named
from coreset.report.theme import figure, svg
from coreset.report.words import count, file_stem

_PLOTS = 9  # shown at once
HIDDEN = (  # columns that are no scores
    "id",
    "file",
    "line",
    "state",
    "operator",
    "reason",
    "duplicate_of",
    "preview",
    "rank",
    "gain",
    "gain_status",
)


def scores(path: Path, plots: dict[str, Figure]) -> Markup:
    """Return a histogram of every column of numbers that differ."""
    cells, same = [], []
    schema = table_schema(path)
    kept = np.array([s == "kept" for s in read_table(path, ["state"])["state"].to_pylist()], bool)
    names = [
        f.name
        for f in schema
        if f.name not in HIDDEN and (pa.types.is_floating(f.type) or pa.types.is_integer(f.type))
    ]
    for i, name in enumerate(names):
        values = read_table(path, [name])[name].to_numpy().astype(np.float64)
        finite = np.isfinite(values)
        if not finite.any() or values[finite].min() == values[finite].max():
            same.append(f"{name} {values[finite][0]:g}" if finite.any() else f"{name} undefined")
            continue
        fig, ax = figure(3.4, 1.7)
        ax.set_position((0.02, 0.2, 0.96, 0.68))
        plot_histogram(values[finite], kept[finite], ax)
        plots[f"score-{file_stem(name)}"] = fig
        note = _undefined(path, schema, name) or f"{count(int(finite.sum()))} rows"
        cells.append(Named(name, note, svg(fig, f"score{i}")))
    if not cells and not same:
        return Markup()
    note = (
        "Grey: every row that has the score; blue: the rows kept. The ends hold what lies beyond."
    )
    note += f" The same for all rows: {', '.join(same)}." if same else ""
    return render("curation/scores.html", note=note, shown=cells[:_PLOTS], more=cells[_PLOTS:])


def _undefined(path: Path, schema: pa.Schema, name: str) -> str:
    """Return in words how many rows have no value, and why."""
    status = f"{name}_status"
    if status not in schema.names:
        return ""
    statuses = read_table(path, [status])[status].to_pylist()
    words = Counter(w for w in statuses if w not in (None, "ok"))
    return ", ".join(f"{count(n)} {w}" for w, n in sorted(words.items()))
