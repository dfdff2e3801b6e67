"""`coreset.select` with paths: the columns lie in Parquet or JSON lines, here or in a store, and so
does the answer.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from coreset import registry
from coreset.core.budget import budget_size
from coreset.core.engine import Engine
from coreset.core.locks import LOCK, locked
from coreset.core.places import in_words, is_remote, place, read_table, remove_tree, stamp
from coreset.core.store import fingerprint, to_json, write_atomic
from coreset.core.strategy import Strategy
from coreset.curation.engines.local import Local
from coreset.curation.engines.ray import RayData
from coreset.curation.from_files.order import ReadChosen, WriteChosen, WriteKeys
from coreset.curation.from_files.ranges import CountRows, Kind, Look, Range, Source
from coreset.curation.from_files.rounds import choose_in_rounds
from coreset.curation.from_files.scored import LINE, SCORES, scored
from coreset.curation.io.discover import Shard, discover
from coreset.curation.io.split import SIZE, split
from coreset.curation.operators.select import Select
from coreset.curation.runtime.ordered_runs import CHUNK, MOST_GROUPS, LoadKeys, Runs, segments
from coreset.numerics.random import salt
from coreset.row_order import RowOrder, is_row_ordered, order_of
from coreset.runs.run_folder import versions
from coreset.two_rounds import has_rounds, rounds_of

ABOUT = "selection.json"
_PART = 2**28  # bytes of a part of the first round, about
ENGINES = {"local": Local, "ray": RayData}


@dataclass(frozen=True)
class FileSelection:
    """A selection that lies in files: `part-*.parquet` with `rank`, `id` (where rows have names),
    `file`, `line`, `score` (where there is one) and `group` (of quotas); line: of JSON lines, else
    the row of the file, from 1.

    path: the folder; count: rows chosen; info: strategy, parameters, seed, quota, and of two rounds
    the guarantee by name and the certificate.
    """

    path: Any
    count: int
    info: Mapping[str, Any]

    def __len__(self) -> int:
        return self.count

    def table(self) -> pa.Table:
        """Return all rows chosen, in the order chosen: for answers that fit this machine."""
        return read_table(self.path).sort_by("rank")


def select_from_files(
    strategy: str | Strategy,
    data: Any,
    budget: int | float,
    *,
    out: str | Path,
    columns: Mapping[str, str],
    ids: str | None = None,
    scorer: Any = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    engine: str | Engine = "local",
    partitions: int | None = None,
    size: int = SIZE,
    chunk: int = CHUNK,
) -> FileSelection:
    """Choose rows of files: see `coreset.select`.

    data: paths, globs or folders of Parquet or JSON lines. columns: {signal: column}; a signal that
    is not there is the column of its own name. scorer: gives the columns (`scored.scored`); files
    may then be all that `coreset.curate` reads. partitions: of two rounds; None: as many as make
    parts of about 256 MiB. size: bytes of a file that one task reads; chunk: rows of a file of the
    answer: neither changes which rows are chosen.

    Raises KeyError, TypeError, ValueError or OSError, in words, before anything is computed, for a
    strategy that cannot, columns that are not there or differ from file to file, and a budget above
    the rows.
    """
    chosen = registry.strategy(strategy, options)
    order = plan(chosen)
    unknown = set(columns) - chosen.needs
    if unknown:
        raise ValueError(
            f"{min(unknown)}: {type(chosen).__name__} reads no such column; it reads"
            f" {', '.join(sorted(chosen.needs)) or 'none'}"
        )
    source = Source({n: columns.get(n, n) for n in sorted(chosen.needs)}, ids)
    if scorer is not None:
        source = replace(source, ids="id", line=LINE)
    runs = _engine(engine)
    folder = place(str(out))
    _check_out(folder)
    with locked(folder):
        shards = given = discover(data, (folder,))
        stamps, more_about = _stamps(given), dict[str, Any]()
        if scorer is not None:
            shards, more_about = scored(runs, scorer, data, source.columns, ids, stamps, folder)
        kinds = _kinds(runs, source, shards)
        ranges = _ranges(runs, shards, size)
        total = sum(r.rows for r in ranges)
        k = budget_size(budget, total)
        if k > total:
            raise ValueError(f"budget: {k} rows asked for, but the files hold {total}")
        if order is None and partitions is None:
            width = sum(int(np.prod(kinds[c][1])) for c in source.columns.values())
            partitions = max(1, -(-total * width * 8 // _PART))
        about = {
            "strategy": type(chosen).__name__,
            "parameters": chosen.parameters(),
            "columns": dict(source.columns),
            "ids": ids,
            "rows": total,
            "budget": k,
            "seed": seed,
            "versions": versions("coreset-lightning", "torch", "numpy"),
            **more_about,
        }
        key = fingerprint(to_json(about, sort_keys=True), stamps, partitions)
        earlier = _known(folder)
        if earlier.get("key") != key:
            _remove_answer(folder)
            state = folder / "state" / f"{key}-{size}"
            if order is not None:
                more = _in_order(runs, source, order, ranges, k, seed, chunk, state, folder)
            else:
                select = Select(chosen, k, source.columns, seed=seed, partitions=partitions)
                count, more = choose_in_rounds(runs, source, ranges, select, k, state, folder)
                assert count == k, f"two rounds chose {count} rows instead of {k}"
            if _stamps(given) != stamps:
                raise OSError("data: files changed while they were read; start again")
            text = to_json({"key": key, "info": about | more}, indent=1, ensure_ascii=False)
            write_atomic(folder / ABOUT, text + "\n")
            earlier = json.loads(text)  # as a later call reads it
            remove_tree(folder / "state")
    return FileSelection(folder, k, earlier["info"])


def plan(strategy: Strategy) -> RowOrder | None:
    """Return the order of rows by which a strategy chooses, None where it does so in two rounds.
    Raises ValueError that names the strategies that can when it can do neither.
    """
    why = []
    for form in (order_of, rounds_of):
        try:
            answer = form(strategy)
            return answer if isinstance(answer, RowOrder) else None
        except ValueError as error:
            why.append(str(error))
    loaded = {name: registry.load(name) for name in registry.names()}
    kinds = {n: c for n, c in loaded.items() if isinstance(c, type)}
    able = [n for n, c in kinds.items() if is_row_ordered(c) or has_rounds(c)]
    raise ValueError(
        f"strategy: {type(strategy).__name__} cannot choose from files: {why[0]}; {why[1]}."
        f" Strategies that can: {', '.join(able)}"
    )


def _engine(engine: str | Engine) -> Engine:
    if not isinstance(engine, str):
        return engine
    if engine not in ENGINES:
        raise ValueError(f"engine: expected {' or '.join(ENGINES)}, got {engine!r}")
    built: Engine = ENGINES[engine]()
    return built


def _kinds(engine: Engine, source: Source, shards: Sequence[Shard]) -> dict[str, Kind]:
    """Return what the columns hold. Raises ValueError when files differ in it."""
    first: dict[str, Kind] = {}
    where = ""
    for shard, kinds in zip(shards, engine.map(Look(source), shards), strict=True):
        for name, kind in kinds.items() if first else ():
            if kind != first[name]:
                raise ValueError(
                    f"'{name}': {where} holds {_in_words(first[name])}, {shard.name}"
                    f" {_in_words(kind)}"
                )
        if not first:
            first, where = kinds, shard.name
    if source.names and not first:
        raise ValueError("data: there are no rows")
    return first


def _in_words(kind: Kind) -> str:
    return f"{kind[0]} of shape {kind[1]} a row"


def _ranges(engine: Engine, shards: Sequence[Shard], size: int) -> list[Range]:
    cut, out, first = split(engine, shards, size), [], 0
    for number, (shard, rows) in enumerate(zip(cut, engine.map(CountRows(), cut), strict=True)):
        out.append(Range(number, shard, first, rows))
        first += rows
    return out


def _in_order(
    engine: Engine, source: Source, order: RowOrder, ranges: Sequence[Range], k: int, seed: int,
    chunk: int, state: Any, out: Any,
) -> dict[str, Any]:  # fmt: skip
    """Write the first k of an order; return what is to be said about them."""
    counts, longest = Counter[Any](), 0
    for rows, length in engine.map(WriteKeys(source, order, state), ranges):
        counts.update(rows)
        longest = max(longest, length)
        if len(counts) > MOST_GROUPS:
            raise ValueError(
                f"'{source.columns[order.group or '']}' has more than {MOST_GROUPS:,} groups: is"
                " it a column of names?"
            )
    groups = tuple(sorted(name for name, rows in counts.items() if rows))
    sizes = np.array([counts[g] for g in groups], np.int64)
    quota = np.array([k]) if order.quota is None else order.quota(sizes, k)
    drawn = salt(np.random.default_rng(seed)) if order.score is None else None
    levels = 0 if source.ids is None else max(1, -(-longest // 8))
    load = LoadKeys(state, drawn, levels, groups)
    runs = Runs(tuple(segments(engine, load, ranges, quota, chunk)), tuple(quota.tolist()))
    write = WriteChosen(runs, out)
    written = sum(engine.exchange(ReadChosen(load, runs), ranges, write, runs.parts))
    assert written == k, f"{written} rows written instead of {k}"
    if order.group is None:
        return {}
    return {"quota": {str(g): int(q) for g, q in zip(groups, quota, strict=True)}}


def _stamps(shards: Sequence[Shard]) -> list[tuple[str, str]]:
    return [(s.name, str(stamp(s.path))) for s in shards]


def _known(folder: Any) -> dict[str, Any]:
    """Return what an earlier run said about its answer, where it lies there."""
    try:
        answer: dict[str, Any] = json.loads((folder / ABOUT).read_text())
        return answer
    except (OSError, ValueError):
        return {}


def _remove_answer(folder: Any) -> None:
    (folder / ABOUT).unlink(missing_ok=True)
    for path in list(folder.glob("part-*.parquet")):
        path.unlink()


def _check_out(out: Any) -> None:
    """Raise ValueError for a folder that holds other files."""
    with in_words(out, "write"):
        if not is_remote(out) and out.exists() and not out.is_dir():
            raise ValueError(f"out: expected a folder, {out} is a file")
        there = [p.name for p in out.iterdir()] if out.is_dir() else []
    ours = (ABOUT, LOCK, SCORES, "state")
    if there and not any(n in ours for n in there):
        raise ValueError(f"out: {out} holds other files; give a new folder")
