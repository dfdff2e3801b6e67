"""Every row has a name of its own: rows of equal content are numbered, and of rows that carry the
same id the first stays, the others are rejected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from coreset.core.engine import PART, Engine
from coreset.core.text_keys import text_keys
from coreset.curation.runtime.checkpoint import (
    Partition,
    Stage,
    StateStore,
    remove_folder,
    write_table,
)
from coreset.curation.runtime.edges import KEY_ROWS, numbered, placed
from coreset.curation.runtime.group_by_key import HasSide, ReadAnswers
from coreset.curation.runtime.steps import Pipeline, read_columns

DUPLICATE = "duplicate_id"
INPUT = "input"  # the first link of every chain: what the rows themselves are


def check_ids(
    engine: Engine,
    work: StateStore,
    stage: Stage,
    partitions: Sequence[Partition],
    by_content: bool,
) -> None:
    """Write beside every partition which rows carry an id that stood before, and what rows of equal
    content are called.

    by_content: ids are hashes of the content, and the second of equal rows gets `-2`; else it is
    dropped with the place of the first.
    """
    if all(engine.map(HasSide(work, stage), partitions)):
        return
    parts = max(1, -(-sum(p.rows for p in partitions) // KEY_ROWS))
    folder, items = work.root / stage.place / "ids", list(enumerate(partitions))
    find = FindSame(folder, work.shards, tuple(p.shard for p in partitions))
    files = list(engine.exchange(ReadIds(work, parts), items, find, parts))
    write = WriteIds(work, stage, tuple(partitions), by_content)
    for _ in engine.exchange(ReadAnswers(), [f for f in files if f], write, len(items)):
        pass
    for _ in engine.map(WriteRest(write), range(len(items))):
        pass
    remove_folder(folder)


@dataclass(frozen=True)
class IdsThere:
    """Say which of some ids are those of rows of one partition."""

    chain: Pipeline
    ids: tuple[str, ...]

    def __call__(self, partition: Partition) -> list[str]:
        """Return the ids that the partition has, in the order of its rows."""
        column = self.chain.view(partition).column("id")
        wanted = pa.array(self.ids, column.type)
        there: list[str] = column.filter(pc.is_in(column, wanted)).to_pylist()
        return there


@dataclass(frozen=True)
class ReadIds:
    """Read the ids of one partition, by their hash."""

    work: StateStore
    parts: int

    def __call__(self, item: tuple[int, Partition]) -> pa.Table:
        """Return `key`, the hash, `node`, `id` and `line` of every row."""
        number, partition = item
        table = read_columns(self.work.partition(partition), ["id", "line"])
        ids = table["id"].to_pylist()
        key = text_keys(ids)
        table = table.append_column("node", pa.array(numbered(number, np.arange(len(ids)))))
        table = table.append_column("key", pa.array(key))
        part = (key % np.uint64(self.parts)).astype(np.int64)
        return table.append_column(PART, pa.array(part))


@dataclass(frozen=True)
class FindSame:
    """Write which rows of one part carry an id that stood before. shard: the shard of every
    partition.
    """

    folder: Any
    names: tuple[str, ...]
    shard: tuple[int, ...]

    def __call__(self, item: tuple[int, pa.Table]) -> Any:
        """Return where they are: `row`, how `often` the id stood before and the place of the
        `first`; None where there are none.
        """
        part, table = item
        key, node = table["key"].to_numpy(), table["node"].to_numpy()
        order = np.lexsort((node, key))
        same = key[order][1:] == key[order][:-1]
        order = order[np.append(False, same) | np.append(same, False)]
        few = table.take(pa.array(order))
        seen: dict[str, tuple[int, str]] = {}  # id: how often, and where first
        out: list[tuple[int, int, str]] = []
        rows = zip(
            few["id"].to_pylist(), few["line"].to_pylist(), node[order].tolist(), strict=True
        )
        for name, line, number in rows:
            shard = self.shard[number >> 32]
            times, first = seen.get(name, (0, f"{self.names[shard]}, line {line}"))
            seen[name] = (times + 1, first)
            if times:
                out.append((number, times, first))
        if not out:
            return None
        at, row = placed(np.array([o[0] for o in out], np.int64))
        columns = {"_partition": at, "row": row, "often": [o[1] for o in out]}
        path = self.folder / f"{part:05d}.parquet"
        write_table(path, pa.table(columns | {"first": pa.array([o[2] for o in out], pa.string())}))
        return path


@dataclass(frozen=True)
class WriteIds:
    """Write the first stage output of one partition."""

    work: StateStore
    stage: Stage
    partitions: tuple[Partition, ...]
    by_content: bool

    def __call__(self, item: tuple[int, pa.Table | None]) -> None:
        """Write the stage output of one partition:
        `keep` and `reason` of every row, and the ids where some are new.
        """
        number, again = item
        partition = self.partitions[number]
        reason, keep = [""] * partition.rows, np.ones(partition.rows, bool)
        columns: dict[str, pa.Array] = {}
        if again is not None:
            ids = read_columns(self.work.partition(partition), ["id"])["id"].to_pylist()
            for row, times, first in zip(
                *(again[n].to_pylist() for n in ("row", "often", "first")), strict=True
            ):
                if self.by_content:
                    ids[row] = f"{ids[row]}-{times + 1}"
                else:
                    keep[row] = False
                    reason[row] = f"the id {ids[row]!r} stands in {first} already"
            if self.by_content:
                columns = {"id": pa.array(ids, pa.string())}
        decision = {
            "row": pa.array(np.arange(partition.rows), pa.uint32()),
            "keep": pa.array(keep),
            "reason": pa.array(reason, pa.string()),
        }
        write_table(self.work.side(self.stage, partition), pa.table(decision | columns))


@dataclass(frozen=True)
class WriteRest:
    """Write the first stage output of a partition whose ids are all its own."""

    step: WriteIds

    def __call__(self, number: int) -> None:
        """Write the first stage output of partition `number` unless it is there."""
        if not HasSide(self.step.work, self.step.stage)(self.step.partitions[number]):
            self.step((number, None))
