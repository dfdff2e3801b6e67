"""What is done to one partition: a step is a small picklable object called with a partition; it
reads and writes state and returns little.

That is all an engine has to know: it calls steps on partitions, anywhere, in any order, twice if a
worker was lost.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coreset.core.batch import Batch, objects, to_arrow
from coreset.core.places import parquet
from coreset.core.store import write_atomic
from coreset.curation.operators.base import Decision, Estimator, Operator
from coreset.curation.operators.contract import checked
from coreset.curation.operators.estimator_state import dump_state, has_state
from coreset.curation.runtime.checkpoint import (
    Partition,
    PartitionView,
    Stage,
    StateStore,
    about,
    check_count,
    whole,
    write_table,
)

FAILED = "operator_failed"
SAVE_EVERY = 30.0  # seconds
LOG = logging.getLogger("coreset")


@dataclass(frozen=True)
class Pipeline:
    """The operators decided so far, in order: what a view of a partition has to follow."""

    work: StateStore
    stages: tuple[Stage, ...] = ()
    batch: int = 512

    def with_stage(self, stage: Stage) -> Pipeline:
        """Return the chain with one more link."""
        return Pipeline(self.work, (*self.stages, stage), self.batch)

    def view(self, partition: Partition) -> PartitionView:
        """Return the partition as the chain leaves it; what is missing on disk is computed and
        written.
        """
        view = PartitionView(self.work, partition)
        for stage in self.stages:
            path = self.work.side(stage, partition)
            if not view.follow(path):
                if stage.operator is None:
                    raise FileNotFoundError(2, f"the state of '{stage.name}' is gone", str(path))
                answers = answers_of(stage, view, self.batch, path)
                check_count(path, len(view.alive), answers.num_rows)
                write_table(path, answers)
                path.with_suffix(".begun.parquet").unlink(missing_ok=True)
                view.follow(path)
        return view

    def __call__(self, partition: Partition) -> int:
        """Return how many rows of the partition are left at the end of the chain."""
        return len(self.view(partition).alive)


def side_table(
    rows: NDArray[np.int64],
    columns: dict[str, Any],
    decision: Decision | None,
    failed: NDArray[np.object_] | None = None,
) -> pa.Table:
    """Return what an operator said about rows as the table that is kept of it."""
    out: dict[str, Any] = {"row": pa.array(rows, pa.uint32())}
    if decision is not None or failed is not None:
        keep = np.ones(len(rows), bool) if decision is None else decision.keep
        if failed is not None:
            out["failed"] = pa.array(failed, pa.string())
            keep = keep & np.array([f is None for f in failed], bool)
        out["keep"] = pa.array(keep)
    if decision is not None:
        out["reason"] = pa.array(decision.reason, pa.string()).dictionary_encode()
        out["duplicate_of"] = pa.array(
            objects([None] * len(rows)) if decision.duplicate_of is None else decision.duplicate_of,
            pa.string(),
        )
    return pa.table(out | {n: to_arrow(v) for n, v in sorted(columns.items())})


def answers_of(stage: Stage, view: PartitionView, size: int, path: Path) -> pa.Table:
    """Run a score or a rule over the alive rows of a partition, batch by batch; return what goes
    into `path`.

    A row it fails on is set apart; failing on all rows of a batch stops the run. What a slow
    operator has said is kept every `SAVE_EVERY` seconds, so that a run that was killed goes on
    inside the partition.
    """
    assert stage.operator is not None
    part = path.with_suffix(".begun.parquet")
    table, begun, saved = _begun(part, size), 0, time.monotonic()
    parts = [] if table is None else [table]
    done = 0 if table is None else table.num_rows
    for rows, batch in view.batches(stage.operator.needs, size):
        begun += len(rows)
        if begun <= done:
            continue
        parts += list(_guarded(stage, rows, batch, view))
        if time.monotonic() - saved > SAVE_EVERY and begun < len(view.alive):
            parts = [_joined(parts)]
            write_table(part, parts[0], {"batch": size})
            LOG.info(
                "%s: %s, %d of %d rows",
                stage.name,
                view.work.shards[view.partition.shard],
                begun,
                len(view.alive),
            )
            saved = time.monotonic()
    if not parts:
        return pa.table({"row": pa.array([], pa.uint32())})
    table = _joined(parts)
    return table.take(pa.array(np.argsort(table["row"].to_numpy(), kind="stable")))


def _begun(path: Path, size: int) -> pa.Table | None:
    """Return what an earlier run has said about the first batches of a partition, if its batches
    had this size.
    """
    file = whole(path)
    if file is None:
        return None
    with file:
        return file.read().replace_schema_metadata(None) if about(file)["batch"] == size else None


def _joined(parts: list[pa.Table]) -> pa.Table:
    if any("failed" in p.schema.names for p in parts):
        parts = [p if "failed" in p.schema.names else _nothing_failed(p) for p in parts]
    return pa.concat_tables(parts, promote_options="permissive").unify_dictionaries()


def _nothing_failed(table: pa.Table) -> pa.Table:
    table = table.append_column("failed", pa.nulls(table.num_rows, pa.string()))
    return (
        table
        if "keep" in table.schema.names
        else table.append_column("keep", pa.array(np.ones(table.num_rows, bool)))
    )


def _guarded(
    stage: Stage, rows: NDArray[np.int64], batch: Batch, view: PartitionView
) -> Iterator[pa.Table]:
    operator = stage.operator
    assert operator is not None
    try:
        yield side_table(rows, *checked(operator, batch))
        return
    except (ImportError, OSError, MemoryError, AssertionError):
        raise
    except Exception as error:
        first = error
    wrong = {
        i: e
        for i in range(batch.rows)
        if (e := _error_on(operator, Batch(batch.table.slice(i, 1)))) is not None
    }
    if not wrong or (len(wrong) == batch.rows and batch.rows > 1):
        line = view.column("line")[int(rows[0])].as_py()
        where = f"{view.work.shards[view.partition.shard]}, from line {line} on ({batch.rows} rows)"
        raise ValueError(
            f"operator '{stage.name}' fails in {where}: {type(first).__name__}: {first}"
        ) from first
    good = np.array([i for i in range(batch.rows) if i not in wrong], np.int64)
    if len(good):
        yield _nothing_failed(
            side_table(rows[good], *checked(operator, Batch(batch.table.take(pa.array(good)))))
        )
    bad = np.array(sorted(wrong), np.int64)
    words = objects([f"{type(wrong[i]).__name__}: {wrong[i]}" for i in bad.tolist()])
    yield side_table(rows[bad], {}, None, words)


def _error_on(operator: Operator, batch: Batch) -> Exception | None:
    try:
        checked(operator, batch)
    except Exception as error:
        return error
    return None


@contextlib.contextmanager
def named(stage: Stage) -> Iterator[None]:
    """Say which operator an error comes from."""
    try:
        yield
    except (ImportError, OSError, MemoryError, AssertionError):
        raise
    except Exception as error:
        what = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise ValueError(f"operator '{stage.name}': {kind}{what}") from error


@dataclass(frozen=True)
class FitPartition:
    """Fit one partition: the merged state of its batches, on disk."""

    chain: Pipeline
    stage: Stage

    def __call__(self, partition: Partition) -> Path | None:
        """Return where the state is, or None when no row is left in the partition."""
        path = self.chain.work.side(self.stage, partition, ".state.npz")
        operator = self.stage.operator
        assert isinstance(operator, Estimator)
        if path.exists() and not path.stat().st_size:
            return None
        if has_state(path):
            return path
        state, seen = None, False
        for _, batch in self.chain.view(partition).batches(operator.needs, self.chain.batch):
            with named(self.stage):
                one = operator.fit(batch)
                state, seen = (operator.merge(state, one) if seen else one), True
        with named(self.stage):
            data = dump_state(operator.to_state(state)) if seen else b""
        write_atomic(path, data)
        return path if seen else None


def read_columns(path: Path, names: list[str] | None = None) -> pa.Table:
    """Return a table of the state."""
    with parquet(path, whole=True) as file:
        return file.read(names)


Step = Callable[[Any], Any]
