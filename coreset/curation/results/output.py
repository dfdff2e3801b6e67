"""What a run leaves in its folder: the decisions about all rows, the rows kept in the form they
came, the rejects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from coreset.core.engine import Engine
from coreset.core.places import is_remote, parquet
from coreset.core.store import to_json, write_atomic
from coreset.curation.io.discover import Shard
from coreset.curation.io.write import file_hash, whole_file, write_rows
from coreset.curation.results.decisions import DecidePartition, read_rejects
from coreset.curation.runtime.checkpoint import Partition
from coreset.curation.runtime.row_ids import DUPLICATE, INPUT
from coreset.curation.runtime.steps import FAILED, Pipeline, read_columns


def _united(schemas: Sequence[pa.Schema]) -> pa.Schema:
    schema = pa.unify_schemas(schemas, promote_options="permissive")
    return pa.schema([f.with_type(pa.string()) if pa.types.is_null(f.type) else f for f in schema])


@dataclass(frozen=True)
class SchemaOf:
    """Read the schema of a table of the state."""

    def __call__(self, path: Any) -> pa.Schema:
        """Return the schema of the table at `path`, without metadata."""
        with parquet(path, whole=True) as file:
            return file.schema_arrow.remove_metadata()


@dataclass(frozen=True)
class WriteDecisions:
    """Write the decisions about one partition as a file of the output."""

    schema: pa.Schema
    folder: Any

    def __call__(self, path: Any) -> int:
        """Return how many rows it has."""
        table = read_columns(path)
        whole = pa.concat_tables([self.schema.empty_table(), table], promote_options="permissive")
        with whole_file(self.folder / path.name) as part:
            pq.write_table(whole.cast(self.schema), part, compression="zstd")
        return int(table.num_rows)


def write_decisions_by_tasks(engine: Engine, paths: Sequence[Any], folder: Any) -> int:
    """Write the tables of all partitions as files of a folder, each by a task; return how many rows
    they have.
    """
    schema = _united(list(engine.map(SchemaOf(), paths)))
    rows = sum(engine.map(WriteDecisions(schema, folder), paths))
    _remove_others(folder, {path.name for path in paths})
    return rows


def _remove_others(folder: Any, names: set[str]) -> None:
    for path in list(folder.iterdir()) if folder.is_dir() else ():
        if path.name not in names:
            path.unlink()


@dataclass(frozen=True)
class WriteRejects:
    """Write the rejects of one partition as a file of the output."""

    chain: Pipeline
    folder: Any

    def __call__(self, partition: Partition) -> tuple[str, Counter[str]]:
        """Return the file's name, "" where there are none, and the counts by reason."""
        rejects = _rejects(self.chain, partition)
        reasons = Counter(r["reason"] for r in rejects)
        if not rejects:
            return "", reasons
        lines = "".join(to_json(r, ensure_ascii=False) + "\n" for r in rejects)
        name = f"{partition.name}.jsonl"
        write_atomic(self.folder / name, lines)
        return name, reasons


