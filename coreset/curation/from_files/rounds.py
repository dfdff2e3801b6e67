"""Selection in two rounds from files: the rows go to their parts by a hash of their ids, and from
there on it is what a recipe does (`runtime.two_rounds`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from coreset.core.batch import to_arrow
from coreset.core.engine import PART, Engine
from coreset.curation.from_files.order import names
from coreset.curation.from_files.ranges import Range, Source, read_range
from coreset.curation.operators.select import Select
from coreset.curation.operators.two_rounds import PLACE, part_of
from coreset.curation.runtime.checkpoint import Stage, write_table
from coreset.curation.runtime.steps import read_columns
from coreset.curation.runtime.two_rounds import (
    ABOUT,
    Audit,
    Certify,
    FirstRound,
    Rounds,
    Union,
    WritePart,
)


def choose_in_rounds(
    engine: Engine, source: Source, ranges: Sequence[Range], operator: Select, k: int, folder: Any,
    out: Any,
) -> tuple[int, dict[str, Any]]:  # fmt: skip
    """Write what two rounds choose as a file of `out`; return how many rows, and the guarantee and
    the certificate. folder: of the state.
    """
    assert operator.partitions is not None
    read, write = ReadRows(source, operator), WritePart(folder)
    sizes = dict(engine.exchange(read, ranges, write, operator.partitions))
    stage = Stage(folder.name, "select", folder.name, frozenset(), operator)
    rounds = Rounds(folder, stage, tuple(sorted(sizes)), sum(sizes.values()), k)
    for _ in engine.map(FirstRound(rounds), rounds.parts):
        pass
    next(engine.map(Union(rounds), [None]))
    for _ in engine.map(Audit(rounds), rounds.parts):
        pass
    next(engine.map(Certify(rounds), [None]))
    files = {r.number: r.shard.name for r in ranges}
    rows = next(engine.map(WriteRounds(folder, files, source.ids is not None, out), [None]))
    about: dict[str, Any] = json.loads((folder / ABOUT).read_text())
    return rows, about


@dataclass(frozen=True)
class ReadRows:
    """Read the rows of a range by their part: id, the columns of the strategy, place."""

    source: Source
    operator: Select

    def __call__(self, item: Range) -> pa.Table:
        """Return the rows of one range."""
        tables, first = [], item.first
        for rows in read_range(self.source, item.shard):
            n = len(rows.line)
            where = f"{item.shard.name}, lines {rows.line[0]} to {rows.line[-1]}"
            ids: Any = pa.array(np.arange(first, first + n))
            if self.source.ids:
                ids = names(rows.columns[self.source.ids], self.source.ids, where)
            table = {"id": ids}
            for name in sorted(self.operator.needs):
                values = rows.columns[name]
                if values.dtype.kind == "f" and not np.isfinite(values).all():
                    raise ValueError(f"{where}: '{name}' holds numbers that are not finite")
                table[name] = to_arrow(values)
            table[PLACE[0]] = pa.array(np.full(n, item.number))
            table[PLACE[1]] = pa.array(rows.line)
            part = part_of(self.operator, ids.to_numpy(zero_copy_only=False))
            tables.append(pa.table(table | {PART: pa.array(part)}))
            first += n
        if first != item.first + item.rows:
            raise OSError(f"{item.shard.path} changed while it was read; start again")
        if not tables:
            return pa.table({PART: pa.array([], pa.int64())})
        return pa.concat_tables(tables, promote_options="permissive")


@dataclass(frozen=True)
class WriteRounds:
    """Write the rows chosen. files: the file of every range by number; named: whether ids are the
    user's.
    """

    folder: Any
    files: dict[int, str]
    named: bool
    out: Any

    def __call__(self, _: None) -> int:
        """Return how many rows it has."""
        chosen = read_columns(self.folder / "chosen.parquet")
        union = read_columns(self.folder / "union.parquet").select(["id", *PLACE])
        table = chosen.join(union, list(PLACE)).sort_by("rank")
        numbers = table[PLACE[0]].to_pylist()
        table = table.append_column("file", pa.array([self.files[n] for n in numbers], pa.string()))
        table = table.rename_columns(
            [{"_row": "line", "gain": "score"}.get(n, n) for n in table.schema.names]
        )
        wanted = ["rank", *(["id"] if self.named else []), "file", "line", "score"]
        write_table(self.out / "part-00000.parquet", table.select(wanted))
        return int(table.num_rows)
