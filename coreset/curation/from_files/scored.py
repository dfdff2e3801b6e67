"""Columns that a scorer gives, computed where the rows lie, for a selection from files: features of
images in tar shards, losses of texts in JSON lines.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coreset.core.batch import to_numpy
from coreset.core.engine import Engine
from coreset.core.places import remove_tree
from coreset.core.store import fingerprint, to_json, write_atomic
from coreset.curation.io.discover import Shard
from coreset.curation.operators.base import describe, kind
from coreset.curation.run import Settings, decide, take_in
from coreset.curation.runtime.checkpoint import Partition, write_table
from coreset.curation.runtime.steps import Pipeline
from coreset.registry import scorer as by_name
from coreset.runs.run_folder import versions

SCORES = "scores"  # the folder of these columns below the answer
LINE = "line"
_ABOUT = "scores.json"


@dataclass(frozen=True)
class WriteScored:
    """Write what a scorer gives about the rows of one partition: `id`, `line` and the columns;
    rows for which one of them is missing or not finite are left out.
    """

    chain: Pipeline
    columns: tuple[str, ...]
    folder: Any

    def __call__(self, partition: Partition) -> tuple[str, str, int]:
        """Return the file written, the file of the rows, and how many rows it has."""
        view, file = self.chain.view(partition), self.chain.work.shards[partition.shard]
        path = self.folder / f"{partition.name}.parquet"
        if not len(view.alive):
            return path.name, file, 0
        table = pa.table({n: view.column(n) for n in ("id", LINE, *self.columns)})
        table = table.take(pa.array(np.sort(view.alive)))
        table = table.filter(pa.array(_defined(table, self.columns)))
        if table.num_rows:
            write_table(path, table)
        return path.name, file, table.num_rows


def _defined(table: pa.Table, columns: Sequence[str]) -> NDArray[np.bool_]:
    """Return which rows have a value in all columns, numbers in lists too."""
    good = np.ones(table.num_rows, bool)
    for name in columns:
        there = table[name].is_valid().to_numpy()
        values = to_numpy(table[name].filter(pa.array(there)))
        if values.dtype == object and len(values) and isinstance(values[0], np.ndarray | list):
            there[there] = [bool(np.isfinite(np.asarray(v, float)).all()) for v in values]
        elif values.dtype.kind == "f":
            there[there] = np.isfinite(values.reshape(len(values), -1)).all(1)
        good &= there
    return good


def scored(
    engine: Engine,
    scorer: Any,
    data: Any,
    columns: Mapping[str, str],
    ids: str | None,
    stamps: Sequence[tuple[str, str]],
    folder: Any,
) -> tuple[list[Shard], dict[str, Any]]:
    """Score all rows of files; return the files of the columns, in `folder / "scores"`, each under
    the name of the file its rows come from, and facts for the record of the answer.

    They are computed once: another budget or strategy finds them there. columns: {signal: column};
    ids: the field that names rows. stamps: of the files. Raises TypeError for a scorer that decides
    instead, KeyError for a column it does not give, and what `coreset.curate` raises.
    """
    chosen = by_name(scorer)
    if kind(chosen) != "score":
        raise TypeError(
            f"scorer: {type(chosen).__name__} is of kind {kind(chosen)}, expected a score"
        )
    missing = sorted(set(columns.values()) - chosen.gives)
    if missing:
        raise KeyError(
            f"column '{missing[0]}': {type(chosen).__name__} gives {', '.join(sorted(chosen.gives))}"
        )
    wanted = tuple(sorted(set(columns.values())))
    about = {
        "scorer": describe(chosen),
        "columns": wanted,
        "ids": ids,
        "versions": versions("coreset-lightning", "numpy", "torch", "timm", "transformers"),
    }
    key = fingerprint(to_json(about, sort_keys=True), list(stamps))
    target = folder / SCORES
    known = _known(target)
    if known.get("key") != key:
        remove_tree(target)
        state = folder / "state" / "rows"
        rows = take_in([chosen], data, state, folder, engine, Settings(id=ids))
        chain = decide(engine, rows, lambda text: None)
        files = [
            (name, file, count)
            for name, file, count in engine.map(WriteScored(chain, wanted, target), rows.partitions)
            if count
        ]
        left = rows.total - sum(count for *_, count in files)
        text = to_json({"key": key, "rows": rows.total, "left_out": left, "files": files})
        write_atomic(target / _ABOUT, text + "\n")
        known = json.loads(text)
    if not known["files"]:
        raise ValueError(f"data: none of {known['rows']} rows has {', '.join(wanted)}")
    shards = [Shard(target / name, file, "parquet") for name, file, _ in known["files"]]
    more = {"scorer": about["scorer"], "rows": known["rows"], "left_out": known["left_out"]}
    return shards, {"scored": more}


def _known(target: Any) -> dict[str, Any]:
    try:
        known: dict[str, Any] = json.loads((target / _ABOUT).read_text())
        return known
    except (OSError, ValueError):
        return {}
