"""A selection that orders rows by one number of each: nothing but counts, ids and numbers is looked
at, and only rows that are chosen are moved. The answer is that of one task that sees all rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from coreset.core.batch import Batch
from coreset.core.engine import PART, Engine
from coreset.core.pool import Pool
from coreset.core.signals import check_column
from coreset.curation.engines.spill import plain
from coreset.curation.operators.select import Select
from coreset.curation.operators.two_rounds import PLACE
from coreset.curation.runtime.checkpoint import (
    Partition,
    Stage,
    is_whole,
    remove_folder,
    write_table,
)
from coreset.curation.runtime.group_by_key import HasSide, JoinRest
from coreset.curation.runtime.ordered_runs import (
    CHUNK,
    MOST_GROUPS,
    LoadKeys,
    Runs,
    keys_path,
    segments,
)
from coreset.curation.runtime.steps import Pipeline, named, read_columns
from coreset.curation.runtime.two_rounds import JoinChosen, ReadChosen
from coreset.numerics.random import salt
from coreset.row_order import RowOrder, order_of


def row_order(operator: Any) -> RowOrder | None:
    """Return the row order by which a selection chooses, None where it has none: another strategy,
    costs, pinned rows, or two rounds.
    """
    if not isinstance(operator, Select) or operator.cost or operator.pinned or operator.partitions:
        return None
    try:
        return order_of(operator.strategy)
    except ValueError:
        return None


@dataclass(frozen=True)
class Place:
    """A partition among all that are left. first: rows of all before it."""

    number: int
    partition: Partition
    first: int


def select_in_order(
    engine: Engine,
    chain: Pipeline,
    stage: Stage,
    partitions: Sequence[Partition],
    total: int,
    chunk: int = CHUNK,
) -> None:
    """Run such a selection over all partitions:
    afterwards its answers lie beside every partition.
    """
    if all(engine.map(HasSide(chain.work, stage), partitions)):
        return
    operator, order = stage.operator, row_order(stage.operator)
    assert isinstance(operator, Select)
    assert order is not None
    folder = chain.work.root / stage.place
    items = places(partitions)
    counts, longest = gathered(engine, WriteKeys(chain, stage, folder / "keys"), items, stage.name)
    groups = tuple(sorted(counts))
    k = operator.count(sum(counts.values()), total)
    sizes = np.array([counts[g] for g in groups], np.int64)
    quota = np.array([k]) if order.quota is None or not k else order.quota(sizes, k)
    drawn = salt(np.random.default_rng(operator.seed)) if order.score is None else None
    load = LoadKeys(folder / "keys", drawn, max(1, -(-longest // 8)), groups)
    runs = Runs(tuple(segments(engine, load, items, quota, chunk)), tuple(quota.tolist()))
    paths: list[Any] = []
    if runs.parts:
        write = WriteRanks(runs, folder / "chosen")
        paths = list(engine.exchange(ReadOrdered(load, runs), items, write, runs.parts))
    step = JoinChosen(chain, stage, tuple(partitions), k)
    for _ in engine.exchange(ReadChosen(), paths, step, len(items)):
        pass
    for _ in engine.map(JoinRest(step), range(len(items))):
        pass
    for name in ("keys", "chosen"):
        remove_folder(folder / name)


def counted(path: Any) -> tuple[Counter[Any], int]:
    """Return the rows of every group in a file of keys, and the longest id in bytes."""
    table, rows = read_columns(path), Counter[Any]()
    if not table.num_rows:
        return rows, 0
    if "group" in table.schema.names:
        for one in table["group"].value_counts().to_pylist():
            rows[one["values"]] = one["counts"]
    else:
        rows[None] = table.num_rows
    return rows, int(pc.max(pc.binary_length(table["id"])).as_py())


def gathered(
    engine: Engine, step: Any, items: Sequence[Place], name: str
) -> tuple[Counter[Any], int]:
    """Return what `counted` says of all items together. Raises ValueError for too many groups."""
    counts, longest = Counter[Any](), 0
    for rows, length in engine.map(step, items):
        counts.update(rows)
        longest = max(longest, length)
        if len(counts) > MOST_GROUPS:
            raise ValueError(f"{name}: more than {MOST_GROUPS:,} groups; is it an id?")
    return counts, longest


def places(partitions: Sequence[Partition]) -> list[Place]:
    """Return partitions with the rows that stand before them."""
    firsts = np.cumsum([0, *(p.rows for p in partitions)]).tolist()
    return [Place(i, p, firsts[i]) for i, p in enumerate(partitions)]


@dataclass(frozen=True)
class WriteKeys:
    """Write what decides about the candidates of a partition: row, id, score and group."""

    chain: Pipeline
    stage: Stage
    folder: Any

    def __call__(self, item: Place) -> tuple[Counter[Any], int]:
        """Return the candidates of every group, and the longest id in bytes."""
        path = keys_path(self.folder, item)
        if not is_whole(path):
            write_table(path, self._table(item))
        return counted(path)

    def _table(self, item: Place) -> pa.Table:
        operator, order = self.stage.operator, row_order(self.stage.operator)
        assert isinstance(operator, Select)
        assert order is not None
        view = self.chain.view(item.partition)
        table = plain(view.table(operator.needs, view.alive))
        with named(self.stage):
            good = np.flatnonzero(operator.undefined(Batch(table)) == "")
            table, row = table.take(pa.array(good)), view.alive[good]
            out = {"row": pa.array(row), "id": table["id"]}
            if len(good) and order.group is not None:
                name = operator.columns.get(order.group, order.group)
                check_column(order.group, Batch(table)[name], np.arange(len(good)))
                out["group"] = table[name]
            if order.score is not None:
                rows = Batch(table)
                scores = (
                    order.score.scores(Pool(len(good)), operator.signals(rows, order.score.needs))
                    if len(good)
                    else np.empty(0)
                )
                out["score"] = pa.array(scores)
        return pa.table(out)


@dataclass(frozen=True)
class ReadOrdered:
    """Read the rows of a partition that are chosen, by the run they belong to."""

    load: LoadKeys
    runs: Runs

    def __call__(self, item: Place) -> pa.Table:
        """Return the chosen rows: place, id, and what they are sorted by."""
        table, part = self.runs.chosen(self.load(item))
        names = ["row", "id", *(n for n in table.schema.names if n == "score" or n[0] == "_")]
        table = table.select(names).rename_columns([PLACE[1], *names[1:]])
        table = table.append_column(PLACE[0], pa.array(np.full(len(part), item.number)))
        return table.append_column(PART, pa.array(part))


@dataclass(frozen=True)
class WriteRanks:
    """Write place, rank and gain of the rows of one run."""

    runs: Runs
    folder: Any

    def __call__(self, item: tuple[int, pa.Table]) -> Any:
        """Return where they are."""
        part, table = item
        table = self.runs.ranked(part, table)
        gain = (
            table["score"]
            if "score" in table.schema.names
            else pa.array(np.full(table.num_rows, np.nan))
        )
        path = self.folder / f"{part:05d}.parquet"
        write_table(path, table.select([*PLACE, "rank"]).append_column("gain", gain))
        return path
