"""A selection that looks at all rows at once: they are brought to one task, which decides, and the
answers go back to their partitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from coreset.core.batch import Batch
from coreset.core.engine import PART, Engine
from coreset.curation.engines.spill import plain
from coreset.curation.operators.base import Selector
from coreset.curation.operators.contract import checked
from coreset.curation.runtime.checkpoint import Partition, Stage, remove_folder, write_table
from coreset.curation.runtime.edges import numbered, placed
from coreset.curation.runtime.group_by_key import HasSide, join_answers
from coreset.curation.runtime.steps import Pipeline, named, side_table


def select_at_once(
    engine: Engine, chain: Pipeline, stage: Stage, partitions: Sequence[Partition], total: int
) -> None:
    """Run a selection over all partitions: afterwards its answers lie beside every partition."""
    if all(engine.map(HasSide(chain.work, stage), partitions)):
        return
    folder = chain.work.root / stage.place / "chosen"
    read, step = ReadColumns(chain, stage), DecideAll(folder / "all.parquet", stage, total)
    answers = list(engine.exchange(read, list(enumerate(partitions)), step, 1))
    join_answers(engine, chain, stage, partitions, answers)
    remove_folder(folder)


@dataclass(frozen=True)
class ReadColumns:
    """Read the columns a selection reads, of the rows of one partition that are left."""

    chain: Pipeline
    stage: Stage

    def __call__(self, item: tuple[int, Partition]) -> pa.Table:
        """Return the columns (rows that are left), with the number of each row as `_node`."""
        number, partition = item
        assert self.stage.operator is not None
        view = self.chain.view(partition)
        table = plain(view.table(self.stage.operator.needs, view.alive))
        table = table.append_column("_node", pa.array(numbered(number, view.alive)))
        return table.append_column(PART, pa.array(np.zeros(len(view.alive), np.int64)))


@dataclass(frozen=True)
class DecideAll:
    """Decide about all rows, in the order of their ids."""

    path: Any
    stage: Stage
    total: int

    def __call__(self, item: tuple[int, pa.Table]) -> Any:
        """Write the answers; return where they are."""
        _, table = item
        operator = self.stage.operator
        assert isinstance(operator, Selector)
        table = table.sort_by("id")
        partition, row = placed(table["_node"].to_numpy())
        with named(self.stage):
            columns, decision = checked(operator, Batch(table.drop_columns(["_node"])), self.total)
        answers = plain(side_table(row, columns, decision))
        write_table(self.path, answers.append_column("_partition", pa.array(partition)))
        return self.path
