"""The images of a curation: some of every outcome, duplicates side by side, the commonest and the
rarest entries, and where the kept and the dropped lie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from coreset.report.map import plot_kept
from coreset.report.render import render
from coreset.report.shapes import key
from coreset.report.sheet import data_uri
from coreset.report.theme import INK, MUTED, RANDOM, STRATEGIES, figure, quiet, svg, var
from coreset.report.words import count, counted
from coreset.scorers.image.decode import decode

KEPT, DROPPED = STRATEGIES[0], STRATEGIES[1]
_REASONS = 10  # shown with images; the others are in the funnel
_MOST_PIXELS = 2**25  # a larger image is named, not drawn
_FIRST = 32  # characters of a caption under its image


def pictures_html(gallery: Mapping[str, Any], plots: dict[str, Figure]) -> Markup:
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
    return Markup("").join(parts)


class _Shots:
    """Images by id, each read once."""

    def __init__(self) -> None:
        self._drawn: dict[str, dict[str, str]] = {}

    def strip(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
        """Return some rows as the template shows them: an image, what it is, a caption."""
        return [self._one(row) for row in rows]

    def _one(self, row: Mapping[str, Any]) -> dict[str, str]:
        if row["id"] not in self._drawn:
            self._drawn[row["id"]] = picture(row["image"])
        caption = " ".join(str(row["preview"] or "").replace("\x1e", " ").split())
        state = str(row.get("state", "rejected"))
        title = f"{row['id']}: {state}" + (f", {row['reason']}" if row.get("reason") else "")
        title += f". {caption[:200]}" if caption else ""
        own = {"id": str(row["id"]), "state": state, "title": title, "caption": caption[:_FIRST]}
        return own | self._drawn[row["id"]]


def picture(image: Any) -> dict[str, str]:
    """Return an image, as the rows of a run refer to it, small and as a URI; or why there is none
    and, where known, its size.
    """
    decoded = decode(image, _MOST_PIXELS)
    if decoded.pixels is not None:
        return {"uri": data_uri(decoded.pixels)}
    size = f"{decoded.width} × {decoded.height}" if decoded.width else ""
    return {"uri": "", "why": decoded.status.replace("_", " "), "size": size}


def _outcomes(outcomes: Sequence[Mapping[str, Any]], shots: _Shots) -> Markup:
    blocks = []
    for one in outcomes[: _REASONS + 1]:
        note = count(one["size"]) + (f", {one['operator']}" if one["operator"] else "")
        name, rows = one["reason"] or one["state"], shots.strip(one["rows"])
        blocks.append({"name": name, "note": note, "rows": rows})
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
    return render("curation/outcomes.html", note=note, blocks=blocks)


def _groups(one: Mapping[str, Any], shots: _Shots) -> Markup:
    strips = []
    for group in one["groups"]:
        left = group["size"] - len(group["rows"])
        strips.append((shots.strip(group["rows"]), f"and {count(left)} more" if left else ""))
    note = (
        f"{count(len(strips))} of {counted(one['size'], 'group')}: first the image that stands for"
        " the others, which a later operator may drop for a reason of its own."
    )
    return render("curation/copies.html", operator=one["operator"], note=note, strips=strips)


def _entries(entries: Mapping[str, Any] | None, shots: _Shots, plots: dict[str, Figure]) -> Markup:
    if entries is None:
        return Markup()
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
            {
                "name": e["entry"],
                "note": f"{count(e['before'])} → {count(e['after'])}",
                "rows": shots.strip(e["rows"]),
            }
            for e in entries[end]
        ]
        sides.append((head, blocks))
    note = (
        f"{counted(entries['seen'], 'entry')} of the vocabulary occur. Rows before and after"
        " balancing; images as above: some rows that have the entry, kept and thinned out."
    )
    still = svg(fig, "entries")
    return render("curation/entries.html", note=note, figure=still, sides=sides)


def _map(plane: Mapping[str, Any] | None, plots: dict[str, Figure]) -> Markup:
    if plane is None:
        return Markup()
    fig, ax = figure(5.4, 5.4)
    ax.set_position((0.0, 0.0, 1.0, 1.0))
    plot_kept(plane["xy"], plane["kept"], (KEPT, DROPPED), ax)
    plots["map"] = fig
    kept = int(plane["kept"].sum())
    dropped = len(plane["kept"]) - kept
    chips = [(var(KEPT), f"kept {count(kept)}"), (var(DROPPED), f"dropped {count(dropped)}")]
    note = f"Rows that have {plane['name']}, in the plane of its two principal axes."
    return render("curation/map.html", note=note, key=key(chips), figure=svg(fig, "map"))
