"""Group operators at any size: keys are brought together and compared once, rows that are linked
are followed to their component, whole components are decided about, and the answers are brought
back to their partitions. Every row moves a fixed number of times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coreset.core.batch import Batch, objects, to_arrow
from coreset.core.engine import PART, Engine
from coreset.curation.engines.spill import plain
from coreset.curation.operators.base import Decision, GroupBy
from coreset.curation.operators.contract import checked
from coreset.curation.runtime.checkpoint import (
    Partition,
    Stage,
    StateStore,
    check_count,
    is_whole,
    remove_folder,
    write_table,
)
from coreset.curation.runtime.components import components, spread_over
from coreset.curation.runtime.edges import find_edges, numbered, placed
from coreset.curation.runtime.steps import Pipeline, named, read_columns, side_table

_PART = 20_000  # rows decided about in one step, unless one group has more
_PLACE = ["_group", "_partition", "_row"]


def decide_groups(
    engine: Engine, chain: Pipeline, stage: Stage, partitions: Sequence[Partition]
) -> int:
    """Run a group operator over all partitions: afterwards its answers lie beside every partition.
    Return how many rounds the components took.
    """
    operator, work = stage.operator, chain.work
    assert isinstance(operator, GroupBy)
    if all(engine.map(HasSide(work, stage), partitions)):
        return 0
    folder = work.root / stage.place
    edges = find_edges(engine, chain, stage, partitions, folder / "edges")
    labels, rounds = components(engine, edges, folder / "components")
    items = list(enumerate(partitions))
    paths = [one.path for one in labels]
    for _ in engine.exchange(ReadLabels(), paths, WriteGroups(work, stage, partitions), len(items)):
        pass
    grouped = sum(one.count for one in labels) * 2  # with the lowest of each, at most
    if operator.smallest <= 1:
        grouped = sum(p.rows for p in partitions)
    parts = max(1, -(-grouped // _PART))
    read, step = ReadGroups(chain, stage, parts), DecidePart(folder / "parts", stage)
    answers = list(engine.exchange(read, items, step, parts))
    join_answers(engine, chain, stage, partitions, answers)
    for name in ("edges", "components", "groups", "parts"):
        remove_folder(folder / name)
    return rounds


def join_answers(
    engine: Engine,
    chain: Pipeline,
    stage: Stage,
    partitions: Sequence[Partition],
    answers: Sequence[Any],
) -> None:
    """Bring files of answers (`_partition`, `row`, what was decided) back to their partitions;
    rows nothing is said of are kept.
    """
    step = JoinPartition(chain, stage, tuple(partitions))
    for _ in engine.exchange(ReadAnswers(), answers, step, len(partitions)):
        pass
    for _ in engine.map(JoinRest(step), range(len(partitions))):
        pass


@dataclass(frozen=True)
class HasSide:
    """Say whether the answers about one partition are there."""

    work: StateStore
    stage: Stage

    def __call__(self, partition: Partition) -> bool:
        """Return whether they are there and whole."""
        return is_whole(self.work.side(self.stage, partition))


@dataclass(frozen=True)
class ReadLabels:
    """Read a file of labels for the partitions of its rows, each component with its lowest row."""

    def __call__(self, path: Any) -> pa.Table:
        """Return `row` and `group` by partition."""
        table = read_columns(path)
        node, group = table["u"].to_numpy(), table["v"].to_numpy()
        lowest = np.unique(group)
        node, group = np.concatenate([node, lowest]), np.concatenate([group, lowest])
        part, row = placed(node)
        return pa.table({PART: part, "row": row, "group": group})


@dataclass(frozen=True)
class WriteGroups:
    """Write which rows of one partition are in which group."""

    work: StateStore
    stage: Stage
    partitions: Sequence[Partition]

    def __call__(self, item: tuple[int, pa.Table]) -> None:
        """Write the group numbers of one partition, in the order of its rows."""
        number, table = item
        row, first = np.unique(table["row"].to_numpy(), return_index=True)
        group = table["group"].to_numpy()[first]
        path = groups_path(self.work, self.stage, self.partitions[number])
        write_table(path, pa.table({"row": row, "group": group}))


def groups_path(work: StateStore, stage: Stage, partition: Partition) -> Any:
    """Return the file of the groups of a partition's rows."""
    return work.root / stage.place / "groups" / f"{partition.name}.parquet"


@dataclass(frozen=True)
class ReadGroups:
    """Read the grouped rows of one partition: what the operator needs and their place."""

    chain: Pipeline
    stage: Stage
    parts: int

    def __call__(self, item: tuple[int, Partition]) -> pa.Table:
        """Return the rows of one partition, with the part of their group."""
        number, partition = item
        operator = self.stage.operator
        assert isinstance(operator, GroupBy)
        path = groups_path(self.chain.work, self.stage, partition)
        row = group = np.empty(0, np.int64)
        if is_whole(path):
            table = read_columns(path)
            row, group = table["row"].to_numpy(), table["group"].to_numpy()
        if not len(row) and operator.smallest > 1:
            return pa.table({PART: pa.array([], pa.int64())})
        view = self.chain.view(partition)
        if operator.smallest <= 1:  # a row alone is a group too
            alone = np.setdiff1d(view.alive, row)
            row = np.concatenate([row, alone])
            group = np.concatenate([group, numbered(number, alone)])
        table = plain(view.table(operator.needs, row))
        about = dict(zip(_PLACE, (group, np.full(len(row), number), row), strict=True))
        for name, values in (about | {PART: spread_over(group, self.parts)}).items():
            table = table.append_column(name, pa.array(values))
        return table


