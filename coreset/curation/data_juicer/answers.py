"""What one operator says about rows of Data-Juicer, as stats: its columns and `state`, `reason`,
`duplicate_of`; a row it fails on is rejected alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from coreset.core.batch import Batch, to_arrow, to_numpy
from coreset.core.strategy import Scorer
from coreset.curation.data_juicer.rows import OURS, Rows, python_values
from coreset.curation.operators.base import Decision, Estimator, Filter, GroupBy, Selector
from coreset.curation.operators.contract import checked, finished, only, run_in_memory
from coreset.curation.operators.threshold import Threshold

KEPT, DROPPED, REJECTED = "kept", "dropped", "rejected"
TEXT = pa.string()


@dataclass(frozen=True)
class Answers:
    """Our stats of rows, {name: values}, without the prefix.
    `state` is kept, dropped or rejected.
    """

    stats: dict[str, list[Any]]

    def of(self, i: int) -> dict[str, Any]:
        """Return the stats of one row, under the names they are stored by."""
        return {f"{OURS}{name}": values[i] for name, values in self.stats.items()}


def row_wise(operator: Scorer | Filter, band: Threshold | None, rows: Rows) -> Answers:
    """Return what a scorer or rule says about a batch; band: which scores are kept.

    A row it fails on is rejected. Raises ValueError when it fails on every row of a batch, or on
    the batch and on none of its rows: then the fault is not in the rows.
    """
    bad = dict(rows.bad)
    good = rows.good.tolist()
    parts: list[tuple[list[int], dict[str, Any], Decision | None]] = []
    if good:
        try:
            parts = [(good, *_outcome(operator, band, rows.batch))]
        except (ImportError, OSError, MemoryError, AssertionError):
            raise
        except Exception as first:
            wrong: dict[int, str] = {}
            for at, i in enumerate(good):
                try:
                    parts.append(
                        ([i], *_outcome(operator, band, Batch(rows.batch.table.slice(at, 1))))
                    )
                except Exception as error:
                    wrong[i] = f"operator_failed: {type(error).__name__}: {error}"
            if not wrong or (len(wrong) == len(good) and len(good) > 1):
                raise ValueError(
                    f"{type(operator).__name__} fails on a batch of {len(good)} rows:"
                    f" {type(first).__name__}: {first}"
                ) from first
            bad |= wrong
    return _put_together(operator, rows, bad, parts)


def _outcome(
    operator: Scorer | Filter, band: Threshold | None, batch: Batch
) -> tuple[dict[str, Any], Decision | None]:
    """Call the operator. A column without any value in this batch has no type: it may be one of
    texts, and is one of numbers where that does not go.
    """
    empty = [f.name for f in batch.table.schema if pa.types.is_null(f.type)]
    try:
        columns, decision = checked(operator, batch)
    except Exception:
        if not empty:
            raise
        numbers = {
            n: pa.nulls(batch.rows, pa.float64()) if n in empty else batch.arrow(n) for n in batch
        }
        columns, decision = checked(operator, Batch(pa.table(numbers)))
    if band is not None:
        given = {
            "id": batch.arrow("id"),
            **{
                n: pa.array(python_values(v))
                for n, v in columns.items()
                if n.startswith(band.column)
            },
        }
        decision = checked(band, Batch(pa.table(given)))[1]
    return columns, decision


def at_once(operator: Any, rows: Rows, total: int | None) -> Answers:
    """Return what an operator says that sees all rows: a fit, group or selection. total: rows read,
    the base of shares.
    """
    bad, good = dict(rows.bad), rows.good
    if not len(good):
        return _put_together(operator, rows, bad, [])
    if isinstance(operator, Estimator):
        operator = finished(operator, operator.fit(only(rows.batch, operator.needs)))
    if isinstance(operator, Selector):
        order = np.argsort(rows.batch["id"].astype(str), kind="stable")
        batch = Batch(rows.batch.table.take(pa.array(order)).combine_chunks())
        columns, decision = checked(operator, batch, len(rows.ids) if total is None else total)
        return _put_together(operator, rows, bad, [(good[order].tolist(), columns, decision)])
    if not isinstance(operator, GroupBy):
        return row_wise(operator, None, rows)
    table = run_in_memory(operator, rows.batch)
    place = dict(zip(rows.batch["id"].tolist(), good.tolist(), strict=True))
    gives = {
        n: table[n] for n in table.column_names if n not in ("id", "keep", "reason", "duplicate_of")
    }
    keep, reason, duplicate_of = (to_numpy(table[n]) for n in ("keep", "reason", "duplicate_of"))
    answered = [place[i] for i in table["id"].to_pylist()]  # rows in no group are kept unseen
    return _put_together(
        operator, rows, bad, [(answered, gives, Decision(keep.astype(bool), reason, duplicate_of))]
    )


def _put_together(
    operator: Any,
    rows: Rows,
    bad: dict[int, str],
    parts: Sequence[tuple[list[int], dict[str, Any], Decision | None]],
) -> Answers:
    size = len(rows.ids)
    stats: dict[str, list[Any]] = {
        "state": [KEPT] * size,
        "reason": [""] * size,
        "duplicate_of": [""] * size,
    }
    columns: dict[str, list[Any]] = {name: [None] * size for name in sorted(operator.gives)}
    kinds: dict[str, pa.DataType] = {
        n: v.type for n, v in _of_no_rows(operator, rows, parts).items()
    }
    for places, given, decision in parts:
        for name, values in given.items():
            column = to_arrow(values)
            kinds[name] = (
                column.type if pa.types.is_null(kinds.get(name, pa.null())) else kinds[name]
            )
            for i, value in zip(places, column.to_pylist(), strict=True):
                columns[name][i] = value
        if decision is None:
            continue
        for at, i in enumerate(places):
            if not decision.keep[at]:
                stats["state"][i], stats["reason"][i] = DROPPED, str(decision.reason[at])
            if decision.duplicate_of is not None:
                stats["duplicate_of"][i] = decision.duplicate_of[at] or ""
    for i, why in bad.items():
        stats["state"][i], stats["reason"][i] = REJECTED, why
    return Answers(
        {
            "id": list(rows.ids),
            **stats,
            **{
                n: _filled(v, kinds.get(n, TEXT if n.endswith("_status") else None))
                for n, v in columns.items()
            },
        }
    )


def _of_no_rows(operator: Any, rows: Rows, parts: Sequence[Any]) -> dict[str, pa.Array]:
    """Return the columns of a batch without a good row, for their types; {} when there is one, or
    the operator cannot say.
    """
    if parts or isinstance(operator, Estimator | GroupBy | Selector):
        return {}
    try:
        return {
            n: to_arrow(v)
            for n, v in checked(operator, Batch(rows.batch.table.slice(0, 0)))[0].items()
        }
    except Exception:
        return {}


def _filled(values: list[Any], kind: pa.DataType | None) -> list[Any]:
    """Return values with NaN for a number that is missing and "" for a text, whole numbers as
    floats: what a column holds must not depend on the rows of a batch.

    A column of objects without any value is one of texts; kind None: unknown, a number.
    """
    if kind is None or pa.types.is_floating(kind) or pa.types.is_integer(kind):
        return [np.nan if v is None else float(v) for v in values]
    texts = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)
    return ["" if v is None and texts else v for v in values]
