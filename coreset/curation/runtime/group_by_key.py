"""Group operators at scale: rows that share a key brought together through files, in bounded
memory, and what was decided brought back to its partition.

Keys are compared one range of hashes after the other; only rows that have a partner are fetched
with their columns, cut into parts of whole groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coreset.core.batch import Batch, objects, to_arrow
from coreset.curation.engines.local import Engine
from coreset.curation.io.write import whole_file
from coreset.curation.operators.base import Decision, GroupBy
from coreset.curation.operators.contract import checked
from coreset.curation.runtime.checkpoint import Partition, Stage, is_whole, write_table
from coreset.curation.runtime.steps import KeyPartition, Pipeline, named, read_columns, side_table

Int = NDArray[np.int64]
_KEYS = 4_000_000  # compared at a time
_PART = 20_000  # rows decided about in one step, unless one group has more


def members(
    paths: Sequence[Path], offsets: Int, smallest: int, operator: GroupBy | None = None
) -> tuple[Int, Int]:
    """Return rows and their groups, (m,) each, ordered by group: connected components of rows by
    shared keys, numbered by their first row.

    paths: key tables by partition; offsets: the number of each partition's first row. Groups of
    fewer than `smallest` rows are left out. operator: who compares rows of a key by their
    signatures, where the tables have them.
    """
    edges = np.concatenate([np.empty((0, 2), np.int64), *_edges(paths, offsets, operator)])
    nodes = np.unique(edges)
    if smallest <= 1:
        nodes = np.concatenate(
            [
                np.asarray(read_columns(p, ["row"])["row"]).astype(np.int64) + o
                for p, o in zip(paths, offsets, strict=True)
            ]
        )
    if not len(nodes):
        return nodes, nodes
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = np.searchsorted(nodes, edges)
    graph = coo_array(
        (np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), shape=(len(nodes), len(nodes))
    )
    label = connected_components(graph, directed=False)[1]
    _, first, label, size = np.unique(
        label, return_index=True, return_inverse=True, return_counts=True
    )
    group = np.argsort(np.argsort(first))[label]
    keep = size[label] >= smallest
    order = np.argsort(group[keep], kind="stable")
    return nodes[keep][order].astype(np.int64), group[keep][order].astype(np.int64)


def _edges(paths: Sequence[Path], offsets: Int, operator: GroupBy | None = None) -> Iterator[Int]:
    """Yield pairs of rows that share a key, each row with the next of its key, or with the first it
    is linked to: enough to connect them.
    """
    total, width = 0, 0
    for path in paths:
        table = read_columns(path)
        names = [n for n in table.schema.names if n not in ("row", "signature")]
        total += table.num_rows * len(names)
        if "signature" in table.schema.names:
            width = max(width, table.schema.field("signature").type.byte_width)
    ranges = max(1, -(-total * (16 + width) // (16 * _KEYS)))
    for part in range(ranges):
        keys, rows = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
        signatures = [np.empty((0, width), np.uint8)]
        for path, offset in zip(paths, offsets.tolist(), strict=True):
            table = read_columns(path)
            row = table["row"].to_numpy().astype(np.int64) + offset
            signature = _signatures(table, width)
            for name in table.schema.names[1:]:
                if name == "signature":
                    continue
                key = table[name].to_numpy()
                here = (key != 0) & (key % np.uint64(ranges) == part)
                keys.append(key[here])
                rows.append(row[here])
                signatures.append(signature[here])
        key, row = np.concatenate(keys), np.concatenate(rows)
        order = np.lexsort((row, key))
        key, row = key[order], row[order]
        if width and operator is not None:
            start = np.concatenate(
                [[0], np.flatnonzero(key[1:] != key[:-1]) + 1, [len(key)]]
            ).astype(np.int64)
            to = operator.linked(
                np.concatenate(signatures)[order], start if len(key) else start[:1]
            )
            there = to != np.arange(len(row))
            yield np.unique(np.stack([row[to[there]], row[there]], axis=1), axis=0)
            continue
        same = key[1:] == key[:-1]
        yield np.unique(np.stack([row[:-1][same], row[1:][same]], axis=1), axis=0)


def _signatures(table: pa.Table, width: int) -> NDArray[np.uint8]:
    """Return the signatures of a key table (n, width), padded with zeros: a partition without a
    single one knows no width.
    """
    out = np.zeros((table.num_rows, width), np.uint8)
    if "signature" in table.schema.names:
        held = table["signature"].combine_chunks()
        own = held.type.byte_width
        flat = np.frombuffer(held.buffers()[1], np.uint8)[held.offset * own :][: len(held) * own]
        out[:, :own] = flat.reshape(len(held), own)
    return out


def decide_groups(
    engine: Engine, chain: Pipeline, stage: Stage, partitions: Sequence[Partition]
) -> None:
    """Run a group operator over all partitions: afterwards its answers lie beside every partition."""
    operator = stage.operator
    assert isinstance(operator, GroupBy)
    if all(is_whole(chain.work.side(stage, p)) for p in partitions):
        return
    offsets = np.cumsum([0, *(p.rows for p in partitions)])[:-1]
    paths = list(engine.map(KeyPartition(chain, stage), partitions))
    row, group = members(paths, offsets, operator.smallest, operator)
    starts = np.searchsorted(group, group)  # where each row's group begins: parts hold whole groups
    part = starts // _PART
    _, part = np.unique(part, return_inverse=True) if len(part) else (part, part)
    parts = int(part.max()) + 1 if len(part) else 0
    partition = np.searchsorted(offsets, row, side="right") - 1
    for i, p in enumerate(partitions):
        here = partition == i
        where = {"row": row[here] - offsets[i], "group": group[here], "part": part[here]}
        write_table(chain.work.side(stage, p, ".groups.parquet"), pa.table(where))
    list(engine.map(SplitPartition(chain, stage, parts), list(enumerate(partitions))))
    list(engine.map(DecidePart(chain, stage, tuple(partitions)), range(parts)))
    list(engine.map(JoinPartition(chain, stage, parts), list(enumerate(partitions))))
    for left in (chain.work.root / stage.place).iterdir():
        if left.name.endswith((".keys.parquet", ".groups.parquet", ".split.arrow", ".part.arrow")):
            left.unlink()


def write_batches(path: Path, tables: Sequence[pa.Table]) -> None:
    """Write several tables of one schema as the record batches of one Arrow file, each readable
    alone.
    """
    with whole_file(path) as part, pa.ipc.new_file(str(part), tables[0].schema) as writer:
        for table in tables:
            batches = table.combine_chunks().to_batches()
            writer.write_batch(
                batches[0] if batches else pa.RecordBatch.from_pylist([], table.schema)
            )


def read_batch(path: Path, number: int) -> pa.Table:
    """Return one of the tables `write_batches` wrote."""
    with pa.memory_map(str(path)) as source:
        return pa.Table.from_batches([pa.ipc.open_file(source).get_batch(number)])


@dataclass(frozen=True)
class SplitPartition:
    """Cut the grouped rows of one partition by part."""

    chain: Pipeline
    stage: Stage
    parts: int

    def __call__(self, item: tuple[int, Partition]) -> None:
        """Write the rows of the partition for every part: what the operator needs, `row`, `group`
        and the partition's place.
        """
        number, partition = item
        work, operator = self.chain.work, self.stage.operator
        path = work.side(self.stage, partition, ".split.arrow")
        if path.exists() or not self.parts:
            return
        where = read_columns(work.side(self.stage, partition, ".groups.parquet"))
        row, part = where["row"].to_numpy(), where["part"].to_numpy()
        assert isinstance(operator, GroupBy)
        table = self.chain.view(partition).table(operator.needs, row)
        about = {
            "_row": where["row"],
            "_group": where["group"],
            "_partition": pa.array(np.full(len(row), number)),
        }
        for name, values in about.items():
            table = table.append_column(name, values)
        write_batches(path, [table.filter(pa.array(part == p)) for p in range(self.parts)])


@dataclass(frozen=True)
class DecidePart:
    """Decide about whole groups, the rows of each in the order of their ids."""

    chain: Pipeline
    stage: Stage
    partitions: tuple[Partition, ...]

    def __call__(self, part: int) -> None:
        """Write the answers, a batch for every partition."""
        work, operator = self.chain.work, self.stage.operator
        assert isinstance(operator, GroupBy)
        path = work.root / self.stage.place / f"{part:05d}.part.arrow"
        if path.exists():
            return
        table = pa.concat_tables(
            [read_batch(work.side(self.stage, p, ".split.arrow"), part) for p in self.partitions],
            promote_options="permissive",
        )
        table = table.sort_by([("_group", "ascending"), ("id", "ascending")])
        group, partition, row = (table[n].to_numpy() for n in ("_group", "_partition", "_row"))
        rows = table.drop_columns(["_group", "_partition", "_row"]).combine_chunks()
        cuts = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), len(group)]
        with named(self.stage):
            said = [
                checked(operator, Batch(rows.slice(a, b - a)))
                for a, b in zip(cuts, cuts[1:], strict=False)
            ]
        answers = decoded(side_table(row, *_together(said)))
        write_batches(
            path, [answers.filter(pa.array(partition == i)) for i in range(len(self.partitions))]
        )


def _together(
    said: Sequence[tuple[dict[str, Any], Decision | None]],
) -> tuple[dict[str, Any], Decision]:
    """Return the answers about groups, one after the other, as one."""
    decisions = [v for _, v in said if v is not None]
    keep, reason = (
        np.concatenate([v.keep for v in decisions]),
        np.concatenate([v.reason for v in decisions]),
    )
    duplicate_of = np.concatenate(
        [
            objects([None] * len(v.keep)) if v.duplicate_of is None else v.duplicate_of
            for v in decisions
        ]
    )
    columns = {
        name: pa.concat_arrays(_one_type([to_arrow(columns[name]) for columns, _ in said]))
        for name in said[0][0]
    }
    return columns, Decision(keep, reason, duplicate_of)


def _one_type(arrays: list[pa.Array]) -> list[pa.Array]:
    """Return arrays cast to the type of the first that has one: groups in which all is missing have
    none.
    """
    known = next((a.type for a in arrays if not pa.types.is_null(a.type)), pa.null())
    return [a if a.type == known else a.cast(known) for a in arrays]


def decoded(table: pa.Table) -> pa.Table:
    """Return the table with its dictionary columns as plain ones: batches of one file share no
    dictionary.
    """
    for i, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(i, field.name, table[field.name].cast(field.type.value_type))
    return table


@dataclass(frozen=True)
class JoinPartition:
    """Bring the answers about one partition's rows together; rows in no group are kept."""

    chain: Pipeline
    stage: Stage
    parts: int

    def __call__(self, item: tuple[int, Partition]) -> None:
        """Write the partition's side table."""
        number, partition = item
        work = self.chain.work
        said = [
            read_batch(work.root / self.stage.place / f"{p:05d}.part.arrow", number)
            for p in range(self.parts)
        ]
        alive = self.chain.view(partition).alive
        seen = np.concatenate([np.empty(0, np.int64), *(t["row"].to_numpy() for t in said)])
        write_table(work.side(self.stage, partition), joined(said, np.setdiff1d(alive, seen)))


def joined(said: Sequence[pa.Table], others: NDArray[Any]) -> pa.Table:
    """Return answers and the `others`, which are kept, in the order of rows."""
    decision = {
        "row": pa.array(others, pa.uint32()),
        "keep": pa.array(np.ones(len(others), bool)),
        "reason": pa.array([""] * len(others)),
    }
    table = pa.concat_tables([*said, pa.table(decision)], promote_options="permissive")
    table = table.take(pa.array(np.argsort(table["row"].to_numpy(), kind="stable")))
    return table.set_column(
        table.schema.get_field_index("reason"),
        "reason",
        table["reason"].combine_chunks().dictionary_encode(),
    )
