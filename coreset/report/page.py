"""The report: one self-contained HTML page, no network, the same bytes for the same runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from coreset.core.store import write_atomic
from coreset.report.about import about, standing
from coreset.report.compare import Comparison, compare
from coreset.report.css import css
from coreset.report.curves import curve_figure, hover, sentence
from coreset.report.distilled import distilled_html
from coreset.report.document import document
from coreset.report.galleries import pictures, with_pictures
from coreset.report.hands import Hands, chart_place, curve_spec, map_spec, sectioned
from coreset.report.headline import headline
from coreset.report.load import Run, read_runs
from coreset.report.numbers import numbers
from coreset.report.pairwise import wins_html
from coreset.report.render import render
from coreset.report.shapes import header
from coreset.report.slopes import on_slope
from coreset.report.table import table
from coreset.report.theme import png, strategy_styles, svg, var
from coreset.report.words import text

__all__ = ["text", "write_report"]


def write_report(runs: str | Path | Iterable[str | Path | Run], out: str | Path) -> Path:
    """Write the page, and its plots beside it as PNG and SVG (`curve.*`, the others in `plots/`);
    return the page's path.

    runs: runs, or paths with runs below them; out: an .html file, or a folder for `report.html`.
    Raises ValueError when the runs are of different tasks or have nothing to show.
    """
    given = [runs] if isinstance(runs, str | Path) else list(runs)
    paths = [item for item in given if not isinstance(item, Run)]
    read = [item for item in given if isinstance(item, Run)] + (read_runs(paths) if paths else [])
    if not read:
        raise ValueError("runs: expected at least one run or path")
    seen = compare(read)
    out = Path(out)
    page = out if out.suffix == ".html" else out / "report.html"
    fig = curve_figure(seen.curves, seen.full, seen.pool_size)
    rows = table(seen.curves, seen.full, seen.seconds)
    write_atomic(page.with_name("curve.png"), png(fig))
    write_atomic(page.with_name("curve.svg"), svg(fig, "curve", hover(seen.curves), alone=True))
    plots: dict[str, Figure] = {}
    order = sorted((row.strategy for row in rows), key=lambda name: name == "random")
    parts = [
        _head(seen),
        chart_place(
            "curve",
            render("curve.html", figure=svg(fig, "curve", hover(seen.curves))),
            f"Curve. {sentence(seen.curves, seen.full)}",
        ),
        numbers(seen, rows),
        wins_html(seen.curves) if len(seen.runs) > 1 else "",
        distilled_html(read),
        *pictures(seen, order, plots),
        standing(seen, order),
        about(seen, read),
    ]
    for name, plot in plots.items():
        write_atomic(page.parent / "plots" / f"{name}.png", png(plot))
        write_atomic(page.parent / "plots" / f"{name}.svg", svg(plot, name, alone=True))
    hands = _hands(seen, order)
    body = sectioned(Markup("\n").join(filter(None, parts))) + hands.data()
    title = f"{_task(seen)}: coreset report"
    return write_atomic(page, document(title, css("base", "page"), body, hands.scripts()))


def _hands(seen: Comparison, order: Sequence[str]) -> Hands:
    """Return what the page can be asked: curve and maps as charts, strategies, budgets, classes."""
    charts: dict[str, Any] = {"curve": curve_spec(seen.curves, seen.full)}
    shown = with_pictures(seen, order)
    charts |= {f"map{i}": map_spec(run) for i, run in enumerate(shown.values())}
    styles = strategy_styles(list(order))
    budgets = sorted({p.labels for c in seen.curves for p in c.points})
    classes = [str(c) for run in list(shown.values())[:1] for c in (run.gallery or {})["classes"]]
    return Hands(charts, {n: var(styles[n]["color"]) for n in order}, budgets, classes)


def _any(seen: Comparison) -> Run:
    return next(iter(seen.runs.values()))[0]


def _called(part: Any) -> str | None:
    """Return the name of a configured part: its `name`, else the last word of its target."""
    if not isinstance(part, Mapping):
        return None if part is None else str(part)
    name = part.get("name") or str(part.get("_target_", "")).rpartition(".")[2]
    return str(name) if name else None


def _task(seen: Comparison) -> str:
    config = _any(seen).config
    words = (_called(config.get("data")), _called(config.get("model")), config.get("mode"))
    return ", ".join(str(w) for w in words if w)


def _head(seen: Comparison) -> Markup:
    means = f"By the means alone: {sentence(seen.curves, seen.full)}"
    return header(_task(seen), headline(seen.curves, seen.full), (means, *on_slope(seen)))
