"""The images of a curation: some of every outcome, duplicates side by side, the commonest and the
rarest entries, and where the kept and the dropped lie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from coreset.report.map import plot_kept
from coreset.report.sheet import data_uri
from coreset.report.theme import INK, MUTED, RANDOM, STRATEGIES, figure, quiet, svg, var
from coreset.report.words import count, counted, text
from coreset.scorers.image.decode import Decoded, decode

KEPT, DROPPED = STRATEGIES[0], STRATEGIES[1]
_REASONS = 10  # shown with images; the others are in the funnel
_MOST_PIXELS = 2**25  # a larger image is named, not drawn
_FIRST = 32  # characters of a caption under its image
STYLE = f"""
.shots{{display:grid;grid-template-columns:168px 1fr;gap:14px 18px;margin:0 0 22px}}
.shots h4{{font-size:13px;overflow-wrap:anywhere}}
.shots>*{{border-top:1px solid var(--rule);padding-top:12px}}
.row{{display:flex;flex-wrap:wrap;gap:8px;--thumb:88px;min-width:0}}
.row figure img,.row figure .none{{aspect-ratio:1;object-fit:contain;background:#fff;border:2px solid var(--rule);border-radius:5px;width:100%;padding:3px}}
.row figure .none{{display:flex;align-items:center;justify-content:center;text-align:center;background:var(--sunk);color:var(--muted);font-size:11px;line-height:1.25}}
.row figure.kept img{{border-color:{var(KEPT)}}}.row figure.dropped img,.row figure.dropped .none{{border-color:{var(DROPPED)}}}
.row figcaption{{overflow:hidden;text-overflow:ellipsis;white-space:nowrap;margin-top:2px}}
.groups{{display:flex;flex-wrap:wrap;gap:14px;margin:8px 0 22px}}
.groups .row{{background:var(--sunk);border-radius:8px;padding:10px 10px 6px}}
.groups .more{{align-self:center;color:var(--muted);font-size:12px;padding:0 6px 16px}}
.split{{display:grid;grid-template-columns:1fr 1fr;gap:6px 34px}}.split .shots{{grid-template-columns:120px 1fr}}.split .row{{--thumb:66px}}
@media(max-width:760px){{.shots,.split,.split .shots{{grid-template-columns:1fr}}.shots>.row{{border-top:0;padding-top:0}}}}
"""


def pictures_html(gallery: Mapping[str, Any], plots: dict[str, Figure]) -> str:
    """Return the images of a run as HTML, small and inlined; add its figures to `plots`. gallery:
    what `coreset.curation.results.gallery.gather` gives.

    An image that cannot be drawn is a box that says why.
    """
    shots = _Shots()
    parts = [
        _outcomes(gallery["outcomes"], shots),
        *(_groups(one, shots) for one in gallery["groups"]),
        _entries(gallery["entries"], shots, plots),
        _map(gallery["map"], plots),
    ]
    return "".join(p for p in parts if p)


class _Shots:
    """Images by id, each read once."""

    def __init__(self) -> None:
        self._drawn: dict[str, str] = {}

    def row(self, rows: Sequence[Mapping[str, Any]], more: str = "") -> str:
        """Return some rows as a strip of images."""
        return f'<div class="row">{"".join(map(self._one, rows))}{more}</div>'

    def _one(self, row: Mapping[str, Any]) -> str:
        if row["id"] not in self._drawn:
            self._drawn[row["id"]] = picture(row["image"])
        caption = " ".join(str(row["preview"] or "").replace("\x1e", " ").split())
        state = str(row.get("state", "rejected"))
        summary = f"{row['id']}: {state}" + (f", {row['reason']}" if row.get("reason") else "")
        title = text(summary + (f". {caption[:200]}" if caption else ""))
        below = f"<figcaption>{text(caption[:_FIRST])}</figcaption>" if caption else ""
        return (
            f'<figure class="{state}" title="{title}" data-id="{text(str(row["id"]))}">'
            f"{self._drawn[row['id']]}{below}</figure>"
        )


def picture(image: Any) -> str:
    """Return an image, as the rows of a run refer to it, small and inlined; a box that says why
    where it cannot be drawn.
    """
    return _image(decode(image, _MOST_PIXELS))


def _image(decoded: Decoded) -> str:
    if decoded.pixels is not None:
        return f'<img alt="" loading="lazy" src="{data_uri(decoded.pixels)}">'
    size = f"<br>{decoded.width} × {decoded.height}" if decoded.width else ""
    return f'<div class="none"><span>{text(decoded.status.replace("_", " "))}{size}</span></div>'


def _outcomes(outcomes: Sequence[Mapping[str, Any]], shots: _Shots) -> str:
    blocks = []
    for one in outcomes[: _REASONS + 1]:
        name = one["reason"] or one["state"]
        under = count(one["size"]) + (f", {one['operator']}" if one["operator"] else "")
        blocks.append(f"<h4>{text(name)}<span>{text(under)}</span></h4>{shots.row(one['rows'])}")
    left = outcomes[_REASONS + 1 :]
    note = (
        "Some images of every outcome, chosen by a hash of their ids; framed in blue what was kept,"
        " in orange what was dropped."
    )
    note += (
        f" {counted(len(left), 'more reason')} with {count(sum(o['size'] for o in left))} rows: see"
        " the recipe below."
        if left
        else ""
    )
    return (
        f'<h2>What was kept, what was dropped</h2><p class="note">{text(note)}</p><div'
        f' class="shots">{"".join(blocks)}</div>'
    )


def _groups(one: Mapping[str, Any], shots: _Shots) -> str:
    strips = []
    for group in one["groups"]:
        left = group["size"] - len(group["rows"])
        strips.append(
            shots.row(
                group["rows"], f'<span class="more">and {count(left)} more</span>' if left else ""
            )
        )
    note = (
        f"{count(len(strips))} of {counted(one['size'], 'group')}: first the image that stands for"
        " the others, which a later operator may drop for a reason of its own."
    )
    return (
        f'<h2>Copies, by {text(one["operator"])}</h2><p class="note">{text(note)}</p><div'
        f' class="groups">{"".join(strips)}</div>'
    )


def _entries(entries: Mapping[str, Any] | None, shots: _Shots, plots: dict[str, Figure]) -> str:
    if entries is None:
        return ""
    rank, before, after = entries["curve"].T
    fig, ax = figure(6.6, 2.8)
    ax.set_position((0.09, 0.19, 0.89, 0.68))
    ax.plot(rank, before, color=RANDOM, linewidth=2)
    ax.plot(rank, after, color=KEPT, linewidth=2)
    ax.set_xscale("log")
    ax.set_yscale("symlog", linthresh=1)
    ax.set_ylim(bottom=0)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}".replace(",", " ")))
    quiet(ax)
    ax.set_xlabel("entries, commonest first", fontsize=9, color=MUTED, loc="left")
    ax.set_title("rows that have the entry", loc="left", fontsize=9, color=MUTED)
    at = len(rank) // 2
    ax.annotate(
        "before", (rank[at], before[at]), (4, 6), textcoords="offset points", fontsize=9, color=INK
    )
    ax.annotate(
        "after", (rank[0], after[0]), (2, -14), textcoords="offset points", fontsize=9, color=KEPT
    )
    plots["entries"] = fig
    sides = []
    for end, head in (("head", "The commonest"), ("tail", "Some of the rarest")):
        blocks = [
            f"<h4>{text(e['entry'])}<span>{count(e['before'])} →"
            f" {count(e['after'])}</span></h4>{shots.row(e['rows'])}"
            for e in entries[end]
        ]
        sides.append(f'<div><h3>{head}</h3><div class="shots">{"".join(blocks)}</div></div>')
    note = (
        f"{counted(entries['seen'], 'entry')} of the vocabulary occur. Rows before and after"
        " balancing; images as above: some rows that have the entry, kept and thinned out."
    )
    return (
        f'<h2>Common and rare entries</h2><p class="note">{text(note)}</p><div class="grid'
        f' one">{svg(fig, "entries")}</div><div class="split">{"".join(sides)}</div>'
    )


def _map(plane: Mapping[str, Any] | None, plots: dict[str, Figure]) -> str:
    if plane is None:
        return ""
    fig, ax = figure(5.4, 5.4)
    ax.set_position((0.0, 0.0, 1.0, 1.0))
    plot_kept(plane["xy"], plane["kept"], (KEPT, DROPPED), ax)
    plots["map"] = fig
    kept = int(plane["kept"].sum())
    chips = "".join(
        f'<li><i style="background:{var(c)}"></i>{n} {count(k)}</li>'
        for c, n, k in ((KEPT, "kept", kept), (DROPPED, "dropped", len(plane["kept"]) - kept))
    )
    note = f"Rows that have {plane['name']}, in the plane of its two principal axes."
    return (
        f'<h2>Where they lie</h2><p class="note">{text(note)}</p><ul class="key">{chips}</ul><div'
        f' class="grid one">{svg(fig, "map")}</div>'
    )
