"""Rows of every outcome of a curation, to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from coreset.report.render import render
from coreset.report.scores import HIDDEN
from coreset.report.words import counted

_SHOWN = 6  # rows of an outcome


def outcomes(
    samples: Mapping[str, Sequence[Mapping[str, Any]]], manifest: Mapping[str, Any]
) -> Markup:
    """Return the section: rows of every outcome, by "kept", "dropped by <operator>" and "rejected
    by <operator>", with their reasons and scores; nothing without samples.
    """
    sizes = {"kept": manifest["counts"]["kept"]}
    for one in [{"name": "input", "counts": {"dropped": 0, "rejected": 0}}, *manifest["operators"]]:
        for end in ("dropped", "rejected"):
            sizes[f"{end} by {one['name']}"] = one.get("counts", {}).get(end, 0)
    blocks = [
        {
            "outcome": outcome,
            "size": counted(sizes[outcome], "row") if sizes[outcome] else "",
            "cards": [_card(row) for row in samples[outcome][:_SHOWN]],
        }
        for outcome in sorted(samples, key=list(sizes).index)
    ]
    return render("curation/samples.html", outcomes=blocks) if blocks else Markup()


def _card(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as the page shows it: what was asked, if anything, its text, and facts."""
    asked, separator, answer = str(row["preview"]).partition("\x1e")
    numbers = {
        k: v for k, v in row.items() if k not in HIDDEN and type(v) in (int, float) and v and v == v
    }
    facts = [f"duplicate_of {row['duplicate_of']}"] if row.get("duplicate_of") else []
    facts += [f"{k}\u00a0{v:.4g}" for k, v in list(numbers.items())[:4]]
    facts.append(f"{row['file']}, line {row['line']}")
    return {
        "has_question": bool(separator),
        "asked": asked if separator else "",
        "body": answer if separator else asked,
        "reason": str(row.get("reason") or ""),
        "facts": facts,
    }
