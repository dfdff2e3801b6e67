"""What one operator says about rows of Data-Juicer, as stats: its columns and `state`, `reason`, `twin`; a row it fails on is rejected alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from coreset.batch import Batch, to_numpy
from coreset.pipeline.contract import checked, run_in_memory
from coreset.pipeline.juicer.rows import OURS, Rows, python_values
from coreset.pipeline.operators import Rule, Select, Verdict
from coreset.pipeline.threshold import Threshold
from coreset.types import Scorer

KEPT, DROPPED, REJECTED = "kept", "dropped", "rejected"


@dataclass(frozen=True)
class Answers:
    """Our stats of rows, {name: values}, without the prefix. `state` is kept, dropped or rejected."""

    stats: dict[str, list[Any]]

    def of(self, i: int) -> dict[str, Any]:
        """Return the stats of one row, under the names they are stored by."""
        return {f"{OURS}{name}": values[i] for name, values in self.stats.items()}


def row_wise(operator: Scorer | Rule, band: Threshold | None, rows: Rows) -> Answers:
    """Return what a scorer or rule says about a batch; band: which scores are kept.

    Raises ValueError when the operator fails on every row of a batch, as the other engines do: then the fault is not in the rows.
    """
    bad = dict(rows.bad)
    good = rows.good.tolist()
    parts: list[tuple[list[int], dict[str, Any], Verdict | None]] = []
    if good:
        try:
            parts = [(good, *_said(operator, band, rows.batch))]
        except (ImportError, OSError, MemoryError, AssertionError):
            raise
        except Exception as first:
            for at, i in enumerate(good):
                try:
                    parts.append(([i], *_said(operator, band, Batch(rows.batch.table.slice(at, 1)))))
                except Exception as error:
                    bad[i] = f"operator_failed: {type(error).__name__}: {error}"
            if not parts:
                raise ValueError(
                    f"{type(operator).__name__} fails on all {len(good)} rows of a batch: {type(first).__name__}: {first}"
                ) from first
    return _put_together(operator, rows, bad, parts)


def _said(operator: Scorer | Rule, band: Threshold | None, batch: Batch) -> tuple[dict[str, Any], Verdict | None]:
    columns, verdict = checked(operator, batch)
    if band is not None:
        given = {
            "id": batch.arrow("id"),
            **{n: pa.array(python_values(v)) for n, v in columns.items() if n.startswith(band.column)},
        }
        verdict = checked(band, Batch(pa.table(given)))[1]
    return columns, verdict


def at_once(operator: Any, rows: Rows, total: int | None) -> Answers:
    """Return what an operator says that sees all rows: a fit, group or selection. total: rows read, the base of shares."""
    bad, good = dict(rows.bad), rows.good
    if not len(good):
        return _put_together(operator, rows, bad, [])
    if isinstance(operator, Select):
        order = np.argsort(rows.batch["id"].astype(str), kind="stable")
        batch = Batch(rows.batch.table.take(pa.array(order)).combine_chunks())
        columns, verdict = checked(operator, batch, len(rows.ids) if total is None else total)
        return _put_together(operator, rows, bad, [(good[order].tolist(), columns, verdict)])
    table = run_in_memory(operator, rows.batch)
    place = dict(zip(rows.batch["id"].tolist(), good.tolist(), strict=True))
    keep, reason, twin = (to_numpy(table[n]) if n in table.column_names else None for n in ("keep", "reason", "twin"))
    gives = {n: table[n] for n in table.column_names if n not in ("id", "keep", "reason", "twin")}
    verdict = None if keep is None else Verdict(keep.astype(bool), reason, twin)  # type: ignore[arg-type]
    said = [place[i] for i in table["id"].to_pylist()]  # rows in no group are kept unseen
    return _put_together(operator, rows, bad, [(said, gives, verdict)])


def _put_together(
    operator: Any, rows: Rows, bad: dict[int, str], parts: Sequence[tuple[list[int], dict[str, Any], Verdict | None]]
) -> Answers:
    size = len(rows.ids)
    stats: dict[str, list[Any]] = {"state": [KEPT] * size, "reason": [""] * size, "twin": [""] * size}
    columns: dict[str, list[Any]] = {name: [None] * size for name in sorted(operator.gives)}
    for places, given, verdict in parts:
        for name, values in given.items():
            for i, value in zip(places, python_values(values), strict=True):
                columns[name][i] = value
        if verdict is None:
            continue
        for at, i in enumerate(places):
            if not verdict.keep[at]:
                stats["state"][i], stats["reason"][i] = DROPPED, str(verdict.reason[at])
            if verdict.twin is not None:
                stats["twin"][i] = verdict.twin[at] or ""
    for i, why in bad.items():
        stats["state"][i], stats["reason"][i] = REJECTED, why
    return Answers({"id": list(rows.ids), **stats, **{n: _filled(n, v) for n, v in columns.items()}})


def _filled(name: str, values: list[Any]) -> list[Any]:
    """Return values with NaN or "" for what is missing: the type of a column must not depend on which rows a batch holds."""
    worded = name.endswith(("_status", "_text"))
    kind = next((type(v) for v in values if v is not None), str if worded else float)
    blank = {float: np.nan, str: ""}.get(kind)
    return [blank if v is None else v for v in values]
