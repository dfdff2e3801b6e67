"""What changed between two curations of the same rows: who came in, who went out, and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from coreset.core.places import read_table, table_schema
from coreset.core.store import write_atomic
from coreset.report.css import css
from coreset.report.decided_rows import texts_of
from coreset.report.document import document
from coreset.report.hands import Hands, sectioned
from coreset.report.highlight import marked, spans_of
from coreset.report.render import render
from coreset.report.shapes import header, table
from coreset.report.words import count
from coreset.runs.run_folder import difference

_SHOWN = 10  # rows of a change
KEPT = "kept"


@dataclass(frozen=True)
class Changes:
    """a, b: rows of both runs by id. moves: (what became of it in a, in b) -> how many rows, only
    those that differ; ids by move. only_a, only_b: rows that one run alone read.
    """

    a: Mapping[str, Mapping[str, Any]]
    b: Mapping[str, Mapping[str, Any]]
    ids: Mapping[tuple[str, str], list[str]]
    only_a: int
    only_b: int

    @property
    def moves(self) -> dict[tuple[str, str], int]:
        """How many rows made each move, the commonest first."""
        return {k: len(v) for k, v in sorted(self.ids.items(), key=lambda m: (-len(m[1]), m[0]))}

    def counts(self) -> dict[str, int]:
        """Return kept in both, only in the first, only in the second, and rows of one run alone."""
        a = {k for k, r in self.a.items() if r["state"] == KEPT}
        b = {k for k, r in self.b.items() if r["state"] == KEPT}
        return {"kept_in_both": len(a & b), "kept_only_in_first": len(a - b),
                "kept_only_in_second": len(b - a),
                "rows_only_in_first": self.only_a, "rows_only_in_second": self.only_b}  # fmt: skip


def is_curation(path: Path) -> bool:
    """Return whether a folder is that of a finished curation."""
    return (path / "decisions.parquet").exists() and (path / "manifest.json").exists()


def changes(first: Path, second: Path) -> Changes:
    """Return what changed from one curation to another, row by row, by their ids.

    Raises ValueError when they have no row in common.
    """
    a, b = _rows(first), _rows(second)
    both = [k for k in a if k in b]
    if not both:
        raise ValueError(
            f"{first} and {second} have no row in common: compare runs over the same rows"
        )
    ids: dict[tuple[str, str], list[str]] = {}
    for key in both:
        was, now = _fate(a[key]), _fate(b[key])
        if was != now:
            ids.setdefault((was, now), []).append(key)
    return Changes(a, b, ids, len(a) - len(both), len(b) - len(both))


def _rows(folder: Path) -> dict[str, dict[str, Any]]:
    names = ["id", "file", "line", "state", "operator", "reason", "duplicate_of"]
    path = folder / "decisions.parquet"
    names += [name for name in ("new_label",) if name in table_schema(path).names]
    table = read_table(path, names)
    return {r["id"]: r for r in table.to_pylist() if r["id"] is not None}


def _fate(row: Mapping[str, Any]) -> str:
    if row["state"] == KEPT:
        label = row.get("new_label")
        return KEPT if label is None else f"{KEPT}, relabeled {label}"
    return f"{row['operator']}: {row['reason']}" if row["reason"] else str(row["operator"])


def write_comparison(first: Path, second: Path, out: Path) -> tuple[Path, Changes]:
    """Write `changes.html` into `out`; return its path and the changes."""
    changed = changes(first, second)
    manifests = [
        json.loads((p / "manifest.json").read_text(encoding="utf-8")) for p in (first, second)
    ]
    shown = [k for ids in changed.ids.values() for k in ids[:_SHOWN]]
    texts = texts_of([changed.a[k] for k in shown], first / "state", manifests[0])
    counts = changed.counts()
    head = header(
        f"{first.name} → {second.name}",
        f"{count(counts['kept_only_in_first'])} rows went out,"
        f" {count(counts['kept_only_in_second'])} came in,"
        f" {count(counts['kept_in_both'])} stayed",
        [f"{count(sum(changed.moves.values()))} rows have another decision or reason."],
    )
    body = head + _moves(changed) + _rows_html(changed, texts) + _settings(*manifests)
    page = document(
        f"{first.name} and {second.name}: what changed", css("base", "decided", "page"),
        sectioned(body), Hands().scripts(),
    )  # fmt: skip
    return write_atomic(out / "changes.html", page), changed


def _moves(changed: Changes) -> Markup:
    rows = [(count(n), was, now) for (was, now), n in changed.moves.items()]
    return table("What became of rows", ("rows", "before", "after"), rows, left=(1, 2))


def _rows_html(changed: Changes, texts: Mapping[str, str]) -> Markup:
    moves = []
    for (was, now), ids in sorted(changed.ids.items(), key=lambda m: -len(m[1])):
        rows = []
        for key in ids[:_SHOWN]:
            words = texts.get(key, "")
            why = str(changed.b[key]["reason"] or changed.a[key]["reason"] or "")
            body = marked(words, spans_of(words, why), 300)
            rows.append({"id": key, "body": body, "reason": "", "facts": [key]})
        moves.append((f"{was} → {now}", rows))
    return render("changes/rows.html", moves=moves) if moves else Markup()


def _settings(a: Mapping[str, Any], b: Mapping[str, Any]) -> Markup:
    keys = ("name", "counts", "hash", "found")
    plain = [
        {o["name"]: {k: v for k, v in o.items() if k not in keys}
         for o in m["operators"] if o["name"] != "overruled"}
        for m in (a, b)
    ]  # fmt: skip
    lines = difference(plain[0], plain[1])
    for which, m in (("first", a), ("second", b)):
        people = {k: v for k, v in (m.get("overrules") or {}).items() if isinstance(v, int) and v}
        back = people.pop("restored", 0)
        words = [f"{count(n)} {action}" for action, n in people.items()]
        words += [f"{count(back)} would have been dropped"] if back else []
        lines += [f"overrules in the {which}: {', '.join(words)}"] if words else []
    return render("changes/recipes.html", lines=lines)
