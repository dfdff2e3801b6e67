"""The pictures of runs: contact sheets, maps, balance of classes, overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from coreset.report.balance import imbalance, plot_balance
from coreset.report.compare import Comparison
from coreset.report.distilled import is_distilled
from coreset.report.hands import chart_place
from coreset.report.load import Run
from coreset.report.map import plot_map
from coreset.report.overlap import overlap, overlap_figure, overlap_html
from coreset.report.render import render
from coreset.report.shapes import Named
from coreset.report.sheet import class_key, sheet_figure, sheet_html
from coreset.report.theme import figure, strategy_styles, svg
from coreset.report.words import file_stem, percent

_MOST_THUMBS = 2000
_ONE_ROW = 15  # pictures


def with_pictures(seen: Comparison, order: Sequence[str]) -> dict[str, Run]:
    """Return the first run of every strategy that has pictures."""
    first = {n: next((r for r in seen.runs[n] if r.gallery is not None), None) for n in order}
    return {name: run for name, run in first.items() if run is not None}


def pictures(seen: Comparison, order: Sequence[str], plots: dict[str, Figure]) -> list[Markup]:
    """Return contact sheets, maps, class balance and overlap: what the runs have of them; figures
    are left in `plots`.
    """
    shown = with_pictures(seen, order)
    parts = []
    if shown:
        parts += [_sheets(shown, plots), _maps(shown, plots), _balances(seen, shown, plots)]
    if len(seen.runs) > 1:
        names, matrix = overlap({name: seen.runs[name] for name in order})
        if np.isfinite(matrix[~np.eye(len(names), dtype=bool)]).any():
            plots["overlap"] = overlap_figure(names, matrix)
            parts.append(render("training/overlap.html", table=overlap_html(names, matrix)))
    return parts


def _sheets(shown: Mapping[str, Run], plots: dict[str, Figure]) -> Markup:
    each = _MOST_THUMBS // len(shown)
    sheets = []
    for name, run in shown.items():
        gallery = run.gallery
        assert gallery is not None
        labels = {int(r["round"]): int(r["labels"]) for r in run.rounds}
        noun = "made image" if is_distilled(run) else "label"
        per_round = each // max(1, len(np.unique(gallery["thumb_round"])))
        most = min(per_round, _ONE_ROW) if len(shown) > 1 else per_round
        picks = sheet_html(gallery, labels, most, noun)
        plots[f"sheet-{file_stem(name)}"] = sheet_figure(gallery)
        sheets.append({"strategy": name, "seed": run.seed, "picks": picks})
    first = f"The first {_ONE_ROW} choices" if len(shown) > 1 else "The first choices"
    gallery = next(iter(shown.values())).gallery
    assert gallery is not None
    key = class_key(gallery["classes"])
    return render("training/sheets.html", first=first, key=key, sheets=sheets)


def _maps(shown: Mapping[str, Run], plots: dict[str, Figure]) -> Markup:
    maps = []
    for i, (name, run) in enumerate(shown.items()):
        assert run.gallery is not None
        fig, ax = figure(3.4, 3.4)
        ax.set_position((0.0, 0.0, 1.0, 1.0))
        plot_map(run.gallery, ax)
        plots[f"map-{file_stem(name)}"] = fig
        still = chart_place(f"map{i}", svg(fig, f"map{i}"), f"Map of the choices of {name}")
        maps.append(Named(name, f"seed {run.seed}", still))
    return render("training/maps.html", maps=maps)


def _balances(seen: Comparison, shown: Mapping[str, Run], plots: dict[str, Figure]) -> Markup:
    cells = []
    styles = strategy_styles(list(seen.runs))
    for i, (name, run) in enumerate(shown.items()):
        gallery = run.gallery
        assert gallery is not None
        pool, classes = gallery["pool_counts"], [str(c) for c in gallery["classes"]]
        if not classes:  # labels that are no classes
            continue
        counts = [r.class_counts for r in seen.runs[name]]
        shares = [c / max(c.sum(), 1) for c in counts if c is not None and len(c) == len(pool)]
        chosen = np.mean(shares, axis=0) if shares else gallery["chosen_counts"]
        fig, ax = figure(3.4, 0.62 + (0.19 * len(classes) if len(classes) <= 24 else 2.4))
        height = fig.get_figheight()
        longest = max((len(c) for c in classes), default=1) if len(classes) <= 24 else 0
        left = (0.12 + 0.075 * min(longest, 16)) / 3.4
        ax.set_position((left, 0.46 / height, 0.97 - left, 1 - 0.5 / height))
        plot_balance(pool, chosen, classes, ax, styles[name]["color"])
        plots[f"balance-{file_stem(name)}"] = fig
        off = f"{percent(imbalance(pool, 1e6 * np.asarray(chosen, np.float64)), 0)} off the pool"
        cells.append(Named(name, off, svg(fig, f"balance{i}")))
    if not cells:
        return Markup()
    return render("training/balances.html", balances=cells)
