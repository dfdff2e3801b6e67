"""Curation as one call: a list of operators, rows in, rows out, and what became of every one of
them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from coreset.core.engine import Engine
from coreset.core.locks import LOCK, locked
from coreset.core.overrules import Overrules, read_overrules
from coreset.core.places import in_words, is_remote, place, remove_tree
from coreset.core.store import fingerprint, to_json, write_atomic
from coreset.curation.engines.local import Local
from coreset.curation.io.discover import HUB, Shard, discover, is_saved_dataset, save_dataset
from coreset.curation.io.formats import Schema, learn_schema
from coreset.curation.io.read import first_rows
from coreset.curation.io.split import SIZE, split
from coreset.curation.io.write import write_dataset_info
from coreset.curation.operators.base import (
    Estimator,
    GroupBy,
    Operator,
    Selector,
    describe,
    flatten,
    kind,
)
from coreset.curation.operators.rules.overruled import overruled
from coreset.curation.operators.select import Select
from coreset.curation.results.decisions import Counts, DecidePartition, read_rejects
from coreset.curation.results.gallery import Gather
from coreset.curation.results.output import (
    WriteShard,
    write_decisions,
    write_decisions_by_tasks,
    write_rejects,
    write_rejects_by_tasks,
)
from coreset.curation.runtime.check import check_recipe, needed, reads, stages
from coreset.curation.runtime.checkpoint import Partition, Stage, StateStore
from coreset.curation.runtime.choose import select_at_once
from coreset.curation.runtime.estimate import fitted
from coreset.curation.runtime.group_by_key import decide_groups
from coreset.curation.runtime.in_order import row_order, select_in_order
from coreset.curation.runtime.in_strata import in_strata, select_in_strata
from coreset.curation.runtime.ingest import Ingest, Ingested, longest_line, of_file
from coreset.curation.runtime.row_ids import INPUT, IdsThere, check_ids
from coreset.curation.runtime.stamps import check_unchanged, hashes, images_key
from coreset.curation.runtime.steps import Pipeline
from coreset.curation.runtime.two_rounds import read_about, select_in_rounds
from coreset.runs.run_folder import versions

FORMAT = 1
UNFINISHED = "unfinished"  # there from the first result that is written to the manifest
OURS = ("manifest.json", UNFINISHED)  # one of them is in a folder of a run
Log = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """How rows are read. kind: auto, alpaca, chat, images or text; fields: {our name: theirs}; id:
    the field that names rows; the next three bound memory.

    split: bytes of a file of JSON lines or Parquet that one task reads; a larger file is read in
    ranges. images: the folder that paths of images are relative to; None: the folder of the file
    that names them.
    """

    kind: str = "auto"
    fields: Mapping[str, str] = field(default_factory=dict)
    id: str | None = None
    max_characters: int = 1_000_000
    batch: int = 512
    partition_rows: int = 20_000
    images: str | None = None
    split: int = SIZE

    def __post_init__(self) -> None:
        for name in ("max_characters", "batch", "partition_rows", "split"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}: expected a whole number of at least 1, got {value!r}")


@dataclass(frozen=True)
class Rows:
    """The input once it lies in partitions."""

    shards: Sequence[Shard]
    schema: Schema
    operators: Sequence[Operator]
    ingested: Sequence[Ingested]
    chain: Pipeline
    key: str
    stamps: Mapping[str, Any]

    @property
    def partitions(self) -> list[Partition]:
        """All partitions in the order of the input."""
        return [p for one in self.ingested for p in one.partitions]

    @property
    def total(self) -> int:
        """How many rows were read, rejects among them."""
        return sum(one.rows for one in self.ingested)


def take_in(
    operators: Sequence[Any],
    source: Any,
    state: Path,
    out: Path,
    engine: Engine,
    settings: Settings,
    log: Log = lambda text: None,
) -> Rows:
    """Read the input into partitions, learn its schema, check the recipe against it and name every
    row. What lies in `out` is no input.
    """
    is_dataset = (
        isinstance(source, str) and source.startswith(HUB) and "://" not in source
    ) or hasattr(source, "save_to_disk")
    shards = discover(save_dataset(source, state)) if is_dataset else discover(source, (out, state))
    flat = flatten(operators)
    needs = needed(flat)
    first = first_rows(shards)
    schema = learn_schema(
        first,
        needs,
        kind=settings.kind,
        fields=settings.fields,
        id_field=settings.id,
        max_characters=settings.max_characters,
    )
    flat = check_recipe(flat, schema)
    engine.check(flat)
    content, stamps, unchanged = hashes(engine, shards, state)
    if unchanged:
        log(f"input: {unchanged} of {len(shards)} files are unchanged since an earlier run")
    files = sorted(content.items())
    version = versions("coreset-lightning").get("coreset-lightning", "")
    ranges = split(engine, shards, settings.split)
    key = fingerprint(
        FORMAT,
        version,
        files,
        asdict(schema),
        settings.partition_rows,
        *([settings.images] if settings.images else []),
        *([settings.split] if len(ranges) > len(shards) else []),
    )
    work = StateStore(
        state, f"rows-{fingerprint(key, sorted(needs))}", tuple(s.name for s in shards)
    )
    ingest = Ingest(work, schema, needs, settings.partition_rows, settings.images, content, stamps)
    there = len(list((work.root / work.rows).glob("*.json")))
    if there:
        parts = "files" if len(ranges) == len(shards) else "ranges of files"
        log(f"state: the rows of {there} of {len(ranges)} {parts} are reused")
    at = {shard.name: i for i, shard in enumerate(shards)}
    items = [(at[one.name], one) for one in ranges]
    gave: list[list[Ingested]] = [[] for _ in shards]
    for (number, _), one in zip(items, engine.map(ingest, items), strict=True):
        gave[number].append(one)
    ingested = [of_file(entries) for entries in gave]
    _check_any(work, ingested)
    for operator in flat:
        if isinstance(operator, Selector):
            operator.check(sum(one.rows for one in ingested))
    partitions = [p for one in ingested for p in one.partitions]
    if schema.image == "path" and any("image" in reads(o) for o in flat):
        key = fingerprint(key, images_key(engine, work, partitions))
    stage = Stage(f"00-{INPUT}-{key}", INPUT, key, frozenset())
    check_ids(engine, work, stage, partitions, by_content=schema.id is None)
    return Rows(
        shards, schema, flat, ingested, Pipeline(work, (stage,), settings.batch), key, stamps
    )


def _check_any(work: StateStore, ingested: Sequence[Ingested]) -> None:
    """Raise ValueError when no row at all can be used, with what is wrong about the first."""
    if any(one.rows > one.rejected for one in ingested):
        return
    total = sum(one.rows for one in ingested)
    first = next(
        (r for one in ingested for p in one.partitions for r in read_rejects(work, p)), None
    )
    if first is None:
        raise ValueError("input: there are no rows")
    place = first["file"] + (f", line {first['line']}" if first["line"] else "")
    raise ValueError(
        f"input: all {total} rows are rejected, the first ({place}) as {first['reason']}:"
        f" {first['why']}"
    )


def decide(engine: Engine, rows: Rows, log: Log) -> Pipeline:
    """Run all operators over all partitions; return the chain whose answers lie on disk."""
    chain, partitions = rows.chain, rows.partitions
    for stage in stages(rows.operators, rows.key, rows.total):
        chain = _decide_one(engine, chain, stage, partitions, rows.total, log)
    left, last = 0, time.monotonic()
    for i, alive in enumerate(engine.map(chain, partitions), 1):
        left += alive
        if time.monotonic() - last > 10 and i < len(partitions):
            log(f"{i} of {len(partitions)} partitions done")
            last = time.monotonic()
    log(f"{left} of {rows.total} rows left")
    return chain


def _decide_one(
    engine: Engine,
    chain: Pipeline,
    stage: Stage,
    partitions: Sequence[Partition],
    total: int,
    log: Log,
) -> Pipeline:
    operator = stage.operator
    there = sum(chain.work.side(stage, p).exists() for p in partitions)
    if there:
        log(f"{stage.name}: the answers about {there} of {len(partitions)} partitions are reused")
    if not isinstance(operator, Estimator | GroupBy | Selector):
        # row by row: computed when the next operator, or the end, asks for it
        return chain.with_stage(stage)
    log(f"{stage.name} ...")
    if isinstance(operator, Estimator):
        estimate = fitted(engine, chain, stage, partitions)
        if estimate is None:  # no row is left to fit
            return chain
        about = getattr(estimate, "found", {})
        one = Stage(stage.place, stage.name, stage.key, stage.gives, estimate, about)
        return _decide_one(engine, chain, one, partitions, total, log)
    if isinstance(operator, GroupBy):
        decide_groups(engine, chain, stage, partitions)
    elif isinstance(operator, Select) and operator.partitions is not None:
        select_in_rounds(engine, chain, stage, partitions, total)
    elif row_order(operator) is not None:
        select_in_order(engine, chain, stage, partitions, total)
    elif in_strata(operator):
        select_in_strata(engine, chain, stage, partitions, total)
    else:
        select_at_once(engine, chain, stage, partitions, total)
    return chain.with_stage(replace(stage, operator=None))


@dataclass(frozen=True)
class Curated:
    """What a run came to: the manifest as it is on disk, some rows of every outcome for a reader,
    and which images to show (see `gallery.gather`; None: no images).
    """

    out: Path
    manifest: Mapping[str, Any]
    samples: Mapping[str, Sequence[Mapping[str, Any]]]
    gallery: Mapping[str, Any] | None = None


def curate(
    operators: Sequence[Any],
    source: Any,
    out: str | Path,
    *,
    engine: Engine | None = None,
    settings: Settings | None = None,
    state: str | Path | None = None,
    overrules: str | Path | None = None,
    log: Log = lambda text: None,
) -> Curated:
    r"""Run operators over rows and write `out`: data/ (the rows kept, in the form they came),
    decisions.parquet, rejects.jsonl, manifest.json.

    operators: a recipe, any of the five kinds in order. source: paths, globs, folders, "hf:NAME" or
    a `datasets.Dataset`. state: where the state lies (default out/state); a run that was killed
    goes on there, and one with another budget finds its scores there; it may be deleted. overrules:
    a file of decisions of people (`coreset.core.overrules`), by the ids of the rows. Raises
    ValueError, KeyError, TypeError or OSError, in words, for an input or a recipe that cannot work.

    >>> import tempfile
    >>> from coreset.curation.operators.threshold import Threshold
    >>> from coreset.scorers.length import Length
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "in.jsonl").write_text('{"text": "one two"}\n{"text": "three"}\n')
    >>> done = curate(
    ...     [Length(), Threshold("text_words", low=2)], folder / "in.jsonl", folder / "out"
    ... )
    >>> done.manifest["counts"]
    {'rows': 2, 'kept': 1, 'dropped': 1, 'rejected': 0}
    """
    engine, settings = engine or Local(), settings or Settings()
    folder: Any = place(out)
    held: Any = folder / "state" if state is None else place(state)
    _check_out(folder)
    opinions = None if overrules is None else read_overrules(overrules)
    operators = overruled(operators, opinions)
    with locked(folder), locked(held):
        rows = take_in(operators, source, held, folder, engine, settings, log)
        if opinions is not None:
            _check_overrules(engine, opinions, rows)
        pa.default_memory_pool().release_unused()  # else it is kept for the rest of the run
        chain = decide(engine, rows, log)
        step = DecidePartition(chain, f"decisions-{chain.stages[-1].key}", opinions)
        counts = Counts()
        for part in engine.map(step, rows.partitions):
            counts.add(part)
        _check_counts(counts, rows)
        # the manifest of an earlier run says nothing about what is written from here on
        write_atomic(folder / UNFINISHED, "a run has begun to write here: start it again\n")
        (folder / "manifest.json").unlink(missing_ok=True)
        data = _write_data(engine, step, rows, folder)
        check_unchanged(rows.shards, rows.stamps)
        paths = [step.path(p) for p in rows.partitions]
        decisions, refused = folder / "decisions.parquet", folder / "rejects.jsonl"
        written, rejects = _write_results(engine, rows, chain, paths, decisions, refused)
        assert written == rows.total, f"{written} decisions about {rows.total} rows"
        manifest = _manifest(rows, chain, counts, rejects, data)
        manifest["output"]["decisions"] = written
        if opinions is not None:
            manifest["overrules"] = _about_overrules(opinions, counts)
        write_atomic(
            folder / "manifest.json", to_json(manifest, indent=1, ensure_ascii=False) + "\n"
        )
        (folder / UNFINISHED).unlink(missing_ok=True)
        gallery = next(engine.map(Gather(chain, rows.partitions), [decisions]))
        remove_tree(held / step.folder)
    pa.default_memory_pool().release_unused()
    samples = {name: [row for _, row in drawn] for name, drawn in sorted(counts.samples.items())}
    return Curated(folder, manifest, samples, gallery)


def _check_out(out: Any) -> None:
    if is_remote(out):
        with in_words(out, "write"):
            there = [p for p in out.fs.find(out.path) if not p.endswith(LOCK)]
        known = f"{out.path.strip('/')}/"
        ours = ("state/", *OURS)
        if there and not any(p.strip("/").removeprefix(known).startswith(ours) for p in there):
            raise ValueError(
                f"out: {out} holds other files; give a new prefix, or that of an earlier run"
            )
        return
    if out.exists() and not out.is_dir():
        raise ValueError(f"out: expected a folder, {out} is a file")
    other = out.is_dir() and any(p.name != LOCK for p in out.iterdir())
    if other and not any((out / name).exists() for name in ("state", *OURS)):
        raise ValueError(
            f"out: {out} holds other files; give a new or empty folder, or that of an earlier run"
        )


def _write_results(
    engine: Engine, rows: Rows, chain: Pipeline, paths: list[Any], decisions: Any, refused: Any
) -> tuple[int, Mapping[str, int]]:
    """Write decisions and rejects, as one file each or as folders of files by tasks; what an engine
    of the other form left is removed. Return the rows written and the rejects by reason.
    """
    for path in (decisions, refused):
        if path.is_dir() and not engine.sharded:
            remove_tree(path)
        elif engine.sharded and path.is_file():
            path.unlink()
    if engine.sharded:
        written = write_decisions_by_tasks(engine, paths, decisions)
        return written, write_rejects_by_tasks(engine, chain, rows.partitions, refused)
    written = write_decisions(paths, decisions)
    return written, write_rejects(chain, rows.partitions, refused)


def _check_counts(counts: Counts, rows: Rows) -> None:
    """Raise RuntimeError unless rows in = kept + dropped + rejected: as a whole and from one
    operator to the next.
    """
    if counts.rows != rows.total:
        raise RuntimeError(f"{rows.total} rows were read, but {counts.rows} were decided about")
    left = rows.total
    for name, one in counts.operators.items():
        if one["in"] != left or one["in"] != one["kept"] + one["dropped"] + one["rejected"]:
            raise RuntimeError(
                f"operator '{name}': {left} rows came, {one['in']} were seen: {one['kept']} kept,"
                f" {one['dropped']} dropped, {one['rejected']} rejected"
            )
        left = one["kept"]
    if left + counts.restored != counts.kept:
        raise RuntimeError(
            f"{left} rows are left after the last operator and {counts.restored} are kept by"
            f" people, but {counts.kept} are kept"
        )


def _check_overrules(engine: Engine, overrules: Overrules, rows: Rows) -> None:
    """Raise ValueError for an id that no row of the input has, before anything is computed."""
    left = dict.fromkeys(overrules.ids)
    for there in engine.map(IdsThere(rows.chain, tuple(left)), rows.partitions):
        for key in there:
            left.pop(key, None)
    if left:
        raise ValueError(
            f"{overrules.source}: {len(left)} ids are in no row of the input, first"
            f" {next(iter(left))!r}"
        )


def _about_overrules(overrules: Overrules, counts: Counts) -> dict[str, Any]:
    """Return what people decided, for the manifest."""
    by_action = {a: len(overrules.of(a)) for a in ("keep", "drop", "pin")}
    who = sorted({one.who for one in overrules.values()})
    about = {**by_action, "relabel": len(overrules.labels), "restored": counts.restored}
    return {"file": Path(overrules.source).name, **about, "who": who}


def _write_data(
    engine: Engine, step: DecidePartition, rows: Rows, out: Path
) -> list[dict[str, Any]]:
    """Write the kept rows of every shard that could be opened; remove what an earlier run left in
    `data/`.
    """
    todo = [
        (s, one.partitions)
        for s, one in zip(rows.shards, rows.ingested, strict=True)
        if one.partitions and one.rows
    ]
    folder = out / "data"
    data = list(engine.map(WriteShard(step, folder, longest_line(rows.schema)), todo))
    source = rows.shards[0].path.parent
    if rows.shards[0].kind == "arrow" and is_saved_dataset(source):
        names = [d["file"] for d in data]
        kept = sum(d["rows"] for d in data)
        write_dataset_info(source, folder, names, kept, fingerprint([d["sha256"] for d in data]))
    wanted = {folder / d["file"] for d in data} | {
        folder / "dataset_info.json",
        folder / "state.json",
    }
    for path in folder.rglob("*"):
        if path.is_file() and path not in wanted:
            path.unlink()
    return data


def _manifest(
    rows: Rows,
    chain: Pipeline,
    counts: Counts,
    rejects: Mapping[str, int],
    data: list[dict[str, Any]],
) -> dict[str, Any]:
    """Return what was done to what: nothing in it depends on when, where or how fast."""
    operators, fits = [], {stage.name: dict(stage.found) for stage in chain.stages}
    for stage in stages(rows.operators, rows.key, rows.total):
        about = describe(stage.operator)
        one = {
            "name": stage.name,
            "kind": kind(stage.operator),
            **about,
            "hash": fingerprint(about),
        }
        rounds = read_about(rows.chain.work, stage)
        one |= {"rounds": rounds} if rounds else {}
        one |= {"found": fit_facts} if (fit_facts := fits.get(stage.name)) else {}
        tally = counts.operators.get(stage.name)
        operators.append(one if tally is None else {**one, "counts": tally})
    inputs = [
        {
            "file": s.name,
            "rows": one.rows,
            "rejected": one.rejected,
            "bytes": one.size,
            "sha256": one.sha256,
            **({"broken": one.broken} if one.broken else {}),
        }
        for s, one in zip(rows.shards, rows.ingested, strict=True)
    ]
    return {
        "format": FORMAT,
        "counts": {
            "rows": rows.total,
            "kept": counts.kept,
            "dropped": counts.dropped,
            "rejected": counts.rejected,
        },
        "rejects": dict(sorted(rejects.items())),
        "schema": asdict(rows.schema),
        "input": inputs,
        "operators": operators,
        "output": {"data": data, "rows": sum(d["rows"] for d in data)},
        "versions": versions("coreset-lightning", "numpy", "pyarrow", "torch", "transformers"),
    }
