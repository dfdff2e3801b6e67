"""What a page can be asked: contents and folded sections without script; with it, charts that zoom,
hover and filter, pictures that grow, a budget that hides later picks, and ids as CSV.

Charts are Vega-Lite specifications drawn by the bundled library, whose expressions are interpreted,
never compiled: the page's policy needs no `unsafe-eval`. A figure that cannot be drawn by script
stays the SVG it was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from markupsafe import Markup

from coreset.report.document import static
from coreset.report.load import Run
from coreset.report.render import render
from coreset.report.theme import INK, MUTED, RANDOM, class_color, strategy_styles, var
from coreset.runs.curve import Curve, mean_curve

_POOL = 2000  # points of a map that were not chosen
_AREA = re.compile(r'<div class="(scroll|curve|funnel)">')
_NAMED = {"scroll": "Table", "curve": "Curve", "funnel": "Funnel"}


@dataclass(frozen=True)
class Hands:
    """What the script of a page works with. charts: Vega-Lite specifications by the id of the
    element they are drawn into; strategies and their colors; budgets in labels; classes by number.
    """

    charts: Mapping[str, Any] = field(default_factory=dict)
    strategies: Mapping[str, str] = field(default_factory=dict)
    budgets: Sequence[int] = ()
    classes: Sequence[str] = ()

    def scripts(self) -> list[str]:
        """Return the scripts of the page in order: the library where there are charts, ours."""
        return [*([static("vega-lite.js")] if self.charts else []), static("page.js")]

    def data(self) -> Markup:
        """Return the data as an element that is no script: JSON without any `<`."""
        held = {
            "charts": self.charts,
            "strategies": self.strategies,
            "budgets": list(self.budgets),
            "classes": list(self.classes),
        }
        plain = json.dumps(held, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
        return render("data.html", data=Markup(plain))


def sectioned(body: str) -> Markup:
    """Return a page's body with contents at its top and a section that folds around every `<h2>`.

    Regions that scroll can be reached with the keyboard.
    """
    head, *parts = re.split(r"(?=<h2>)", body)
    sections = []
    for part in parts:
        name = re.match(r"<h2>(.*?)</h2>", part, re.DOTALL)
        assert name is not None
        words = Markup(re.sub(r"<[^>]*>", "", name[1]))
        rest = Markup(part[name.end() :])
        sections.append({"title": Markup(name[1]), "words": words, "body": rest})
    top, end, below = head.partition("</header>")
    whole = render("sectioned.html", top=Markup(top + end), below=Markup(below), sections=sections)
    attributes = 'tabindex="0" role="region" aria-label='
    return Markup(_AREA.sub(lambda m: f'<div class="{m[1]}" {attributes}"{_NAMED[m[1]]}">', whole))


def curve_spec(curves: Sequence[Curve], full: float | None) -> dict[str, Any]:
    """Return the curve as Vega-Lite: mean and ± 1 sd per strategy, every seed on demand, a rule at
    the budget; wheel and drag zoom.
    """
    groups: dict[str, list[Curve]] = {}
    for curve in curves:
        groups.setdefault(curve.strategy, []).append(curve)
    means, seeds = [], []
    for name, group in groups.items():
        for n, mean, sd in zip(*mean_curve(group), strict=True):
            low, high = round(100 * (mean - sd), 3), round(100 * (mean + sd), 3)
            means.append(
                {"s": name, "n": n, "v": round(100 * float(mean), 3), "lo": low, "hi": high}
            )
        for curve in group:
            for p in curve.points:
                if np.isfinite(p.value):
                    seeds.append(
                        {
                            "s": name,
                            "e": str(curve.seed),
                            "n": p.labels,
                            "v": round(100 * p.value, 3),
                        }
                    )
    means = [m for m in means if all(np.isfinite(m[k]) for k in ("v", "lo", "hi"))]
    names = sorted(groups)
    styles = strategy_styles(names)
    color = {
        "field": "s",
        "type": "nominal",
        "legend": None,
        "scale": {"domain": names, "range": [var(styles[n]["color"]) for n in names]},
    }
    x = {
        "field": "n",
        "type": "quantitative",
        "scale": {"type": "log", "nice": False, "zero": False},
        "title": "labels spent",
    }
    y = {
        "field": "v",
        "type": "quantitative",
        "scale": {"zero": False},
        "title": f"test {curves[0].metric}, %",
    }
    shown = {"filter": "indexof(hidden, datum.s) < 0"}
    tips = [
        {"field": "s", "title": "strategy"},
        {"field": "n", "title": "labels"},
        {"field": "v", "title": "%"},
    ]
    layers: list[dict[str, Any]] = [
        {"data": {"values": means}, "transform": [shown], "mark": {"type": "area", "opacity": 0.14},
         "encoding": {"x": x, "y": {**y, "field": "lo"}, "y2": {"field": "hi"}, "color": color}},
        {"data": {"values": seeds}, "transform": [shown, {"filter": "each"}],
         "mark": {"type": "line", "opacity": 0.45, "strokeWidth": 1},
         "encoding": {"x": x, "y": y, "color": color, "detail": {"field": "e"},
                      "tooltip": [*tips, {"field": "e", "title": "seed"}]}},
        {"data": {"values": means}, "transform": [shown],
         "mark": {"type": "line", "strokeWidth": 2.2},
         "encoding": {"x": x, "y": y, "color": color}},
        {"data": {"values": means}, "transform": [shown],
         "mark": {"type": "point", "filled": True, "size": 46},
         "params": [{"name": "zoom", "select": "interval", "bind": "scales"}],
         "encoding": {"x": x, "y": y, "color": color,
                      "tooltip": [*tips, {"field": "lo", "title": "− 1 sd"},
                                  {"field": "hi", "title": "+ 1 sd"}]}},
        {"data": {"values": [{}]},
         "transform": [{"calculate": "budget", "as": "n"}, {"filter": "budget > 0"}],
         "mark": {"type": "rule", "strokeDash": [4, 3], "color": var(INK)}, "encoding": {"x": x}},
    ]  # fmt: skip
    if full is not None and np.isfinite(full):
        layers.append(
            {"data": {"values": [{"v": 100 * full}]},
             "mark": {"type": "rule", "strokeDash": [1, 2], "color": var(INK)},
             "encoding": {"y": y}}
        )  # fmt: skip
    params = [
        {"name": "hidden", "value": []},
        {"name": "each", "value": False},
        {"name": "budget", "value": 0},
    ]
    return {**_frame(360), "params": params, "layer": layers}


def map_spec(run: Run) -> dict[str, Any]:
    """Return the map of a run as Vega-Lite: the pool faint, the chosen ringed, colored by class;
    classes can be hidden, choices beyond the budget are.
    """
    gallery = run.gallery
    assert gallery is not None
    spent = {int(r["round"]): int(r["labels"]) for r in run.rounds}
    xy, label, when = gallery["map_xy"], gallery["map_label"], gallery["map_chosen"]
    free = np.flatnonzero(when < 0)
    free = (
        free[np.linspace(0, len(free) - 1, min(_POOL, len(free))).astype(int)]
        if len(free)
        else free
    )
    keep = np.concatenate([free, np.flatnonzero(when >= 0)])
    names = [str(c) for c in gallery["classes"]]
    values = [
        {"x": round(float(xy[i, 0]), 3), "y": round(float(xy[i, 1]), 3), "c": int(label[i]),
         "n": spent.get(int(when[i]), 0) if when[i] >= 0 else 0}
        for i in keep.tolist()
        if np.isfinite(xy[i]).all()
    ]  # fmt: skip
    domain = sorted({v["c"] for v in values})
    color = {
        "field": "c",
        "type": "nominal",
        "legend": None,
        "scale": {"domain": domain, "range": [class_color(int(c)) for c in domain]},
    }
    where = {
        "x": {"field": "x", "type": "quantitative", "axis": None, "scale": {"zero": False}},
        "y": {"field": "y", "type": "quantitative", "axis": None, "scale": {"zero": False}},
    }
    shown = {"filter": "indexof(gone, datum.c) < 0"}
    class_name = {"calculate": "names[datum.c]", "as": "class"}
    tips = [{"field": "class", "title": "class"}, {"field": "n", "title": "chosen by labels"}]
    chosen = "datum.n > 0 && (budget <= 0 || datum.n <= budget)"
    layers = [
        {"transform": [shown, class_name, {"filter": f"!({chosen})"}],
         "mark": {"type": "point", "filled": True, "size": 9, "opacity": 0.35},
         "encoding": {**where, "color": color, "tooltip": tips[:1]}},
        {"transform": [shown, class_name, {"filter": chosen}],
         "mark": {"type": "point", "filled": True, "size": 34, "stroke": var(INK),
                  "strokeWidth": 1},
         "params": [{"name": "zoom", "select": "interval", "bind": "scales"}],
         "encoding": {**where, "fill": color, "tooltip": tips}},
    ]  # fmt: skip
    params = [
        {"name": "gone", "value": []},
        {"name": "budget", "value": 0},
        {"name": "names", "value": names},
    ]
    return {**_frame(300), "params": params, "data": {"values": values}, "layer": layers}


def _frame(height: int) -> dict[str, Any]:
    muted = dict.fromkeys(("labelColor", "titleColor", "tickColor", "domainColor"), var(MUTED))
    axis = {**muted, "gridColor": var(RANDOM), "gridOpacity": 0.25, "titleFontWeight": "normal"}
    return {
        "width": 640, "height": height, "background": None,
        "autosize": {"type": "fit", "contains": "padding"},
        "config": {"view": {"stroke": None}, "axis": axis, "font": "system-ui, sans-serif"},
    }  # fmt: skip


def chart_place(name: str, still: Markup, label: str) -> Markup:
    """Return a place for a chart: the figure that stands there without script,
    and what it shows.
    """
    return render("chart.html", name=name, still=still, label=label)
