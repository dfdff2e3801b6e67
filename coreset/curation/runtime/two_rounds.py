"""Selection in two rounds through an engine: rows are brought to their parts through files, each
step holds one part, the driver the union of what the parts chose.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coreset.core.batch import Batch
from coreset.core.selection import Selection
from coreset.core.store import to_json, write_atomic
from coreset.curation.engines.local import Engine
from coreset.curation.operators.select import Select
from coreset.curation.operators.two_rounds import (
    PLACE,
    audit,
    first_round,
    result,
    second_round,
    shard_of,
    union_of,
)
from coreset.curation.runtime.checkpoint import Partition, Stage, StateStore, is_whole, write_table
from coreset.curation.runtime.group_by_key import decoded, read_batch, write_batches
from coreset.curation.runtime.steps import Pipeline, named, read_columns, side_table

ABOUT = "rounds.json"  # what is said about an answer in two rounds: guarantee and certificate
_LEFT = (".split.arrow", ".first.parquet", ".audit.parquet", "union.parquet", "chosen.parquet")


def select_in_rounds(
    engine: Engine, chain: Pipeline, stage: Stage, partitions: Sequence[Partition], total: int
) -> None:
    """Run a selection in two rounds over all partitions: afterwards its answers lie beside every
    partition, and `rounds.json` among them.
    """
    work, operator, folder = chain.work, _operator(stage), chain.work.root / stage.place
    if (folder / ABOUT).exists() and all(is_whole(work.side(stage, p)) for p in partitions):
        return
    counts = np.sum(
        list(engine.map(SplitByShard(chain, stage), list(enumerate(partitions)))), axis=0
    )
    shards, size = np.flatnonzero(counts).tolist(), int(counts.sum())
    k = operator.count(size, total)
    chosen, about = (
        pa.table({n: pa.array([], pa.int64()) for n in (*PLACE, "rank", "gain")}),
        dict[str, Any](),
    )
    if size:
        firsts = list(engine.map(FirstRound(work, stage, tuple(partitions), k), shards))
        with named(stage):
            union = union_of([read_columns(path) for path in firsts])
            answers = second_round(operator, union, k)
        write_table(folder / "union.parquet", union)
        step = Audit(work, stage, tuple(partitions), folder / "union.parquet", tuple(answers))
        audits = np.stack(list(engine.map(step, shards)))
        with named(stage):
            chosen, about = result(operator, union, answers, audits, size)
    write_table(folder / "chosen.parquet", chosen)
    write_atomic(folder / ABOUT, to_json(about))
    list(
        engine.map(JoinChosen(chain, stage, folder / "chosen.parquet"), list(enumerate(partitions)))
    )
    for left in folder.iterdir():
        if left.name.endswith(_LEFT):
            left.unlink()


def read_about(work: StateStore, stage: Stage) -> dict[str, Any]:
    """Return the guarantee and the certificate of a selection in two rounds, nothing of any other
    operator.
    """
    path = work.root / stage.place / ABOUT
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def _operator(stage: Stage) -> Select:
    assert isinstance(stage.operator, Select)
    return stage.operator


def _shard(
    work: StateStore, stage: Stage, partitions: Sequence[Partition], number: int
) -> pa.Table:
    """Return the candidates of one shard in the order of their ids."""
    parts = [read_batch(work.side(stage, p, ".split.arrow"), number) for p in partitions]
    return pa.concat_tables([p for p in parts if p.num_rows], promote_options="permissive").sort_by(
        "id"
    )


@dataclass(frozen=True)
class SplitByShard:
    """Cut the candidates of one partition by shard."""

    chain: Pipeline
    stage: Stage

    def __call__(self, item: tuple[int, Partition]) -> NDArray[np.int64]:
        """Write them; return how many there are of each shard."""
        number, partition = item
        operator = _operator(self.stage)
        assert operator.partitions is not None
        path = self.chain.work.side(self.stage, partition, ".split.arrow")
        if not path.exists():
            view = self.chain.view(partition)
            table = view.table(operator.needs, view.alive)
            with named(self.stage):
                good = np.flatnonzero(operator.undefined(Batch(table)) == "")
            names = [n for n in table.schema.names if n == "id" or n in operator.needs]
            table = decoded(table.select(names))
            for name, values in zip(
                PLACE, (np.full(len(view.alive), number), view.alive), strict=True
            ):
                table = table.append_column(name, pa.array(values))
            table = table.take(pa.array(good))
            shard = shard_of(operator, Batch(table)["id"])
            write_batches(
                path, [table.filter(pa.array(shard == i)) for i in range(operator.partitions)]
            )
        return np.array([read_batch(path, i).num_rows for i in range(operator.partitions)])


@dataclass(frozen=True)
class FirstRound:
    """Let one shard choose."""

    work: StateStore
    stage: Stage
    partitions: tuple[Partition, ...]
    k: int

    def __call__(self, number: int) -> Path:
        """Write what it chooses; return where that is."""
        path = self.work.root / self.stage.place / f"{number:05d}.first.parquet"
        if not is_whole(path):
            with named(self.stage):
                shard = _shard(self.work, self.stage, self.partitions, number)
                found = first_round(_operator(self.stage), shard, self.k)
            write_table(path, found)
        return path


@dataclass(frozen=True)
class Audit:
    """Measure the answers on the rows of one shard."""

    work: StateStore
    stage: Stage
    partitions: tuple[Partition, ...]
    union: Path
    answers: tuple[Selection, ...]

    def __call__(self, number: int) -> NDArray[np.float64]:
        """Return what `TwoRounds.audit` does; it stays on disk until the answer is there."""
        path = self.work.root / self.stage.place / f"{number:05d}.audit.parquet"
        if not is_whole(path):
            with named(self.stage):
                shard = _shard(self.work, self.stage, self.partitions, number)
                found = audit(_operator(self.stage), shard, read_columns(self.union), self.answers)
            write_table(path, pa.table({f"n{j}": found[:, j] for j in range(found.shape[1])}))
        table = read_columns(path)
        return np.stack([table[n].to_numpy() for n in table.schema.names], axis=1)


@dataclass(frozen=True)
class JoinChosen:
    """Bring what was chosen back to one partition."""

    chain: Pipeline
    stage: Stage
    chosen: Path

    def __call__(self, item: tuple[int, Partition]) -> None:
        """Write the partition's side table."""
        number, partition = item
        operator = _operator(self.stage)
        view = self.chain.view(partition)
        with named(self.stage):
            reason = operator.undefined(Batch(view.table(operator.needs, view.alive)))
        chosen = read_columns(self.chosen)
        mine = chosen.filter(pa.array(chosen["_partition"].to_numpy() == number))
        at = np.searchsorted(view.alive, mine["_row"].to_numpy())
        rank, gain = np.full(len(view.alive), -1, np.int64), np.full(len(view.alive), np.nan)
        rank[at], gain[at] = mine["rank"].to_numpy(), mine["gain"].to_numpy()
        decision = operator.decision(reason, rank, gain, chosen.num_rows)
        write_table(
            self.chain.work.side(self.stage, partition),
            side_table(view.alive, dict(decision.columns), decision),
        )
