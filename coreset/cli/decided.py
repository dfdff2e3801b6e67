"""Decisions of a curation asked for one by one: what happened to a row, and to rows like it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from coreset.core.places import read_table, table_schema
from coreset.report.decided_rows import limits
from coreset.report.explore.curated import curated_columns
from coreset.report.explore.rows import chunk as _chunk
from coreset.report.explore.table import explore_table

MOST = 100  # rows of one answer


def summarize(run: Path) -> dict[str, Any]:
    """Return counts, operators with their reasons, and the score columns of a curation."""
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    keys = ("name", "kind", "counts", "found")
    return {
        "counts": manifest["counts"], "rejects": manifest["rejects"],
        "overrules": manifest.get("overrules"),
        "operators": [{k: o[k] for k in keys if k in o} for o in manifest["operators"]],
        "columns": table_schema(run / "decisions.parquet").names,
    }  # fmt: skip


def preview(
    run: Path,
    decision: str | None = None,
    operator: str | None = None,
    reason: str | None = None,
    near: str | None = None,
    limit: int = 10,
    offset: int = 0,
) -> dict[str, Any]:
    """Return rows of a curation with their texts: those of a decision, an operator, a reason; with
    `near`, a column of numbers, the rows nearest to a cut of it first, and `cuts`: the thresholds of
    the recipe, and for a column without one the value that parts kept from dropped rows best.

    Raises ValueError for a limit outside 1 to 100 and a column that holds no numbers, KeyError for a
    column that is not there.
    """
    if not 1 <= limit <= MOST or offset < 0:
        raise ValueError(f"limit: expected 1 to {MOST}, got {limit}; offset at least 0")
    columns, _ = curated_columns(run)
    columns.pop("thumbnail", None)
    table = explore_table(columns)
    for name, value in (("decision", decision), ("operator", operator), ("reason", reason)):
        if value is not None:
            table = table.filter(pc.equal(table[name], value))
    cuts: dict[str, Any] = {}
    if near is not None:
        if near not in table.column_names:
            raise KeyError(f"no column {near!r}; there are {', '.join(table.column_names)}")
        kind = table.schema.field(near).type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
            raise ValueError(f"near: expected a column of numbers, {near!r} holds {kind}")
        manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
        cuts["cuts"] = _thresholds(manifest, near) or [_cut(explore_table(columns), near)]
        values = pc.cast(table[near], "float64").to_numpy()
        far = np.abs(values[:, None] - np.array(cuts["cuts"])).min(axis=1)
        table = table.take(pa.array(np.argsort(far, kind="stable")))
    return {"rows": table.num_rows, "offset": offset, **cuts, "shown": _rows(table, offset, limit)}


def _thresholds(manifest: Mapping[str, Any], name: str) -> list[float]:
    """Return where the recipe cuts a column; distances of images, at the radius of duplicates."""
    values = {value for _, column, value in limits(manifest) if column == name}
    if name == "image_distance":
        values |= {float(o["radius"]) for o in manifest["operators"] if "radius" in o}
    return sorted(values)


def _rows(table: Any, offset: int, limit: int) -> list[dict[str, Any]]:
    part = table.slice(offset, limit)
    return _chunk(part, 0)[:limit]


def _cut(table: Any, name: str) -> float:
    """Return the value of a column that parts kept from dropped rows best, in the middle between two
    of its values: where the shares of both that lie below it differ most.
    """
    values = pc.cast(table[name], "float64").to_numpy()
    kept = pc.equal(table["decision"], "kept").to_numpy(zero_copy_only=False)
    kept, values = kept[values == values], values[values == values]
    order = np.argsort(values, kind="stable")
    kept, values = kept[order], values[order]
    ends = np.flatnonzero(np.diff(values))  # the last of equal values
    if not len(ends) or kept.all() or not kept.any():
        return float(np.median(values)) if len(values) else 0.0
    apart = np.abs(np.cumsum(kept) / kept.sum() - np.cumsum(~kept) / (~kept).sum())
    i = ends[np.argmax(apart[ends])]
    return float(values[i] + values[i + 1]) / 2


def explain(run: Path, row: str) -> dict[str, Any]:
    """Return everything that is known of one row, by id or position, and of the row that stands for
    it where it is a duplicate. Raises KeyError for no row.
    """
    columns, _ = curated_columns(run)
    columns.pop("thumbnail", None)
    table = explore_table(columns)
    ids = table["id"].to_pylist()
    at = ids.index(row) if row in ids else int(row) if row.isdigit() and int(row) < len(ids) else -1
    if at < 0:
        raise KeyError(f"no row {row!r} among {len(ids)}")
    record = _rows(table, at, 1)[0]
    twin = record.get("duplicate_row")
    return {"row": record, "duplicate": None if twin is None else _rows(table, int(twin), 1)[0]}


def unknown(run: Path, ids: Sequence[str]) -> list[str]:
    """Return the ids that no row of a run has: of a curation's decisions, or of the rows that a
    training or a flywheel has written. Raises FileNotFoundError for a folder without either.
    """
    for name in ("decisions.parquet", "rows.parquet"):
        if (run / name).exists():
            known = set(map(str, read_table(run / name, ["id"])["id"].to_pylist()))
            return [k for k in ids if k not in known]
    raise FileNotFoundError(2, "expected a run with decisions.parquet or rows.parquet", str(run))
