"""The first k of an order of rows, in all or in every group, exactly: scores are written beside the
state once, cuts are found by counting (`runtime.refine`), and only rows that are chosen are moved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from coreset.core.batch import to_numpy
from coreset.core.engine import PART, Engine
from coreset.core.pool import Pool
from coreset.core.signals import Signals
from coreset.curation.from_files.ranges import Range, Source, read_range
from coreset.curation.runtime.checkpoint import is_whole, write_table
from coreset.curation.runtime.refine import (
    Target,
    Words,
    ascending,
    by_group,
    refine,
    text_words,
)
from coreset.curation.runtime.steps import read_columns
from coreset.numerics.classes import interleave
from coreset.numerics.random import keyed_uniform
from coreset.row_order import RowOrder

MOST_GROUPS = 100_000
CHUNK = 1_000_000  # rows of a file of the answer, about


@dataclass(frozen=True)
class WriteKeys:
    """Write what decides about the rows of a range: line, id, score and group."""

    source: Source
    order: RowOrder
    folder: Any

    def __call__(self, item: Range) -> tuple[Counter[Any], int]:
        """Return the rows of every group, and the longest id in bytes. Raises ValueError with file
        and lines for a score that cannot be computed.
        """
        path = self.folder / f"{item.number:06d}.parquet"
        if not is_whole(path):
            tables = [self._table(rows, item) for rows in read_range(self.source, item.shard)]
            write_table(path, pa.concat_tables(tables) if tables else pa.table({}))
        table = read_columns(path)
        if table.num_rows != item.rows:
            raise OSError(f"{item.shard.path} changed while it was read; start again")
        rows, longest = Counter[Any](), 0
        if table.num_rows and "id" in table.schema.names and pa.types.is_string(table["id"].type):
            longest = int(pc.max(pc.binary_length(table["id"])).as_py())
        if table.num_rows and "group" in table.schema.names:
            for one in table["group"].value_counts().to_pylist():
                rows[one["values"]] = one["counts"]
        else:
            rows[None] = table.num_rows
        return rows, longest

    def _table(self, rows: Any, item: Range) -> pa.Table:
        where = f"{item.shard.name}, lines {rows.line[0]} to {rows.line[-1]}"
        columns: dict[str, Any] = {"line": pa.array(rows.line)}
        n = len(rows.line)
        if self.source.ids:
            columns["id"] = names(rows.columns[self.source.ids], self.source.ids, where)
        if self.order.group:
            column = self.source.columns[self.order.group]
            columns["group"] = names(rows.columns[column], column, where)
        score = self.order.score
        if score is not None:
            signals = {s: rows.columns[self.source.columns[s]] for s in score.needs}
            try:
                values = score.scores(Pool(n), Signals(n, **signals))
            except (ValueError, TypeError) as error:
                raise type(error)(f"{where}: {error}") from error
            columns["score"] = pa.array(values)
        return pa.table(columns)


def names(values: NDArray[Any], column: str, where: str) -> pa.Array:
    """Return names of rows or groups as whole numbers or texts. Raises TypeError for others."""
    if values.ndim == 1 and values.dtype.kind in "biu":
        return pa.array(values.astype(np.int64))
    if values.ndim == 1 and values.dtype == object:
        return pa.array(values.tolist(), pa.string())
    raise TypeError(
        f"{where}: '{column}': expected whole numbers or texts, got {values.dtype} with"
        f" {values.ndim} dimensions"
    )


@dataclass(frozen=True)
class LoadKeys:
    """Load the keys of a range. salt: of the numbers drawn, where there is no score; levels: words
    of an id; groups: the groups in ascending order.
    """

    folder: Any
    salt: int | None
    levels: int
    groups: tuple[Any, ...]

    def __call__(self, item: Range) -> Keys:
        """Return the keys."""
        return Keys(self, item)


class Keys:
    """The keys of a range: score or number drawn, id, position; lower = taken sooner."""

    def __init__(self, load: LoadKeys, item: Range) -> None:
        self.item, self.load = item, load
        self.table = read_columns(load.folder / f"{item.number:06d}.parquet")
        self.position = item.first + np.arange(self.table.num_rows)
        self.group = np.zeros(self.table.num_rows, np.int64)
        named = "id" in self.table.schema.names
        self.ids = to_numpy(self.table["id"]) if named else self.position
        if self.table.num_rows and "group" in self.table.schema.names:
            place = {name: i for i, name in enumerate(load.groups)}
            coded = self.table["group"].combine_chunks().dictionary_encode()
            codes = np.array([place[v] for v in coded.dictionary.to_pylist()], np.int64)
            self.group = codes[to_numpy(coded.indices)]
        # lower first: scores with the other sign
        self.value = (
            keyed_uniform(load.salt, self.ids)
            if load.salt is not None
            else -to_numpy(self.table["score"])
            if self.table.num_rows
            else np.empty(0)
        ) + 0.0

    def words(self, level: int, rows: NDArray[np.int64]) -> Words:
        """Return one word of the keys of some rows."""
        if level == 0:
            return ascending(self.value[rows])
        if level > self.load.levels:
            return self.position[rows].astype(np.uint64)
        if self.ids.dtype != object:
            return self.ids[rows].astype(np.uint64) ^ np.uint64(2**63)  # in the order of int64
        return text_words([str(i).encode() for i in self.ids[rows].tolist()], level - 1)


@dataclass(frozen=True)
class Segment:
    """A run of rows chosen in one group: those up to `end` and not up to `start`; first: how many
    of the group stand before. part: the file of the answer they go to.
    """

    group: int
    start: Target | None
    end: Target
    first: int
    rows: int
    part: int


def segments(
    engine: Engine, load: LoadKeys, ranges: Sequence[Range], quota: NDArray[np.int64], chunk: int
) -> list[Segment]:
    """Return the rows chosen as runs of at most `chunk`, cut exactly; runs of small groups share a
    part.
    """
    targets = [
        Target(g, min(end, q))
        for g, q in enumerate(quota.tolist())
        for end in range(chunk, q + chunk, chunk)
    ]
    out: list[Segment] = []
    part, held = 0, 0
    for target, end in zip(targets, refine(engine, load, ranges, targets), strict=True):
        before = out[-1] if out and out[-1].group == target.group else None
        first = before.first + before.rows if before else 0
        rows = target.need - first
        if held and held + rows > chunk:
            part, held = part + 1, 0
        held += rows
        out.append(Segment(target.group, before.end if before else None, end, first, rows, part))
    return out


@dataclass(frozen=True)
class ReadChosen:
    """Read the rows of a range that are chosen, by their part."""

    load: LoadKeys
    segments: tuple[Segment, ...]

    def __call__(self, item: Range) -> pa.Table:
        """Return them with their file, group, key and position."""
        keys = self.load(item)
        part = np.full(keys.table.num_rows, -1, np.int64)
        rows = by_group(keys.group)
        for one in self.segments:
            mine = rows.get(one.group)
            if mine is None:
                continue
            mine = mine[part[mine] < 0]  # not up to the end of the run before
            part[mine[one.end.up_to(keys, mine)]] = one.part
        chosen = np.flatnonzero(part >= 0)
        table = keys.table.take(pa.array(chosen))
        for name, values in (
            ("_group", keys.group), ("_value", keys.value), ("_position", keys.position)
        ):  # fmt: skip
            table = table.append_column(name, pa.array(values[chosen]))
        table = table.append_column("file", pa.array([item.shard.name] * len(chosen), pa.string()))
        return table.append_column(PART, pa.array(part[chosen]))


@dataclass(frozen=True)
class WriteChosen:
    """Write the rows of one part in the order chosen. quota: rows of every group."""

    segments: tuple[Segment, ...]
    quota: tuple[int, ...]
    folder: Any

    def __call__(self, item: tuple[int, pa.Table]) -> int:
        """Return how many rows it has. Raises ValueError for an id that two of them have."""
        part, table = item
        ids = ["id"] if "id" in table.schema.names else []
        table = table.sort_by([(n, "ascending") for n in ("_group", "_value", *ids, "_position")])
        if ids:
            same = np.flatnonzero(np.diff(table["_value"].to_numpy()) == 0)
            again = table["id"].take(pa.array(same)).to_pylist()
            after = table["id"].take(pa.array(same + 1)).to_pylist()
            for one, other in zip(again, after, strict=True):
                if one == other:
                    raise ValueError(f"ids: {one!r} names two of the rows chosen")
        mine = [s for s in self.segments if s.part == part]
        within = np.concatenate([np.arange(s.first, s.first + s.rows) for s in mine])
        assert len(within) == table.num_rows, "a part holds other rows than were counted"
        if len(self.quota) > 1:
            order = np.empty(sum(self.quota), np.int64)
            order[interleave([q for q in self.quota if q])] = np.arange(len(order))
            starts = np.cumsum([0, *self.quota])
            within = order[starts[table["_group"].to_numpy()] + within]
        table = table.append_column("rank", pa.array(within))
        wanted = ["rank", *ids, "file", "line", "score", "group"]
        table = table.select([n for n in wanted if n in table.schema.names])
        write_table(self.folder / f"part-{part:05d}.parquet", table)
        return int(table.num_rows)
