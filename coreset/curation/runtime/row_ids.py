"""Every row has a name of its own: rows of equal content are numbered, and of rows that carry the
same id the first stays, the others are rejected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from coreset.core.batch import to_numpy
from coreset.curation.engines.local import Engine
from coreset.curation.runtime.checkpoint import Partition, Stage, StateStore, is_whole, write_table
from coreset.curation.runtime.group_by_key import members
from coreset.curation.runtime.steps import read_columns

DUPLICATE = "duplicate_id"
INPUT = "input"  # the first link of every chain: what the rows themselves are


@dataclass(frozen=True)
class HashIds:
    """Write the hash of every id of a partition, as keys to compare."""

    work: StateStore
    stage: Stage

    def __call__(self, partition: Partition) -> Path:
        """Return where they are."""
        path = self.work.side(self.stage, partition, ".keys.parquet")
        if not is_whole(path):
            from pandas.util import hash_array

            ids = to_numpy(read_columns(self.work.partition(partition), ["id"])["id"])
            hashed = np.maximum(
                hash_array(ids, hash_key="coreset-row-keys", categorize=False), np.uint64(1)
            )
            write_table(
                path, pa.table({"row": pa.array(np.arange(len(ids)), pa.uint32()), "k0": hashed})
            )
        return path


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
    if all(is_whole(work.side(stage, p)) for p in partitions):
        return
    paths = list(engine.map(HashIds(work, stage), partitions))
    offsets = np.cumsum([0, *(p.rows for p in partitions)])
    rows, _ = members(paths, offsets[:-1], 2)
    rows = np.sort(rows)
    where = np.searchsorted(offsets[:-1], rows, side="right") - 1
    seen: dict[str, tuple[int, str]] = {}  # id: how often, and where first
    for i, partition in enumerate(partitions):
        reason, keep = [""] * partition.rows, np.ones(partition.rows, bool)
        columns: dict[str, pa.Array] = {}
        here = (rows[where == i] - offsets[i]).tolist()
        if here:
            table = read_columns(work.partition(partition), ["id", "line"])
            ids, lines = table["id"].to_pylist(), table["line"].to_pylist()
            for row in here:
                name = ids[row]
                times, first = seen.get(
                    name, (0, f"{work.shards[partition.shard]}, line {lines[row]}")
                )
                seen[name] = (times + 1, first)
                if times and by_content:
                    ids[row] = f"{name}-{times + 1}"
                elif times:
                    keep[row], reason[row] = False, f"the id {name!r} stands in {first} already"
            if by_content:
                columns = {"id": pa.array(ids, pa.string())}
        said = {
            "row": pa.array(np.arange(partition.rows), pa.uint32()),
            "keep": pa.array(keep),
            "reason": pa.array(reason),
        }
        write_table(work.side(stage, partition), pa.table(said | columns))
    for path in paths:
        path.unlink(missing_ok=True)
