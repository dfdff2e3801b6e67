"""The recipe of a curation, operator by operator, and what could not be used."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from coreset.report.shapes import Cell, table
from coreset.report.words import count

_REJECTS = 4  # rows of a reason


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for one in sorted(path.glob("*.jsonl")) if path.is_dir() else [path]:
        with one.open(encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)


def rejects(path: Path, reasons: Mapping[str, int]) -> Markup:
    """Return the section of rows that could not be used, the first of every reason; path: the file
    or folder where all of them are.
    """
    if not reasons:
        return Markup()
    shown: dict[str, list[dict[str, Any]]] = {reason: [] for reason in reasons}
    for one in _lines(path):
        if len(shown[one["reason"]]) < _REJECTS:
            shown[one["reason"]].append(one)
    rows = []
    for reason, examples in sorted(shown.items(), key=lambda r: (-reasons[r[0]], r[0])):
        for i, one in enumerate(examples):
            name = Cell(reason, count(reasons[reason])) if i == 0 else ""
            place = one["file"] + (f", line {one['line']}" if one["line"] else "")
            row = Cell(str(one.get("row", ""))[:120], code=True)
            rows.append((name, place, one["why"], row))
    heads = ("reason", "where", "what is wrong", "the row")
    note = f"The first {_REJECTS} of every reason; all of them are in rejects.jsonl."
    return table("What could not be used", heads, rows, [note], left=(1, 2, 3))


def recipe(manifest: Mapping[str, Any]) -> Markup:
    """Return the section of the operators: their settings and how many rows went through."""
    rows = []
    for one in manifest["operators"]:
        options = {
            k: v
            for k, v in one.items()
            if k not in ("name", "kind", "_target_", "hash", "counts", "version", "resources")
        }
        described = ", ".join(
            f"{k} {_plain(v)}" for k, v in options.items() if v not in (None, {}, [])
        )
        counts = one.get("counts")
        numbers = [count(counts[k]) for k in ("in", "kept", "dropped")] if counts else ["–"] * 3
        rows.append((one["name"], described, *numbers))
    heads = ("operator", "settings", "in", "kept", "dropped")
    return table("The recipe", heads, rows, left=(1,))


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        name = str(value.get("_target_", "")).rpartition(".")[2]
        inside = ", ".join(
            f"{k} {_plain(v)}" for k, v in value.items() if k != "_target_" and v is not None
        )
        return f"{name}({inside})" if name else f"{{{inside}}}"
    return f"[{', '.join(map(_plain, value))}]" if isinstance(value, list) else str(value)
