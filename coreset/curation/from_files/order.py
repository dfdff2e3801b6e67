"""The first k of an order of rows, in all or in every group, exactly: scores are written beside the
state once, cuts are found by counting (`runtime.refine`), and only rows that are chosen are moved.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from coreset.core.engine import PART
from coreset.core.pool import Pool
from coreset.core.signals import Signals
from coreset.curation.from_files.ranges import Range, Source, read_range
from coreset.curation.runtime.checkpoint import is_whole, write_table
from coreset.curation.runtime.ordered_runs import LoadKeys, Runs, keys_path
from coreset.curation.runtime.steps import read_columns
from coreset.row_order import RowOrder


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
        path = keys_path(self.folder, item)
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
class ReadChosen:
    """Read the rows of a range that are chosen, by their part."""

    load: LoadKeys
    runs: Runs

    def __call__(self, item: Range) -> pa.Table:
        """Return the chosen rows: file, line, id, and what they are sorted by."""
        table, part = self.runs.chosen(self.load(item))
        table = table.append_column("file", pa.array([item.shard.name] * len(part), pa.string()))
        return table.append_column(PART, pa.array(part))


@dataclass(frozen=True)
class WriteChosen:
    """Write the rows of one part in the order chosen."""

    runs: Runs
    folder: Any

    def __call__(self, item: tuple[int, pa.Table]) -> int:
        """Return how many rows it has. Raises ValueError for an id that two of them have: ids of
        other parts are not compared.
        """
        part, table = item
        table = self.runs.ranked(part, table)
        if "id" in table.schema.names:
            again = table["id"].combine_chunks().value_counts()
            again = again.filter(pc.greater(again.field("counts"), 1))
            if len(again):
                raise ValueError(
                    f"ids: {again[0]['values'].as_py()!r} names two of the rows chosen"
                )
        wanted = ["rank", "id", "file", "line", "score", "group"]
        table = table.select([n for n in wanted if n in table.schema.names])
        write_table(self.folder / f"part-{part:05d}.parquet", table)
        return int(table.num_rows)
