"""Data sets of Data-Juicer after an operator that saw all rows: the kept rows with their stats, the
others written down; as `datasets` and on Ray.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pyarrow as pa

from coreset.curation.data_juicer.answers import KEPT, Answers
from coreset.curation.data_juicer.dropped import write_dropped
from coreset.curation.data_juicer.rows import OURS, STATS, Rows, joined, read


def places(answers: Answers) -> tuple[list[int], list[int]]:
    """Return the places of the rows to write out, one that is to be repeated several times, and of
    those that are out.
    """
    state, times = answers.stats["state"], answers.stats.get("repeat")
    kept = [
        i
        for i, s in enumerate(state)
        if s == KEPT
        for _ in range(1 if times is None else int(times[i]))
    ]
    return kept, [i for i, s in enumerate(state) if s != KEPT]


def add_stats(dataset: Any, answers: Answers, work_dir: str, operator: str) -> Any:
    """Return a `datasets.Dataset` of Data-Juicer without the rows that are out."""
    old = list(dataset.select_columns([STATS]).to_list()) if STATS in dataset.column_names else []
    stats = [{**(old[i][STATS] if old else {}), **answers.of(i)} for i in range(len(dataset))]
    kept, out = places(answers)
    if old:
        dataset = dataset.remove_columns([STATS])
    for start in range(0, len(out), 1000):
        some = out[start : start + 1000]
        rows = dataset.select(some).to_list()
        dropped = [{**row, STATS: stats[i]} for row, i in zip(rows, some, strict=True)]
        write_dropped(work_dir, operator, dropped, [answers.stats["id"][i] for i in some], start)
    left = dataset.select(kept)
    return type(dataset)(left.add_column(STATS, [stats[i] for i in kept])) if kept else left


def kept_on_ray(
    dataset: Any,
    needs: frozenset[str],
    text_key: str,
    decide: Callable[[Rows], Answers],
    work_dir: str,
    operator: str,
) -> Any:
    """Return a `ray.data.Dataset` without the rows that are out. Blocks stay where they are: needed
    columns come here, answers go there.

    Rows are told apart by their place in a block, so the data set is computed once and held (a
    second run of it may be cut otherwise).
    """
    ray: Any = import_module("ray")
    refs = dataset.materialize().to_arrow_refs()
    look, cut = ray.remote(_look), ray.remote(_cut)
    parts: list[Rows] = ray.get([look.remote(ref, needs, text_key) for ref in refs])
    answers = decide(joined(parts))
    kinds = {n: pa.array(v).type for n, v in answers.stats.items()}
    new, start = [], 0
    for at, (ref, part) in enumerate(zip(refs, parts, strict=True)):
        end = start + len(part.ids)
        here = Answers({n: v[start:end] for n, v in answers.stats.items()})
        new.append(cut.remote(ref, here, kinds, work_dir, operator, at))
        start = end
    ray.wait(new, num_returns=len(new))
    return ray.data.from_arrow_refs(new)


def _look(table: pa.Table, needs: frozenset[str], text_key: str) -> Rows:
    return read(table.to_pydict(), needs, text_key)


def _cut(
    table: pa.Table,
    answers: Answers,
    kinds: dict[str, pa.DataType],
    work_dir: str,
    operator: str,
    at: int,
) -> pa.Table:
    table = with_stats(table, answers, kinds)
    kept, out = places(answers)
    write_dropped(
        work_dir,
        operator,
        table.take(pa.array(out, pa.int64())).to_pylist(),
        answers.stats["id"],
        at,
    )
    return table.take(pa.array(kept, pa.int64()))


def with_stats(table: pa.Table, answers: Answers, kinds: dict[str, pa.DataType]) -> pa.Table:
    """Return a block with our stats among those it has."""
    columns: dict[str, pa.Array] = {}
    if STATS in table.column_names:
        old = table[STATS].combine_chunks()
        columns = {f.name: old.field(i) for i, f in enumerate(old.type)}
    columns |= {f"{OURS}{n}": pa.array(v, kinds[n]) for n, v in answers.stats.items()}
    stats = pa.StructArray.from_arrays(list(columns.values()), list(columns))
    if STATS in table.column_names:
        return table.set_column(table.column_names.index(STATS), STATS, stats)
    return table.append_column(STATS, stats)
