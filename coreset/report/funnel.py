"""The funnel of a curation: how many rows are left after every operator,
and why the others went.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from coreset.report.render import render
from coreset.report.theme import INK, MUTED, RANDOM, STRATEGIES, figure, quiet
from coreset.report.words import count, plain, share

_LONGEST = 58


@dataclass(frozen=True)
class Stage:
    """One bar: rows that are left after it, rows that came to it, and why rows went, most first."""

    name: str
    came: int
    left: int
    reasons: Mapping[str, int]


def stages(manifest: Mapping[str, Any]) -> list[Stage]:
    """Return the stages of a run: the rows read, every operator that decides, in order, and
    the rows that people kept against them. Scores and fits that drop nothing are left out.

    >>> counts = {"in": 5, "kept": 3, "dropped": 2, "rejected": 0, "reasons": {"short": 2}}
    >>> manifest = {
    ...     "counts": {"rows": 6, "kept": 3},
    ...     "rejects": {"empty_answer": 1},
    ...     "operators": [{"name": "words", "kind": "filter", "counts": counts}],
    ... }
    >>> [(s.name, s.came, s.left) for s in stages(manifest)]
    [('read', 6, 5), ('words', 5, 3)]
    """
    total = manifest["counts"]["rows"]
    decided = [(o["name"], o["kind"], o["counts"]) for o in manifest["operators"] if "counts" in o]
    left = decided[0][2]["in"] if decided else manifest["counts"]["kept"]
    out = [Stage("read", total, left, _most(manifest["rejects"]))]
    for name, kind, counts in decided:
        if counts["kept"] < counts["in"] or kind not in ("score", "estimator"):
            out.append(Stage(name, out[-1].left, counts["kept"], _most(counts["reasons"])))
    back = (manifest.get("overrules") or {}).get("restored", 0)
    if back:
        kept = out[-1].left + back
        out.append(Stage("restored", kept, kept, {"kept by overrule": back}))
    return out


def _most(reasons: Mapping[str, int]) -> dict[str, int]:
    """Return the phrases by how many rows each applies to, most first; a row that fails several
    rules counts for each.
    """
    counts: dict[str, int] = {}
    for reason, rows in reasons.items():
        for phrase in reason.split("; "):
            counts[phrase] = counts.get(phrase, 0) + rows
    return dict(sorted(counts.items(), key=lambda r: (-r[1], r[0])))


def funnel_figure(steps: Sequence[Stage]) -> Figure:
    """Draw one bar a stage: what is left in color, what went at this stage in gray; beside it the
    counts and the reasons.
    """
    height = 0.5 + 0.5 * len(steps)
    fig, ax = figure(10.0, height)
    ax.set_position((0.185, 0.02, 0.465, 1 - 0.1 / height))
    total = max(steps[0].came, 1)
    for y, stage in enumerate(steps):
        ax.barh(y, stage.came / total, height=0.56, color=RANDOM, alpha=0.28, linewidth=0)
        bar = ax.barh(
            y, stage.left / total, height=0.56, color=STRATEGIES[0], alpha=0.9, linewidth=0
        )
        bar[0].set_gid(f"stage{y}")
        label = f"{count(stage.left)}"
        ax.text(
            stage.came / total + 0.012,
            y - 0.14,
            label,
            fontsize=10,
            color=INK,
            va="center_baseline",
            weight="bold",
        )
        ax.text(
            stage.came / total + 0.012,
            y + 0.22,
            plain(_went(stage, total)),
            fontsize=8.5,
            color=MUTED,
            va="center_baseline",
            parse_math=False,
        )
    ax.set_ylim(len(steps) - 0.45, -0.55)
    ax.set_xlim(0, 1)
    quiet(ax, ())
    ax.set_xticks([])
    ax.set_yticks(range(len(steps)))
    ax.set_yticklabels(
        [plain(s.name if len(s.name) <= 24 else s.name[:23] + "…") for s in steps],
        fontsize=9.5,
        color=INK,
        parse_math=False,
    )
    ax.tick_params(axis="y", length=0)
    return fig


def funnel_list(steps: Sequence[Stage]) -> Markup:
    """Return the same as a list in HTML, for a page too narrow for the figure.

    >>> "<b>read</b> 3 <small>75 % of all" in funnel_list([Stage("read", 4, 3, {"empty": 1})])
    True
    """
    total = max(steps[0].came, 1)
    stages = [
        {
            "name": s.name,
            "left": count(s.left),
            "went": _went(s, total),
            "width": f"{100 * s.left / total:.1f}",
        }
        for s in steps
    ]
    return render("curation/stages.html", stages=stages)


def _went(stage: Stage, total: int) -> str:
    """Return the share that is left and the reasons, as many as have room."""
    text = f"{share(stage.left / total)} of all"
    gone = [f"{count(n)} {reason}" for reason, n in stage.reasons.items()]
    if not gone:
        return text if stage.came == stage.left == total else f"{text}; none went"
    for shown in range(len(gone), 0, -1):
        left = len(gone) - shown
        sentence = "; ".join([text, *gone[:shown]]) + (f" and {left} more" if left else "")
        if len(sentence) <= _LONGEST:
            return sentence
    return sentence if len(sentence) <= _LONGEST + 8 else sentence[: _LONGEST + 7] + "…"
