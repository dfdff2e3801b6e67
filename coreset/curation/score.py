"""Scores alone: one row-wise operator over all rows, its columns in one Parquet file."""

from __future__ import annotations

import contextlib
import glob
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from coreset.core.locks import LOCK, locked, sweep
from coreset.curation.engines.local import Engine, Local
from coreset.curation.operators.base import describe, kind
from coreset.curation.results.output import write_decisions, write_rejects
from coreset.curation.run import Log, Settings, decide, take_in
from coreset.curation.runtime.checkpoint import Partition, write_table
from coreset.curation.runtime.steps import Pipeline
from coreset.runs.run_folder import versions


@dataclass(frozen=True)
class ScorePartition:
    """Put together the scores of one partition: id, file, line and the columns the scorer gives."""

    chain: Pipeline
    folder: str

    def __call__(self, partition: Partition) -> Path:
        """Write the scores of one partition as Parquet; return the path."""
        work, view = self.chain.work, self.chain.view(partition)
        given = (
            sorted(set().union(*(stage.gives for stage in self.chain.stages)))
            if len(view.alive)
            else []
        )
        columns = {n: view.column(n) for n in ("id", "line", *given)}
        columns["file"] = pa.array([work.shards[partition.shard]] * partition.rows, pa.string())
        table = pa.table(columns).select(["id", "file", "line", *given])
        path = work.root / self.folder / f"{partition.name}.parquet"
        write_table(path, table.take(pa.array(np.sort(view.alive))))
        return path


def score(
    scorer: Any,
    source: Any,
    out: str | Path,
    *,
    engine: Engine | None = None,
    settings: Settings | None = None,
    log: Log = lambda text: None,
) -> Mapping[str, int]:
    """Score all rows and write `out` (.parquet): `id`, `file`, `line` and the scorer's columns,
    vectors too. Return how many rows were read, scored, rejected.

    Rejects go beside it, into <name>.rejects.jsonl. A run that was killed goes on when it is
    started again; the state beside `out` is removed at the end. Raises TypeError for an operator
    that decides instead of scoring, and what `curate` raises.
    """
    out, engine = Path(out), engine or Local()
    if out.suffix != ".parquet":
        raise ValueError(f"out: expected a name that ends in .parquet, got {out}")
    if kind(scorer) not in ("score", "estimator"):
        raise TypeError(
            f"scorer: {type(scorer).__name__} is of kind {kind(scorer)}, expected a score; use it in a"
            " recipe of coreset-curate"
        )
    state = out.with_name(f"{out.name}.state")
    with locked(state):
        for name in (out.name, f"{out.stem}.rejects.jsonl"):
            sweep(out.parent, f"{glob.escape(name)}.*.part", deep=False)
        rows = take_in([scorer], source, state, out, engine, settings or Settings(), log)
        chain = decide(engine, rows, log)
        paths = list(engine.map(ScorePartition(chain, "scores"), rows.partitions))
        about = {
            "scorer": describe(scorer),
            "schema": rows.schema.kind,
            "versions": versions("coreset-lightning", "numpy", "torch", "transformers"),
        }
        written = write_decisions(paths, out, about)
        rejects = sum(
            write_rejects(chain, rows.partitions, out.with_suffix(".rejects.jsonl")).values()
        )
        if not rejects:
            out.with_suffix(".rejects.jsonl").unlink()
        broken = sum(one.broken is not None for one in rows.ingested)
        if written + rejects - broken != rows.total:
            raise RuntimeError(
                f"{rows.total} rows were read, but {written} are scored and {rejects - broken}"
                " rejected"
            )
        for left in [p for p in state.iterdir() if p.name != LOCK]:
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    with contextlib.suppress(OSError):  # another run may have begun
        state.rmdir()
    return {"rows": rows.total, "scored": written, "rejected": rejects - broken}
