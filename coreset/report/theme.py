"""How the report looks: colors that the color-blind tell apart, on light and on dark paper, and SVG
that follows the page.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from coreset.report.words import plain

# Every color is drawn as it is on light paper; on the page it is a variable that has a second value
# for dark paper.
INK, MUTED, RULE, RANDOM = "#1c1f24", "#666d77", "#d8dbe0", "#858c96"
STRATEGIES = (
    "#0a6ebd",
    "#c2410c",
    "#0f7b5f",
    "#a33b86",
    "#8a6d00",
    "#5146b8",
    "#8c1d40",
    "#2b7f8e",
)
CLASSES = (
    "#4477aa",
    "#e0645c",
    "#2f8f4e",
    "#c9a227",
    "#4db3d1",
    "#a5478f",
    "#e08a3c",
    "#7a6fd0",
    "#8a8f3c",
    "#8c6a5a",
)
_DARK = {
    INK: "#e6e8ec",
    MUTED: "#9aa2ad",
    RULE: "#363b43",
    RANDOM: "#8f97a3",
    **dict(
        zip(
            STRATEGIES,
            (
                "#58aef0",
                "#f58a52",
                "#3fc09b",
                "#e08ac9",
                "#d3b23c",
                "#a49cf5",
                "#ec6f93",
                "#63c0d0",
            ),
            strict=True,
        )
    ),
}
_NAMES = {
    INK: "ink",
    MUTED: "muted",
    RULE: "rule",
    RANDOM: "random",
    **{c: f"s{i}" for i, c in enumerate(STRATEGIES)},
}
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif"


def variables(dark: bool = False) -> str:
    """Return the colors as CSS declarations."""
    return "".join(f"--{_NAMES[c]}:{_DARK[c] if dark else c};" for c in _NAMES)


def var(color: str) -> str:
    """Return a color of the theme as a CSS variable, any other as it is.

    >>> var(INK), var("#ffffff")
    ('var(--ink)', '#ffffff')
    """
    return f"var(--{_NAMES[color]})" if color in _NAMES else color


def strategy_styles(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return color, dash and marker per strategy, by the order of names: `random` in gray always,
    dashes from the ninth on.

    >>> strategy_styles(["margin", "random"])["random"]["color"] == RANDOM
    True
    """
    styles: dict[str, dict[str, Any]] = {}
    for i, name in enumerate(sorted(set(names) - {"random"})):
        lap, color = divmod(i, len(STRATEGIES))
        dash, marker = (("-", "o"), ((0, (4, 1.6)), "s"), ((0, (1, 1.4)), "D"))[lap % 3]
        styles[name] = {"color": STRATEGIES[color], "linestyle": dash, "marker": marker}
    if "random" in names:
        styles["random"] = {"color": RANDOM, "linestyle": "-", "marker": "o"}
    return styles


def class_color(label: int) -> str:
    """Return the color of a class; gray for -1, and from the eleventh class on the colors come
    again.
    """
    return RANDOM if label < 0 else CLASSES[label % len(CLASSES)]


def figure(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure of a size in inches and its one Axes; no state of pyplot is touched."""
    fig = Figure(figsize=(width, height), dpi=100)
    FigureCanvasAgg(fig)
    fig.patch.set_alpha(0)
    ax = fig.add_subplot()
    ax.patch.set_alpha(0)
    return fig, ax


def quiet(ax: Axes, spines: Sequence[str] = ("left", "bottom")) -> None:
    """Leave only the named spines and make everything but the data recede."""
    for side, spine in ax.spines.items():
        spine.set_visible(side in spines)
        spine.set_color(MUTED)
        spine.set_linewidth(0.7)
    ax.tick_params(which="both", colors=MUTED, labelcolor=MUTED, labelsize=9, width=0.7, length=3)
    ax.tick_params(which="minor", length=0)


def _tag(tag: str, name: str) -> str:
    """Return one SVG tag with ids of its own, colors as variables, fewer digits and the page's
    font.
    """
    tag = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", tag)
    tag = re.sub(r"#[0-9a-f]{6}\b", lambda m: var(m[0]), tag)
    tag = re.sub(r"(\d\.\d\d)\d+", r"\1", tag)
    return re.sub(r"font-family: [^;\"]*", f"font-family: {FONT}", tag)


def svg(
    fig: Figure, name: str, titles: Mapping[str, str] | None = None, alone: bool = False
) -> Markup:
    """Return the figure as SVG whose texts are text and whose colors follow the page; the same
    figure gives the same bytes.

    name: makes ids unique on the page. titles: hover text by the gid of an artist. alone: with an
    XML head and its own light and dark colors.
    """
    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        fig.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = plain(out.getvalue())
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*|<style.*?</style>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<[^>]+>", lambda tag: _tag(tag[0], name), text)
    for gid, title in (titles or {}).items():
        group = f'<g id="{name}-{gid}">'
        text = text.replace(group, f"{group}<title>{escape(plain(title))}</title>", 1)
    if not alone:
        text = re.sub(r' height="[\d.]+pt"', "", text, count=1)
        return Markup(re.sub(r'<svg ([^>]*?)width="[^"]*" ', r"<svg \1", text, count=1))
    style = f"<style>svg{{stroke-linejoin:round;{variables()}}}@media(prefers-color-scheme:dark){{svg{{{variables(True)}}}}}</style>"
    head = '<?xml version="1.0" encoding="utf-8"?>\n'
    return Markup(head + re.sub(r"(<svg [^>]*>)", lambda m: m[1] + style, text, count=1))


def png(fig: Figure) -> bytes:
    """Return the figure as PNG on white paper, without a date."""
    out = io.BytesIO()
    fig.savefig(out, format="png", dpi=200, facecolor="white")
    FigureCanvasAgg(fig)  # a new canvas: the old one holds every pixel
    return out.getvalue()