def write_rejects_by_tasks(
    engine: Engine, chain: Pipeline, partitions: Sequence[Partition], folder: Any
) -> Counter[str]:
    """Write all rejects as files of a folder, each by a task, which is there without any too (a
    store has no empty folders); return the counts by reason.
    """
    reasons: Counter[str] = Counter()
    names = set()
    if not is_remote(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name, more in engine.map(WriteRejects(chain, folder), partitions):
        reasons.update(more)
        names.add(name)
    _remove_others(folder, names)
    return reasons


def write_decisions(
    paths: Sequence[Path], out: Path, about: Mapping[str, Any] | None = None
) -> int:
    """Write the tables of all partitions as one Parquet file, `about` as its metadata; return how
    many rows it has.
    """
    schema = _united([SchemaOf()(path) for path in paths])
    if about is not None:
        schema = schema.with_metadata({"coreset": to_json(about, sort_keys=True)})
    rows = 0
    with whole_file(out) as part, pq.ParquetWriter(part, schema, compression="zstd") as writer:
        for path in paths:
            table = pa.concat_tables(
                [schema.empty_table(), read_columns(path)], promote_options="permissive"
            ).cast(schema)
            writer.write_table(table)
            rows += table.num_rows
    return rows


@dataclass(frozen=True)
class WriteShard:
    """Write the kept rows of one shard in the form they came."""

    decide: DecidePartition
    out: Path
    longest: int

    def __call__(self, item: tuple[Shard, Sequence[Partition]]) -> dict[str, Any]:
        """Return the file's name, how many rows it has and its hash."""
        shard, partitions = item
        lines, times = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for partition in partitions:
            for line, repeat in _kept(self.decide.path(partition)):
                lines.append(line)
                times.append(repeat)
        line, repeat = np.concatenate(lines), np.concatenate(times)
        count = np.zeros(int(line.max()) + 1 if len(line) else 1, np.int32)
        count[line] = repeat
        path = self.out / shard.name
        written = write_rows(shard, count, self.longest, path)
        if written != int(repeat.sum()):
            raise RuntimeError(
                f"{shard.path}: {int(repeat.sum())} rows were to be kept but {written} could be"
                " read again; did the file change?"
            )
        return {"file": shard.name, "rows": written, "sha256": file_hash(path)}


def _kept(path: Path) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    with parquet(path, whole=True) as file:
        names = ["line", "state", *(["repeat"] if "repeat" in file.schema_arrow.names else [])]
        table = file.read(names)
    table = table.filter(pc.equal(table["state"], "kept"))
    line = table["line"].to_numpy()
    yield (
        line,
        (
            table["repeat"].to_numpy().astype(np.int64)
            if len(names) == 3
            else np.ones(len(line), np.int64)
        ),
    )


def write_rejects(chain: Pipeline, partitions: Sequence[Partition], out: Path) -> Counter[str]:
    """Write every reject of the input, and every row an operator failed on, as JSON lines in the
    order of the input; return the counts by reason.
    """
    reasons: Counter[str] = Counter()
    with whole_file(out) as part, part.open("w", encoding="utf-8") as file:
        for partition in partitions:
            for reject in _rejects(chain, partition):
                reasons[reject["reason"]] += 1
                file.write(to_json(reject, ensure_ascii=False) + "\n")
    return reasons


def _rejects(chain: Pipeline, partition: Partition) -> list[dict[str, Any]]:
    rejects = [*read_rejects(chain.work, partition), *_failed(chain, partition)]
    return sorted(rejects, key=lambda r: (r["line"] is None, r["line"] or 0))


def _failed(chain: Pipeline, partition: Partition) -> Iterator[dict[str, Any]]:
    """Yield the rows whose id stood before, and those an operator failed on."""
    work = chain.work
    rows = None
    for stage in chain.stages:
        with parquet(work.side(stage, partition), whole=True) as file:
            why = (
                "failed"
                if "failed" in file.schema_arrow.names
                else "reason"
                if stage.name == INPUT
                else None
            )
            table = file.read(["row", why]) if why else None
        for row, text in (
            zip(*(table[n].to_pylist() for n in ("row", why)), strict=True)
            if table is not None
            else ()
        ):
            if text:
                rows = (
                    read_columns(work.partition(partition), ["id", "line", "preview"])
                    if rows is None
                    else rows
                )
                name, line, shown = (rows[n][row].as_py() for n in ("id", "line", "preview"))
                reason, detail = (
                    (DUPLICATE, text) if stage.name == INPUT else (FAILED, f"{stage.name}: {text}")
                )
                yield {
                    "file": work.shards[partition.shard],
                    "line": line,
                    "reason": reason,
                    "why": detail,
                    "id": name,
                    "row": shown,
                    "cut": True,
                }