@dataclass(frozen=True)
class DecidePart:
    """Decide about whole groups, the rows of each in the order of their ids."""

    folder: Any
    stage: Stage

    def __call__(self, item: tuple[int, pa.Table]) -> Any:
        """Write the answers; return where they are."""
        part, table = item
        path, operator = self.folder / f"{part:05d}.parquet", self.stage.operator
        assert isinstance(operator, GroupBy)
        if is_whole(path):
            return path
        table = table.sort_by([("_group", "ascending"), ("id", "ascending")])
        group, partition, row = (table[n].to_numpy() for n in _PLACE)
        rows = table.drop_columns(_PLACE).combine_chunks()
        cuts = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), len(group)]
        large = [(a, b) for a, b in zip(cuts, cuts[1:], strict=False) if b - a >= operator.smallest]
        answers = pa.table({"row": pa.array([], pa.uint32())})
        here = np.concatenate([np.empty(0, np.int64), *(np.arange(a, b) for a, b in large)])
        if large:
            with named(self.stage):
                results = [checked(operator, Batch(rows.slice(a, b - a))) for a, b in large]
            answers = plain(side_table(row[here], *_together(results)))
        write_table(path, answers.append_column("_partition", pa.array(partition[here])))
        return path


def _together(
    results: Sequence[tuple[dict[str, Any], Decision | None]],
) -> tuple[dict[str, Any], Decision]:
    """Return the answers about groups, one after the other, as one."""
    decisions = [v for _, v in results if v is not None]
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
        name: pa.concat_arrays(_one_type([to_arrow(columns[name]) for columns, _ in results]))
        for name in results[0][0]
    }
    return columns, Decision(keep, reason, duplicate_of)


def _one_type(arrays: list[pa.Array]) -> list[pa.Array]:
    """Return arrays cast to the type of the first that has one: groups in which all is missing have
    none.
    """
    known = next((a.type for a in arrays if not pa.types.is_null(a.type)), pa.null())
    return [a if a.type == known else a.cast(known) for a in arrays]


@dataclass(frozen=True)
class ReadAnswers:
    """Read a file of answers for the partitions of its rows."""

    def __call__(self, path: Any) -> pa.Table:
        """Return the answers, with the partition of their rows as the part."""
        table = plain(read_columns(path))
        names = [PART if n == "_partition" else n for n in table.schema.names]
        return table.rename_columns(names)


class JoinStep(Protocol):
    """Brings what a stage says about the rows of a partition back to it."""

    @property
    def chain(self) -> Pipeline:
        """The steps before."""
        ...

    @property
    def stage(self) -> Stage:
        """Whose output is written."""
        ...

    @property
    def partitions(self) -> tuple[Partition, ...]:
        """All partitions, by number."""
        ...

    def __call__(self, item: tuple[int, pa.Table | None]) -> None:
        """Write the output of a partition, given by its number, from what came for it."""
        ...


@dataclass(frozen=True)
class JoinPartition:
    """Bring the answers about one partition's rows together; rows without one are kept."""

    chain: Pipeline
    stage: Stage
    partitions: tuple[Partition, ...]

    def __call__(self, item: tuple[int, pa.Table | None]) -> None:
        """Write the partition's stage output."""
        number, table = item
        partition = self.partitions[number]
        alive = self.chain.view(partition).alive
        answers = [] if table is None else [table]
        seen = np.empty(0, np.int64) if table is None else table["row"].to_numpy()
        path = self.chain.work.side(self.stage, partition)
        whole = joined(answers, np.setdiff1d(alive, seen))
        check_count(path, len(alive), whole.num_rows)
        write_table(path, whole)


@dataclass(frozen=True)
class JoinRest:
    """Write the stage output of a partition that nothing was brought to: no answer, no choice."""

    step: JoinStep

    def __call__(self, number: int) -> None:
        """Write the stage output of partition `number` unless it is there."""
        step = self.step
        if not is_whole(step.chain.work.side(step.stage, step.partitions[number])):
            step((number, None))


def joined(answers: Sequence[pa.Table], others: NDArray[Any]) -> pa.Table:
    """Return answers and the `others`, which are kept, in the order of rows."""
    decision = {
        "row": pa.array(others, pa.uint32()),
        "keep": pa.array(np.ones(len(others), bool)),
        "reason": pa.array([""] * len(others)),
    }
    table = pa.concat_tables([*answers, pa.table(decision)], promote_options="permissive")
    table = table.take(pa.array(np.argsort(table["row"].to_numpy(), kind="stable")))
    return table.set_column(
        table.schema.get_field_index("reason"),
        "reason",
        table["reason"].combine_chunks().dictionary_encode(),
    )
