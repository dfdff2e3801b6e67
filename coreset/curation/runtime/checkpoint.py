"""The state of a run on disk: partitions of the input as Parquet, and beside each partition one
small table per operator. What is there is never computed again.

<root>/rows-<key>/<partition>.parquet
    id, line and the columns operators need; a partition is a bounded number of rows of one shard
<root>/<nn>-<operator>-<key>/<partition>.parquet
    what the operator said about the rows that reached it: row, its columns, keep, reason,
    duplicate_of

A key is a hash of the input, of the operator and of all operators before it, so another recipe
never reads what this one wrote. Files get their names when they are whole; two workers that write
the same one write the same bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from coreset.core.batch import Batch, to_numpy
from coreset.core.places import is_remote, parquet, put, remove_tree
from coreset.curation.operators.base import Operator


@dataclass(frozen=True)
class Partition:
    """A run of rows of one shard. shard: its place among the shards; number: the partition's place
    in the shard, or in the range `part` of a shard that is read in ranges; rows: how many.
    """

    shard: int
    number: int
    rows: int
    part: int = 0

    @property
    def name(self) -> str:
        """Return the name of its files, in the order of the input."""
        part = f"p{self.part:05d}-" if self.part else ""
        return f"{self.shard:05d}-{part}{self.number:05d}"


@dataclass(frozen=True)
class Stage:
    """One operator in its place. operator: None where its answers lie on disk already (the input's
    own checks, a group, a selection). found: what a fit came to, for the manifest.
    """

    place: str
    name: str
    key: str
    gives: frozenset[str]
    operator: Operator | None = None
    found: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StateStore:
    """Where the state lies: the folder of all of it, of the partitions, and the names of the shards
    by number.
    """

    root: Path
    rows: str
    shards: tuple[str, ...]

    def partition(self, partition: Partition) -> Path:
        """Return the file of a partition."""
        return self.root / self.rows / f"{partition.name}.parquet"

    def side(self, stage: Stage, partition: Partition, ending: str = ".parquet") -> Path:
        """Return the file of what an operator said about a partition."""
        return self.root / stage.place / f"{partition.name}{ending}"


def write_table(path: Path, table: pa.Table, about: Mapping[str, Any] | None = None) -> None:
    """Write a table so that it is either there whole or not there. It is not synced: a file lost
    with the power is computed again. Not packed: state is read often.
    """
    if is_remote(path):
        _put_table(path, table, about)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    if about is not None:
        table = table.replace_schema_metadata({"coreset": json.dumps(about)})
    named = [f.name for f in table.schema if pa.types.is_dictionary(f.type)]
    try:
        pq.write_table(
            table, part, compression="none", use_dictionary=named, write_statistics=False
        )
        part.replace(path)
    except OSError as error:
        raise OSError(error.errno, f"cannot write {path}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def _put_table(path: Any, table: pa.Table, about: Mapping[str, Any] | None) -> None:
    if about is not None:
        table = table.replace_schema_metadata({"coreset": json.dumps(about)})
    named = [f.name for f in table.schema if pa.types.is_dictionary(f.type)]
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", use_dictionary=named, write_statistics=False)
    put(path, memoryview(sink.getvalue()))


def whole(path: Path) -> pq.ParquetFile | None:
    """Return an open table, or None when it is not there or is damaged: then it has to be made
    again.
    """
    try:
        return parquet(path, whole=True)
    except (OSError, pa.ArrowInvalid):
        return None


def check_count(path: Any, expected: int, got: int) -> None:
    """Raise RuntimeError unless the answers of a stage are about as many rows as reached it."""
    if got != expected:
        raise RuntimeError(
            f"stage {path.parent.name}, partition {path.stem}: expected answers about {expected}"
            f" rows, got {got}; remove {path} and start the run again"
        )


def is_whole(path: Path) -> bool:
    """Return whether a table is there and not damaged."""
    file = whole(path)
    if file is None:
        return False
    file.close()
    return True


def remove_folder(path: Path) -> None:
    """Remove a folder of the state with all it holds, where it is there."""
    remove_tree(path)


def about(file: pq.ParquetFile) -> dict[str, Any]:
    """Return what `write_table` wrote about a table."""
    metadata: dict[str, Any] = json.loads((file.schema_arrow.metadata or {}).get(b"coreset", b"{}"))
    return metadata


class PartitionView:
    """The rows of one partition as the operators before have left them: which are alive, and every
    column by name, read when it is asked for.
    """

    def __init__(self, work: StateStore, partition: Partition) -> None:
        self.work, self.partition = work, partition
        self.alive: NDArray[np.int64] = np.arange(partition.rows)
        base = work.partition(partition)
        with parquet(base, whole=True) as file:
            self._where: dict[str, Path] = dict.fromkeys(file.schema_arrow.names, base)
        self._columns: dict[str, pa.Array] = {}

    def follow(self, path: Path) -> bool:
        """Take over what one operator said, if that is on disk: rows it dropped are not alive, its
        columns can be read. Return whether it is. Raises RuntimeError when it is not about as many
        rows as are alive.
        """
        file = whole(path)
        if file is None:
            return False
        with file:
            check_count(path, len(self.alive), file.metadata.num_rows)
            names = file.schema_arrow.names
            if "keep" in names:
                decided = file.read(["row", "keep"])
                self.alive = to_numpy(decided["row"].filter(decided["keep"])).astype(np.int64)
            for name in set(names) - {"row", "keep", "reason", "duplicate_of", "failed"}:
                self._where[name] = path
                self._columns.pop(name, None)
        return True

    def column(self, name: str) -> pa.Array:
        """Return a column of all rows of the partition; null where the operator that gives it never
        saw the row.
        """
        if name not in self._columns:
            if name not in self._where:
                raise KeyError(
                    f"column '{name}' is missing; present: {', '.join(sorted(self._where))}"
                )
            path = self._where[name]
            own = path == self.work.partition(self.partition)
            with parquet(path, whole=True) as file:
                table = file.read([name] if own else ["row", name])
            self._columns[name] = (
                one_chunk(table[name])
                if own
                else spread(to_numpy(table["row"]), table[name], self.partition.rows)
            )
        return self._columns[name]

    def table(self, needs: frozenset[str], rows: NDArray[np.int64]) -> pa.Table:
        """Return `id`, the needed columns and their statuses at some rows; for no row only `id`, an
        operator may have seen none and written nothing.
        """
        if not len(rows):
            return pa.table({"id": pa.array([], pa.string())})
        status = {f"{n}_status" for n in needs}
        names = [
            "id",
            *(n for n in sorted(self._where) if n != "id" and (n in needs or n in status)),
        ]
        missing = needs - set(names)
        if missing:
            raise KeyError(
                f"column '{min(missing)}' is missing; present: {', '.join(sorted(self._where))}"
            )
        full = pa.table({n: self.column(n) for n in names})
        return (
            full
            if np.array_equal(rows, np.arange(self.partition.rows))
            else full.take(pa.array(rows))
        )

    def batches(
        self, needs: frozenset[str], size: int
    ) -> Iterator[tuple[NDArray[np.int64], Batch]]:
        """Yield the alive rows in batches: their places in the partition, and what an operator with
        these needs gets to see.
        """
        table = self.table(needs, self.alive)
        for start in range(0, len(self.alive), size):
            yield self.alive[start : start + size], Batch(table.slice(start, size))


def one_chunk(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array."""
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def spread(rows: NDArray[Any], values: pa.ChunkedArray, size: int) -> pa.Array:
    """Return `values` at their `rows` of a column of `size`, null elsewhere."""
    place = np.full(size, -1, np.int64)
    place[rows] = np.arange(len(rows))
    return one_chunk(values.take(pa.array(place, mask=place < 0)))
