"""The rows a selection is made of: files cut into ranges, and the columns of a range in batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coreset.core.batch import to_numpy
from coreset.core.places import in_words, parquet
from coreset.curation.io.discover import Shard
from coreset.curation.io.read import count_lines, read_rows

BATCH = 8192  # rows held at a time; counted from the beginning of a row group
_LONGEST = 2**26  # bytes of a line of JSON


@dataclass(frozen=True)
class Range:
    """A range of a file. number: its place among all; first: rows of all ranges before it; rows:
    how many it has.
    """

    number: int
    shard: Shard
    first: int
    rows: int


@dataclass(frozen=True)
class Source:
    """What is read of every row. columns: {signal: column}; ids: the column of names, or None;
    line: the column of the line in the file that rows come from; None: their place in this one.
    """

    columns: Mapping[str, str]
    ids: str | None
    line: str | None = None

    @property
    def names(self) -> list[str]:
        """Return the columns to read."""
        return sorted({*self.columns.values(), *([self.ids] if self.ids else [])})


@dataclass(frozen=True)
class Rows:
    """A batch of rows. line: of JSON lines the line, else the row of the file, from 1; columns: by
    column name, first axis the rows.
    """

    line: NDArray[np.int64]
    columns: Mapping[str, NDArray[Any]]


def read_range(source: Source, shard: Shard) -> Iterator[Rows]:
    """Yield the rows of a range in batches. Raises ValueError that names file and line for a row
    that is broken, has no such column, or another shape than the rows beside it.
    """
    also = [] if source.line is None else [source.line]
    for place, table in _tables(shard, [*source.names, *also]):
        line = place if source.line is None else table[source.line].to_numpy()
        where = f"{shard.name}, lines {line[0]} to {line[-1]}"
        columns = {n: array_of(table[n], n, where) for n in source.names}
        yield Rows(line, columns)


def _tables(shard: Shard, names: list[str]) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
    if shard.kind == "parquet":
        at = shard.before + 1
        with in_words(shard.path, "read"), parquet(shard.path) as file:
            check_names(shard.name, file.schema_arrow.names, names)
            stop = file.num_row_groups if shard.stop is None else shard.stop
            for group in range(shard.start, stop):
                for batch in file.iter_batches(BATCH, row_groups=[group], columns=names):
                    if batch.num_rows:
                        yield np.arange(at, at + batch.num_rows), pa.Table.from_batches([batch])
                        at += batch.num_rows
        return
    lines: list[int] = []
    rows: list[list[Any]] = []
    for one in read_rows(shard, _LONGEST, shard.before):
        if one.bad is not None or not isinstance(one.row, dict):
            raise ValueError(f"{shard.name}, line {one.number}: {one.bad or 'no JSON object'}")
        missing = [n for n in names if n not in one.row]
        if missing:
            check_names(f"{shard.name}, line {one.number}", one.row, names)
        lines.append(one.number)
        rows.append([one.row[n] for n in names])
        if len(rows) == BATCH:
            yield np.array(lines), _table(shard, lines, rows, names)
            lines, rows = [], []
    if rows:
        yield np.array(lines), _table(shard, lines, rows, names)


def _table(shard: Shard, lines: list[int], rows: list[list[Any]], names: list[str]) -> pa.Table:
    columns = {}
    for i, name in enumerate(names):
        try:
            columns[name] = pa.array([row[i] for row in rows])
        except (pa.ArrowException, OverflowError) as error:
            raise ValueError(
                f"{shard.name}, lines {lines[0]} to {lines[-1]}: '{name}' mixes kinds: {error}"
            ) from error
    return pa.table(columns) if names else pa.table({"_": pa.nulls(len(rows))})


def check_names(where: str, present: Any, names: list[str]) -> None:
    """Raise KeyError for a column that is not there."""
    missing = [n for n in names if n not in present]
    if missing:
        raise KeyError(
            f"{where}: column '{missing[0]}' is missing; present: {', '.join(map(str, present))}"
        )


def array_of(column: Any, name: str, where: str) -> NDArray[Any]:
    """Return an Arrow column as numpy, (n,) or of lists (n, d, ...). Raises ValueError for rows
    that are missing or whose lists have different lengths.

    >>> array_of(pa.array([[1.0, 2.0], [3.0, 4.0]]), "x", "a.parquet").shape
    (2, 2)
    """
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(column, pa.ChunkedArray):  # no chunk at all
        column = pa.concat_arrays(column.chunks)
    if isinstance(column, pa.ExtensionArray):
        shape = getattr(column.type, "shape", None)
        flat = array_of(column.storage, name, where)
        return flat if shape is None else flat.reshape(len(flat), *shape)
    if column.null_count:
        raise ValueError(f"{where}: '{name}' is missing in {column.null_count} rows")
    kind = column.type
    if pa.types.is_fixed_size_list(kind):
        inner = array_of(column.flatten(), name, where)
        return inner.reshape(len(column), kind.list_size, *inner.shape[1:])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        sizes = np.unique(column.value_lengths().to_numpy(zero_copy_only=False))
        if len(sizes) > 1:
            raise ValueError(
                f"{where}: '{name}' has lists of different lengths, {sizes[0]} and {sizes[-1]};"
                " expected one length in all rows"
            )
        inner = array_of(column.flatten(), name, where)
        return inner.reshape(len(column), int(sizes[0]), *inner.shape[1:])
    return to_numpy(column)


Kind = tuple[str, tuple[int, ...]]  # numbers or texts, and the shape of one row


@dataclass(frozen=True)
class Look:
    """Look at the first row of a file."""

    source: Source

    def __call__(self, shard: Shard) -> dict[str, Kind]:
        """Return what each column holds, nothing where there is no row. Raises KeyError for a
        column that is not there, ValueError for one that is no numbers or texts.
        """
        if shard.kind not in ("jsonl", "parquet"):
            raise ValueError(
                f"{shard.name}: expected Parquet or JSON lines (.jsonl, plain, .gz, .zst), got"
                f" {shard.kind}"
            )
        if shard.kind == "parquet":
            with in_words(shard.path, "read"), parquet(shard.path) as file:
                check_names(shard.name, file.schema_arrow.names, self.source.names)
                full = [
                    i for i in range(file.num_row_groups) if file.metadata.row_group(i).num_rows
                ]
                if not full or not self.source.names:
                    return {}
                batch = next(file.iter_batches(1, full[:1], self.source.names))
            return {n: _kind(batch.column(n), n, shard.name) for n in self.source.names}
        for one in read_rows(shard, _LONGEST):
            if one.bad is not None or not isinstance(one.row, dict):
                raise ValueError(f"{shard.name}, line {one.number}: {one.bad or 'no JSON object'}")
            check_names(f"{shard.name}, line {one.number}", one.row, self.source.names)
            table = _table(shard, [one.number], [[one.row[n] for n in self.source.names]],
                           self.source.names)  # fmt: skip
            return {n: _kind(table[n], n, shard.name) for n in self.source.names}
        return {}


def _kind(column: Any, name: str, where: str) -> Kind:
    values = array_of(column, name, f"{where}, the first row")
    if values.dtype.kind in "biuf":
        return "numbers", values.shape[1:]
    if values.dtype == object and isinstance(values.ravel()[0], str):
        return "texts", values.shape[1:]
    raise ValueError(f"{where}: '{name}' holds {values.dtype}, expected numbers or texts")


@dataclass(frozen=True)
class CountRows:
    """Count the rows of a range."""

    def __call__(self, shard: Shard) -> int:
        """Return how many."""
        if shard.kind == "jsonl":
            return count_lines(shard)[1]
        with in_words(shard.path, "read"), parquet(shard.path) as file:
            stop = file.num_row_groups if shard.stop is None else shard.stop
            groups = (file.metadata.row_group(i) for i in range(shard.start, stop))
            return sum(group.num_rows for group in groups)
