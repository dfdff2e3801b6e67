"""Which rows share a key: keys brought together by an exchange, compared once, edges written.

A row is named by one number, that of its partition above 32 bits and its place in the partition
below, so that numbers follow the input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coreset.core.engine import PART, Engine
from coreset.curation.operators.base import GroupBy
from coreset.curation.operators.contract import only, row_keys
from coreset.curation.runtime.checkpoint import Partition, Stage
from coreset.curation.runtime.components import Edges, write_edges
from coreset.curation.runtime.steps import Pipeline, named

Int = NDArray[np.int64]
KEY_ROWS = 200_000  # rows whose keys are compared in one step
_LOW = np.int64(2**32 - 1)


def numbered(partition: int, rows: NDArray[Any]) -> Int:
    """Return the numbers (n,) of rows of a partition.

    >>> placed(numbered(3, np.array([7])))
    (array([3]), array([7]))
    """
    return rows.astype(np.int64) | np.int64(partition) << np.int64(32)


def placed(numbers: Int) -> tuple[Int, Int]:
    """Return the partition (n,) and the place in it (n,) of every number."""
    return numbers >> np.int64(32), numbers & _LOW


@dataclass(frozen=True)
class ReadKeys:
    """Read the keys of the rows of one partition: `key`, `node` and, where the operator compares,
    `signature`.
    """

    chain: Pipeline
    stage: Stage
    parts: int

    def __call__(self, item: tuple[int, Partition]) -> pa.Table:
        """Return a row for every key of every row."""
        number, partition = item
        operator = self.stage.operator
        assert isinstance(operator, GroupBy)
        view = self.chain.view(partition)
        tables = []
        for rows, batch in view.batches(operator.key_needs, self.chain.batch):
            with named(self.stage):
                keys = row_keys(operator, batch)
                signature = operator.signature(only(batch, operator.key_needs))
            tables.append(keyed(numbered(number, rows), keys, signature, self.parts))
        none = pa.table({PART: pa.array([], pa.int64())})
        return pa.concat_tables(tables, promote_options="default") if tables else none


def keyed(
    nodes: Int, keys: NDArray[np.uint64], signature: NDArray[np.uint8] | None, parts: int
) -> pa.Table:
    """Return a row for every key of every row: the part of the key, `key`, `node`, `signature`.

    nodes (n,): the rows; keys (n, several): 0 = none; signature (n, bytes) or None.
    """
    row, _ = np.nonzero(keys)
    key = keys[keys != 0]
    table = {PART: (key % np.uint64(parts)).astype(np.int64), "key": key, "node": nodes[row]}
    if signature is not None:
        held = [one.tobytes() for one in signature]
        table["signature"] = pa.array(held, pa.binary()).take(pa.array(row))
    return pa.table(table)


def _signatures(column: pa.ChunkedArray) -> NDArray[np.uint8]:
    """Return signatures (n, bytes), padded with zeros."""
    held = column.to_pylist()
    width = max((len(s) for s in held), default=0)
    flat = b"".join(s.ljust(width, b"\0") for s in held)
    return np.frombuffer(flat, np.uint8).reshape(len(held), width)


@dataclass(frozen=True)
class FindEdges:
    """Write which rows of one part share a key: each row with the next of its key, or with the
    first it is linked to. That is enough to connect them.
    """

    folder: Any
    stage: Stage

    def __call__(self, item: tuple[int, pa.Table]) -> Edges:
        """Return where the edges are."""
        part, table = item
        operator = self.stage.operator
        assert isinstance(operator, GroupBy)
        key, node = table["key"].to_numpy(), table["node"].to_numpy()
        order = np.lexsort((node, key))
        key, node = key[order], node[order]
        same = key[1:] == key[:-1]
        u, v = node[:-1][same], node[1:][same]
        if "signature" in table.schema.names and len(key):
            shared = np.append(False, same) | np.append(
                same, False
            )  # keys of one row alone are none
            key, node = key[shared], node[shared]
            start = np.flatnonzero(np.append(True, key[1:] != key[:-1])) if len(key) else node
            signature = _signatures(table["signature"].take(pa.array(order[shared])))
            with named(self.stage):
                to = operator.linked(signature, np.append(start, len(key)).astype(np.int64))
            there = to != np.arange(len(node))
            u, v = node[to[there]], node[there]
        other = u != v
        return write_edges(self.folder / f"{part:05d}.parquet", u[other], v[other])


def find_edges(
    engine: Engine, chain: Pipeline, stage: Stage, partitions: Sequence[Partition], folder: Any
) -> list[Edges]:
    """Return files of edges between rows that share a key of the stage's operator."""
    parts = max(1, -(-sum(p.rows for p in partitions) // KEY_ROWS))
    read, write = ReadKeys(chain, stage, parts), FindEdges(folder, stage)
    return list(engine.exchange(read, list(enumerate(partitions)), write, parts))
