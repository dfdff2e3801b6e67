"""The decisions of a curation, read by a person: rows around every cut, the text of what a row
duplicates, before and after, a uniform sample beside a suspicious one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from markupsafe import Markup

from coreset.core.places import read_table, table_schema
from coreset.report.decided_rows import (
    before_after,
    cuts,
    duplicate_pairs,
    images_of,
    suspicious,
    texts_of,
)
from coreset.report.highlight import marked, overlap, shared, spans_of
from coreset.report.pictures import picture
from coreset.report.render import render
from coreset.report.shapes import Cell
from coreset.report.words import count, share

_PAIRS = 8


def decided_html(out: Path, manifest: Mapping[str, Any], state: Path) -> Markup:
    """Return the sections as HTML. out: the folder of a finished run; state: that of its state,
    where the texts are; without it rows are named but not quoted.
    """
    table = _read(out / "decisions.parquet")
    edges, pairs, (uniform, odd) = cuts(table, manifest), duplicate_pairs(table), suspicious(table)
    rows = [r for c in edges for r in (*c.kept, *c.dropped)]
    rows += [r for row, other, _ in pairs for r in (row, other) if r is not None]
    texts = texts_of([*rows, *uniform, *odd], state, manifest)
    parts = [
        _cuts(edges, texts),
        _pairs(pairs, texts, lambda rows: images_of(rows, state, manifest)),
        _tables(before_after(table)),
        _samples(uniform, odd, texts),
    ]
    return Markup("").join(parts)


def _read(path: Path) -> pa.Table:
    """Return the decisions without their long columns; rejects of the reader have no id."""
    names = [f.name for f in table_schema(path) if not pa.types.is_list(f.type)]
    table = read_table(path, names)
    return table.filter(table["id"].is_valid())


def _card(row: Mapping[str, Any], body: Markup, *facts: str) -> dict[str, Any]:
    """Return a row as the pages show it. body: its text, marked; facts: remarks below it."""
    place = f"{row['id']}, {row['file']} line {row['line']}"
    reason = str(row.get("reason") or "")
    return {"id": row["id"], "body": body, "reason": reason, "facts": [*filter(None, facts), place]}


def _quoted(row: Mapping[str, Any], texts: Mapping[str, str]) -> Markup:
    words = texts.get(str(row["id"]), "")
    return marked(words, spans_of(words, str(row.get("reason") or "")), 400)


def _cuts(edges: Sequence[Any], texts: Mapping[str, str]) -> Markup:
    blocks = []
    for cut in edges:
        sides = [
            (head, [_card(r, _quoted(r, texts), _value(r, cut.name)) for r in rows])
            for head, rows in (("Last kept", cut.kept), ("First dropped", cut.dropped))
        ]
        name = f"{cut.name} at {cut.value:g}" if cut.name != "rank" else "the end of the choice"
        blocks.append({"name": f"{cut.operator}: {name}", "sides": sides})
    return render("curation/cuts.html", cuts=blocks) if blocks else Markup()


def _value(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    return f"{name} {value:.6g}" if isinstance(value, int | float) and value == value else ""


def _pairs(
    pairs: Sequence[tuple[Any, Any, float | None]],
    texts: Mapping[str, str],
    images_of_rows: Callable[[Sequence[Any]], Mapping[str, Any]],
) -> Markup:
    ranked = []
    for row, other, bits in pairs:
        if other is None:
            continue
        a, b = texts.get(str(row["id"]), ""), texts.get(str(other["id"]), "")
        alike = overlap(a, b) if a and b else None
        ranked.append(
            (-bits if bits else alike if alike is not None else 1.0, row, other, bits, alike, a, b)
        )  # fmt: skip
    ranked.sort(key=lambda r: (r[0], str(r[1]["id"])))
    shown = ranked[:_PAIRS]
    images = images_of_rows([r for _, row, other, *_ in shown for r in (row, other)])
    blocks = []
    for _, row, other, bits, alike, a, b in shown:
        far = (
            f"{bits:g} bits apart"
            if bits is not None
            else f"{100 * alike:.0f} % of 5-grams shared"
            if alike is not None
            else ""
        )
        one = _card(row, marked(a, shared(a, b)), far, str(row["operator"]))
        two = _card({**other, "reason": None}, marked(b, shared(b, a)), "stands for it")
        blocks.append([c | {"shot": _shot(r, images)} for c, r in ((one, row), (two, other))])
    note = (
        f"Of {count(len(pairs))} pairs looked at, those that are least alike first: they are the"
        " ones to doubt. Marked is what both texts share."
    )
    return render("curation/pairs.html", note=note, pairs=blocks) if blocks else Markup()


def _shot(row: Mapping[str, Any], images: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the image of a row as the template shows it; None without one."""
    if (image := images.get(str(row["id"]))) is None:
        return None
    title = f"{row['id']}: {row['state']}" + (f", {row['reason']}" if row["reason"] else "")
    return picture(image) | {"state": str(row["state"]), "title": title}


def _tables(counts: Mapping[str, Sequence[tuple[str, int, int]]]) -> Markup:
    tables = {}
    for title, rows in counts.items():
        before = max(1, sum(r[1] for r in rows))
        after = max(1, sum(r[2] for r in rows))
        tables[title] = [
            (name, Cell(count(n), share(n / before)), Cell(count(k), share(k / after)),
             share(k / max(n, 1)))
            for name, n, k in rows
        ]  # fmt: skip
    return render("curation/before_after.html", tables=tables) if tables else Markup()


def _samples(uniform: Sequence[Any], odd: Sequence[Any], texts: Mapping[str, str]) -> Markup:
    if not uniform:
        return Markup()
    sides = [
        (head, [_card(r, _quoted(r, texts), r.get("oddest", "")) for r in rows])
        for head, rows in (("Drawn uniformly", uniform), ("The oddest", odd))
    ]
    return render("curation/train_on.html", sides=sides)
