"""The decision about every row of a partition: what all operators said about it put together, and
the counts of it.
"""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coreset.core.batch import objects, to_numpy
from coreset.core.overrules import Overrules
from coreset.curation.runtime.checkpoint import Partition, Stage, StateStore, spread, write_table
from coreset.curation.runtime.row_ids import DUPLICATE, INPUT
from coreset.curation.runtime.steps import FAILED, Pipeline, read_columns
from coreset.numerics.random import keyed_uniform

# a column of this ending is made for later operators, too long to decide by: it stays in the state
WORKING = "_text"
_SAMPLES = 12  # shown per outcome
_NONE = {"in": 0, "kept": 0, "dropped": 0, "rejected": 0, "reasons": {}, "undefined": {}}


@dataclass
class Counts:
    """Rows by what became of them; `restored` of the kept were dropped by an operator and kept by
    a person. operators: {name: rows that reached it, kept, dropped, rejected,
    reasons, undefined}; samples: {outcome: rows}.
    """

    kept: int = 0
    dropped: int = 0
    rejected: int = 0
    restored: int = 0
    operators: dict[str, dict[str, Any]] = field(default_factory=dict)
    samples: dict[str, list[tuple[float, dict[str, Any]]]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows decided about."""
        return self.kept + self.dropped + self.rejected

    def add(self, other: Counts) -> None:
        """Add the counts of another part."""
        self.kept += other.kept
        self.dropped += other.dropped
        self.rejected += other.rejected
        self.restored += other.restored
        for name, more in other.operators.items():
            mine = self.operators.get(name, _NONE)
            self.operators[name] = {key: _sum(mine[key], more[key]) for key in _NONE}
        for outcome, rows in other.samples.items():
            both = [*self.samples.get(outcome, []), *rows]
            self.samples[outcome] = heapq.nsmallest(_SAMPLES, both, key=lambda r: r[0])


def _sum(a: Any, b: Any) -> Any:
    return (
        {k: a.get(k, 0) + b.get(k, 0) for k in sorted({*a, *b})}
        if isinstance(a, Mapping)
        else a + b
    )


@dataclass(frozen=True)
class DecidePartition:
    """Put together what all operators said about one partition."""

    chain: Pipeline
    folder: str
    overrules: Overrules | None = None

    def path(self, partition: Partition) -> Path:
        """Return where the decisions about a partition are."""
        return self.chain.work.root / self.folder / f"{partition.name}.parquet"

    def __call__(self, partition: Partition) -> Counts:
        """Write the decisions about the partition, rejects among them, in the order of lines;
        return their counts.
        """
        work = self.chain.work
        view = self.chain.view(partition)
        ends, counts = _Ends(partition.rows), Counts()
        columns: dict[str, pa.Array] = {}
        for stage in self.chain.stages:
            answers = read_columns(work.side(stage, partition))
            row = answers["row"].to_numpy().astype(np.int64)
            counts.operators[stage.name] = ends.take(stage, row, answers)
            for name in sorted(stage.gives & set(answers.schema.names)):
                if not _is_vector(answers[name].type) and not name.endswith(WORKING):
                    columns[name] = spread(row, answers[name], partition.rows)
        file = work.shards[partition.shard]
        overruled = {}
        if self.overrules is not None:
            ids = view.column("id").to_pylist()
            counts.restored = ends.restore(ids, self.overrules)
            overruled = overruled_columns(ids, self.overrules)
        about = {
            "id": view.column("id"),
            "file": pa.array([file] * partition.rows, pa.string()),
            "line": view.column("line"),
        }
        table = pa.table(about | ends.columns() | overruled | columns)
        counts.samples = _samples(table, view.column("preview"))
        rejects = [r for r in read_rejects(work, partition) if r["line"] is not None]
        if rejects:
            table = _with_rejects(table, rejects, file)
            lost = len(rejects)
            more = {
                "in": lost,
                "rejected": lost,
                "reasons": dict(Counter(r["reason"] for r in rejects)),
            }
            counts.add(Counts(rejected=lost, operators={INPUT: {**_NONE, **more}}))
        final = Counter(ends.state.tolist())
        counts.add(Counts(final["kept"], final["dropped"], final["rejected"]))
        write_table(self.path(partition), table)
        return counts


class _Ends:
    """What became of every row of a partition: filled in operator by operator."""

    def __init__(self, size: int) -> None:
        self.state = np.full(size, "kept", object)
        self.operator, self.reason, self.duplicate_of = (
            np.full(size, None, object),
            np.full(size, None, object),
            np.full(size, None, object),
        )

    def take(self, stage: Stage, row: NDArray[np.int64], answers: pa.Table) -> dict[str, Any]:
        """Take over what one operator said about `row`; return its counts."""
        names = answers.schema.names
        here = (
            np.ones(len(row), bool)
            if "keep" not in names
            else to_numpy(answers["keep"]).astype(bool)
        )
        numbers = [
            n for n in sorted(stage.gives & set(names)) if pa.types.is_floating(answers[n].type)
        ]
        undefined = {n: int(np.isnan(to_numpy(answers[n])[here]).sum()) for n in numbers}
        counts = {
            **_NONE,
            "in": len(row),
            "kept": len(row),
            "undefined": {n: c for n, c in undefined.items() if c},
        }
        if "keep" not in names:
            return counts
        gone = ~here
        out = row[gone]
        failed = (
            answers["failed"].is_valid().to_numpy()[gone]
            if "failed" in names
            else np.zeros(len(out), bool)
        )
        words = (
            to_numpy(answers["reason"])[gone] if "reason" in names else objects([None] * len(out))
        )
        lost = failed | (stage.name == INPUT)
        self.operator[out] = stage.name
        self.state[out] = np.where(lost, "rejected", "dropped")
        self.reason[out] = np.where(failed, FAILED, DUPLICATE if stage.name == INPUT else words)
        if "duplicate_of" in names:
            self.duplicate_of[out] = to_numpy(answers["duplicate_of"])[gone]
        rejected, reasons = int(lost.sum()), Counter(self.reason[out].tolist())
        return counts | {
            "kept": len(row) - len(out),
            "dropped": len(out) - rejected,
            "rejected": rejected,
            "reasons": dict(reasons),
        }

    def restore(self, ids: Sequence[str], overrules: Overrules) -> int:
        """Keep what a person keeps or pins, whichever operator dropped it; return how many."""
        wanted = set(overrules.of("keep", "pin"))
        rows = [i for i, k in enumerate(ids) if k in wanted and self.state[i] == "dropped"]
        self.state[rows] = "kept"
        for column in (self.operator, self.reason, self.duplicate_of):
            column[rows] = None
        return len(rows)

    def columns(self) -> dict[str, pa.Array]:
        """Return the columns of the decisions."""
        return {
            n: pa.array(getattr(self, n), pa.string())
            for n in ("state", "operator", "reason", "duplicate_of")
        }


def overruled_columns(ids: Sequence[str], overrules: Overrules) -> dict[str, pa.Array]:
    """Return what people have decided about rows: `overruled` in words, `new_label`."""
    sentences = [one.said if (one := overrules.get(k)) else None for k in ids]
    labels = [overrules.labels.get(k) for k in ids]
    return {
        "overruled": pa.array(sentences, pa.string()),
        "new_label": pa.array(labels, pa.string()),
    }


def read_rejects(work: StateStore, partition: Partition) -> list[dict[str, Any]]:
    """Return what the reader refused in a partition, in order."""
    text = work.partition(partition).with_suffix(".rejects.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def _with_rejects(table: pa.Table, rejects: Sequence[Mapping[str, Any]], file: str) -> pa.Table:
    """Return the decisions with the rows that the reader refused, in the order of lines."""
    size = len(rejects)
    lost = {
        name: pa.array([value] * size)
        for name, value in (("file", file), ("state", "rejected"), ("operator", INPUT))
    }
    lost |= {
        "line": pa.array([r["line"] for r in rejects]),
        "reason": pa.array([r["reason"] for r in rejects]),
    }
    table = pa.concat_tables([table, pa.table(lost)], promote_options="permissive")
    return table.take(pa.array(np.argsort(table["line"].to_numpy(), kind="stable")))


def _is_vector(kind: pa.DataType) -> bool:
    nested = (
        pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)
    )
    return bool(nested and not pa.types.is_string(kind.value_type))


def _samples(table: pa.Table, previews: pa.Array) -> dict[str, list[tuple[float, dict[str, Any]]]]:
    """Return some rows of every outcome, chosen by a hash of their ids: the same rows however the
    input is cut.
    """
    luck = keyed_uniform(0, to_numpy(table["id"]))
    ends = zip(table["state"].to_pylist(), table["operator"].to_pylist(), strict=True)
    outcome = objects([s if o is None else f"{s} by {o}" for s, o in ends])
    out = {}
    for name in sorted(set(outcome.tolist())):
        rows = np.flatnonzero(outcome == name)
        rows = rows[np.argsort(luck[rows], kind="stable")][:_SAMPLES]
        records = table.take(pa.array(rows)).to_pylist()
        out[name] = [
            (float(luck[r]), row | {"preview": previews[r].as_py()})
            for r, row in zip(rows.tolist(), records, strict=True)
        ]
    return out
