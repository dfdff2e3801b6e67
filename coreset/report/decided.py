"""The decisions of a curation, read by a person: rows around every cut, the text of what a row
duplicates, before and after, a uniform sample beside a suspicious one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

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
from coreset.report.words import count, share, text

_PAIRS = 8
STYLE = """
.two{display:grid;grid-template-columns:1fr 1fr;gap:8px 16px;margin:8px 0 20px}.two>*{min-width:0}
.two article{background:var(--sunk);border-radius:8px;padding:9px 11px;font-size:13.5px;overflow-wrap:anywhere;white-space:pre-wrap;margin-bottom:8px}
.two article footer{margin-top:6px;color:var(--muted);font-size:12px;white-space:normal}mark{background:#ffd54a;color:#1c1f24;border-radius:2px}
@media(max-width:640px){.two{grid-template-columns:1fr}}
"""


def decided_html(out: Path, manifest: Mapping[str, Any], state: Path) -> str:
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
    return "".join(parts)


def _read(path: Path) -> pa.Table:
    """Return the decisions without their long columns; rejects of the reader have no id."""
    names = [f.name for f in table_schema(path) if not pa.types.is_list(f.type)]
    table = read_table(path, names)
    return table.filter(table["id"].is_valid())


def _card(row: Mapping[str, Any], body: str, *facts: str) -> str:
    parts = [f"<b>{text(row['reason'])}</b>"] if row.get("reason") else []
    parts += [text(f) for f in facts if f] + [
        text(f"{row['id']}, {row['file']} line {row['line']}")
    ]
    return (
        f'<article data-id="{text(row["id"])}">{body}<footer>{" · ".join(parts)}</footer></article>'
    )


def _quoted(row: Mapping[str, Any], texts: Mapping[str, str]) -> str:
    words = texts.get(str(row["id"]), "")
    return marked(words, spans_of(words, str(row.get("reason") or "")), 400)


def _cuts(edges: Sequence[Any], texts: Mapping[str, str]) -> str:
    blocks = []
    for cut in edges:
        sides = []
        for head, rows in (("Last kept", cut.kept), ("First dropped", cut.dropped)):
            cards = "".join(_card(r, _quoted(r, texts), _value(r, cut.name)) for r in rows)
            sides.append(f"<div><h3>{head}</h3>{cards or '<p>none</p>'}</div>")
        name = f"{cut.name} at {cut.value:g}" if cut.name != "rank" else "the end of the choice"
        blocks.append(
            f'<h3>{text(cut.operator)}: {text(name)}</h3><div class="two">{"".join(sides)}</div>'
        )
    note = (
        "The rows nearest to every threshold, on both sides of it; marked is what the reason is"
        " about."
    )
    return f'<h2>Around every cut</h2><p class="note">{note}</p>{"".join(blocks)}' if blocks else ""


def _value(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    return f"{name} {value:.6g}" if isinstance(value, int | float) and value == value else ""


def _pairs(
    pairs: Sequence[tuple[Any, Any, float | None]],
    texts: Mapping[str, str],
    images_of_rows: Callable[[Sequence[Any]], Mapping[str, Any]],
) -> str:
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
        left = _pictured(row, images) + marked(a, shared(a, b))
        right = _pictured(other, images) + marked(b, shared(b, a))
        blocks.append(
            f'<div class="two"><div>{_card(row, left, far, str(row["operator"]))}</div>'
            f"<div>{_card({**other, 'reason': None}, right, 'stands for it')}</div></div>"
        )
    note = (
        f"Of {count(len(pairs))} pairs looked at, those that are least alike first: they are the"
        " ones to doubt. Marked is what both texts share."
    )
    if not blocks:
        return ""
    return (
        f'<h2>Duplicates beside what stands for them</h2><p class="note">{text(note)}</p>'
        f"{''.join(blocks)}"
    )


def _pictured(row: Mapping[str, Any], images: Mapping[str, Any]) -> str:
    if (image := images.get(str(row["id"]))) is None:
        return ""
    title = f"{row['id']}: {row['state']}" + (f", {row['reason']}" if row["reason"] else "")
    return (
        f'<div class="row"><figure class="{text(row["state"])}" title="{text(title)}">'
        f"{picture(image)}</figure></div>"
    )


def _tables(counts: Mapping[str, Sequence[tuple[str, int, int]]]) -> str:
    blocks = []
    for title, rows in counts.items():
        before = max(1, sum(r[1] for r in rows))
        after = max(1, sum(r[2] for r in rows))
        body = "".join(
            f"<tr><td>{text(name)}</td><td>{count(n)} <small>{share(n / before)}</small></td>"
            f"<td>{count(k)} <small>{share(k / after)}</small></td><td>{share(k / max(n, 1))}</td></tr>"
            for name, n, k in rows
        )
        heads = "".join(f"<th>{h}</th>" for h in (text(title), "before", "after", "kept"))
        blocks.append(
            f'<div class="scroll"><table class="numbers"><thead><tr>{heads}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
        )
    return f"<h2>Before and after</h2>{''.join(blocks)}" if blocks else ""


def _samples(uniform: Sequence[Any], odd: Sequence[Any], texts: Mapping[str, str]) -> str:
    if not uniform:
        return ""
    sides = []
    for head, rows in (("Drawn uniformly", uniform), ("The oddest", odd)):
        cards = "".join(_card(r, _quoted(r, texts), r.get("oddest", "")) for r in rows)
        sides.append(f"<div><h3>{head}</h3>{cards or '<p>none stands out</p>'}</div>")
    note = (
        "Kept rows: some drawn by a hash of their ids, and those that lie farthest out in a score."
    )
    return (
        f'<h2>What you would train on</h2><p class="note">{note}</p>'
        f'<div class="two">{"".join(sides)}</div>'
    )
