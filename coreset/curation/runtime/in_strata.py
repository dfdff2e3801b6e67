"""A sample with a quota per stratum: every stratum is cut into runs by counting, each run is ranked
by one task, and ranks go back to their partitions. The answer is that of one task that sees all
rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from coreset.core.batch import Batch
from coreset.core.engine import Engine
from coreset.curation.engines.spill import plain
from coreset.curation.operators.mixing.stratified import StratifiedSample
from coreset.curation.operators.two_rounds import PLACE
from coreset.curation.runtime.checkpoint import (
    Partition,
    Stage,
    is_whole,
    remove_folder,
    write_table,
)
from coreset.curation.runtime.group_by_key import HasSide, JoinRest
from coreset.curation.runtime.in_order import (
    Place,
    ReadOrdered,
    WriteRanks,
    counted,
    gathered,
    places,
)
from coreset.curation.runtime.ordered_runs import CHUNK, LoadKeys, Runs, keys_path, segments
from coreset.curation.runtime.steps import Pipeline, named, side_table
from coreset.curation.runtime.two_rounds import ReadChosen


def in_strata(operator: Any) -> bool:
    """Return whether a selection is such a sample; a mean over a stratum needs all its rows."""
    return isinstance(operator, StratifiedSample) and operator.weigh is None


def select_in_strata(
    engine: Engine,
    chain: Pipeline,
    stage: Stage,
    partitions: Sequence[Partition],
    total: int,
    chunk: int = CHUNK,
) -> None:
    """Run such a sample over all partitions: afterwards its answers lie beside every partition."""
    if all(engine.map(HasSide(chain.work, stage), partitions)):
        return
    operator, folder, items = stage.operator, chain.work.root / stage.place, places(partitions)
    assert isinstance(operator, StratifiedSample)
    step = WriteStrata(chain, stage, folder / "keys")
    counts, longest = gathered(engine, step, items, stage.name)
    names = sorted(counts)
    sizes = np.array([counts[n] for n in names], np.int64)
    quota = operator.quota(names, sizes, total, np.ones(len(names)))
    load = LoadKeys(folder / "keys", None, max(1, -(-longest // 8)), tuple(names))
    # a rank is given to every row, not only to those that are kept
    runs = Runs(
        tuple(segments(engine, load, items, sizes, chunk)), tuple(sizes.tolist()), turns=False
    )
    paths: list[Any] = []
    if runs.parts:
        write = WriteRanks(runs, folder / "chosen")
        paths = list(engine.exchange(ReadOrdered(load, runs), items, write, runs.parts))
    kept = dict(zip(names, quota.tolist(), strict=True))
    join = JoinStrata(chain, stage, tuple(partitions), kept)
    for _ in engine.exchange(ReadChosen(), paths, join, len(items)):
        pass
    for _ in engine.map(JoinRest(join), range(len(items))):
        pass
    for name in ("keys", "chosen"):
        remove_folder(folder / name)


def _rows(chain: Pipeline, stage: Stage, partition: Partition) -> tuple[Any, Batch]:
    """Return the rows of a partition that are left, and what the sample reads of them."""
    assert stage.operator is not None
    view = chain.view(partition)
    return view.alive, Batch(plain(view.table(stage.operator.needs, view.alive)))


@dataclass(frozen=True)
class WriteStrata:
    """Write row, id, stratum and number of the rows of a partition that belong to a stratum."""

    chain: Pipeline
    stage: Stage
    folder: Any

    def __call__(self, item: Place) -> tuple[Counter[Any], int]:
        """Return the rows of every stratum, and the longest id in bytes."""
        path = keys_path(self.folder, item)
        if not is_whole(path):
            operator = self.stage.operator
            assert isinstance(operator, StratifiedSample)
            alive, rows = _rows(self.chain, self.stage, item.partition)
            out: dict[str, Any] = {"row": pa.array([], pa.int64()), "id": pa.array([], pa.string())}
            if rows.rows:
                with named(self.stage):
                    reason, stratum = operator.strata(rows)
                    good = np.flatnonzero(reason == "")
                    out["group"] = pa.array(stratum[good].tolist(), pa.string())
                    out["score"] = pa.array(operator.values(rows)[good])
                out["row"] = pa.array(alive[good])
                out["id"] = rows.arrow("id").take(pa.array(good))
            write_table(path, pa.table(out))
        return counted(path)


@dataclass(frozen=True)
class JoinStrata:
    """Bring ranks back to one partition. quota: rows kept of every stratum."""

    chain: Pipeline
    stage: Stage
    partitions: tuple[Partition, ...]
    quota: Mapping[str, int]

    def __call__(self, item: tuple[int, pa.Table | None]) -> None:
        """Write the partition's stage output."""
        number, mine = item
        operator, partition = self.stage.operator, self.partitions[number]
        assert isinstance(operator, StratifiedSample)
        alive, rows = _rows(self.chain, self.stage, partition)
        if not rows.rows:
            write_table(
                self.chain.work.side(self.stage, partition),
                side_table(
                    alive,
                    {"stratum": pa.array([], pa.string()), "rank": np.empty(0, np.int64)},
                    operator.decision(*(np.empty(0, object),) * 2, np.empty(0, np.int64), {}),
                ),
            )
            return
        with named(self.stage):
            reason, stratum = operator.strata(rows)
        rank = np.full(len(alive), -1, np.int64)
        if mine is not None:
            rank[np.searchsorted(alive, mine[PLACE[1]].to_numpy())] = mine["rank"].to_numpy()
        decision = operator.decision(reason, stratum, rank, self.quota)
        write_table(
            self.chain.work.side(self.stage, partition),
            side_table(alive, dict(decision.columns), decision),
        )
