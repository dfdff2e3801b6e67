"""What changed between two curations of the same rows: who came in, who went out, and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup
from numpy.typing import NDArray

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
    """What differs between two runs.

    moves: (what became of a row in the first, in the second) -> how many rows, the commonest
    first; ids: some of each move, as they lie in the first run; first, second: the rows of these
    by id. counts: kept in both, only in the first, only in the second, rows of one run alone.
    """

    moves: Mapping[tuple[str, str], int]
    ids: Mapping[tuple[str, str], list[str]]
    first: Mapping[str, Mapping[str, Any]]
    second: Mapping[str, Mapping[str, Any]]
    counts: Mapping[str, int]


def is_curation(path: Path) -> bool:
    """Return whether a folder is that of a finished curation."""
    return (path / "decisions.parquet").exists() and (path / "manifest.json").exists()


def changes(first: Path, second: Path) -> Changes:
    """Return what changed from one curation to another, row by row, by their ids.

    Both are held as columns. Raises ValueError when they have no row in common.
    """
    a, b = _rows(first), _rows(second)
    both = _fates(a).join(_fates(b), "id", join_type="inner", right_suffix="_then")
    if not both.num_rows:
        raise ValueError(
            f"{first} and {second} have no row in common: compare runs over the same rows"
        )
    was, now = (pc.equal(both[name], KEPT) for name in ("state", "state_then"))
    counts = {
        "kept_in_both": pc.and_(was, now),
        "kept_only_in_first": pc.and_(was, pc.invert(now)),
        "kept_only_in_second": pc.and_(pc.invert(was), now),
    }
    moved = both.filter(pc.not_equal(both["fate"], both["fate_then"])).sort_by("place")
    shown, moves = _by_move(moved)
    at = {key: moved.take(pa.array(rows)) for key, rows in shown.items()}
    some = pa.concat_tables(at.values()) if at else moved
    return Changes(
        moves,
        {key: rows["id"].to_pylist() for key, rows in at.items()},
        {r["id"]: r for r in a.take(some["place"]).to_pylist()},
        {r["id"]: r for r in b.take(some["place_then"]).to_pylist()},
        {k: pc.sum(v).as_py() or 0 for k, v in counts.items()}
        | {
            "rows_only_in_first": a.num_rows - both.num_rows,
            "rows_only_in_second": b.num_rows - both.num_rows,
        },
    )


def _by_move(
    moved: pa.Table,
) -> tuple[dict[tuple[str, str], NDArray[np.int64]], dict[tuple[str, str], int]]:
    """Return the first rows of every move and how many it has, the commonest move first."""
    names, codes = [], []
    for column in ("fate", "fate_then"):
        coded = pc.dictionary_encode(moved[column].combine_chunks())
        names.append(coded.dictionary.to_pylist())
        codes.append(coded.indices.to_numpy().astype(np.int64))
    code = codes[0] * max(1, len(names[1])) + codes[1]
    order = np.argsort(code, kind="stable")
    distinct, begin, size = np.unique(code[order], return_index=True, return_counts=True)
    keys = [(names[0][c // len(names[1])], names[1][c % len(names[1])]) for c in distinct.tolist()]
    ranked = sorted(range(len(keys)), key=lambda i: (-size[i], keys[i]))
    shown = {keys[i]: order[begin[i] : begin[i] + min(size[i], _SHOWN)] for i in ranked}
    return shown, {keys[i]: int(size[i]) for i in ranked}


def _rows(folder: Path) -> pa.Table:
    """Return the decisions about rows that have an id."""
    names = ["id", "file", "line", "state", "operator", "reason", "duplicate_of"]
    path = folder / "decisions.parquet"
    names += [name for name in ("new_label",) if name in table_schema(path).names]
    rows = read_table(path, names)
    return rows.filter(rows["id"].is_valid())


def _fates(rows: pa.Table) -> pa.Table:
    """Return `id`, `state`, in words the `fate` of every row, and its `place`."""
    text = pa.string()
    state, operator = (
        pc.cast(rows["state"], text),
        pc.fill_null(pc.cast(rows["operator"], text), "input"),
    )
    reason = pc.fill_null(pc.cast(rows["reason"], text), "")
    dropped = pc.if_else(
        pc.equal(reason, ""), operator, pc.binary_join_element_wise(operator, reason, ": ")
    )
    kept: Any = state
    if "new_label" in rows.column_names:
        label = pc.cast(rows["new_label"], text)
        kept = pc.coalesce(pc.binary_join_element_wise(state, label, ", relabeled "), state)
    fate = pc.if_else(pc.equal(state, KEPT), kept, dropped)
    place = pa.array(np.arange(rows.num_rows))
    ids = pc.cast(rows["id"], text)
    return pa.table({"id": ids, "state": state, "fate": fate, "place": place})


def write_comparison(first: Path, second: Path, out: Path) -> tuple[Path, Changes]:
    """Write `changes.html` into `out`; return its path and the changes."""
    changed = changes(first, second)
    manifests = [
        json.loads((p / "manifest.json").read_text(encoding="utf-8")) for p in (first, second)
    ]
    shown = [k for ids in changed.ids.values() for k in ids]
    texts = texts_of([changed.first[k] for k in shown], first / "state", manifests[0])
    counts = changed.counts
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
    for (was, now), ids in changed.ids.items():
        rows = []
        for key in ids:
            words = texts.get(key, "")
            why = str(changed.second[key]["reason"] or changed.first[key]["reason"] or "")
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
