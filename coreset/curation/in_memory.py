"""Curation of rows that are Python data: a list of dicts, a DataFrame, an Arrow table, a Dataset.

The rows are written as JSON lines into a temporary folder and go the way of every file, so that the
answer is that of `coreset-curate` and `coreset-score` on them.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coreset import registry
from coreset.core.batch import to_numpy
from coreset.core.engine import Engine
from coreset.core.places import read_table
from coreset.core.store import strict
from coreset.core.strategy import Scorer
from coreset.curation.io.plain_rows import plain_rows
from coreset.curation.run import Settings
from coreset.curation.run import curate as curate_files
from coreset.curation.score import score as score_files


@dataclass(frozen=True, eq=False)
class Curation:
    """Rows kept and a decision per row.

    rows: the rows kept, as they were given, in their order. decisions: a table with one row per row
    given, in their order: `id`, `state` (kept, dropped, rejected), `operator`, `reason`,
    `duplicate_of` and the scores. manifest: what `manifest.json` of a run on files holds.
    """

    rows: list[Any]
    decisions: pa.Table
    manifest: Mapping[str, Any]

    def __repr__(self) -> str:
        counts = self.manifest["counts"]
        return f"Curation({counts['kept']} of {counts['rows']} rows kept)"

    def _repr_html_(self) -> str:
        """Return the rows left after every operator as a funnel, and why rows were dropped, for a
        notebook.
        """
        from collections import Counter

        from coreset.core import html

        counts = self.manifest["counts"]
        left = {"rows": counts["rows"]}
        for one in self.manifest["operators"]:
            if "counts" in one:
                left[f"after {one['name']}"] = one["counts"]["kept"]
        if counts["kept"] > list(left.values())[-1]:
            left["with rows restored"] = counts["kept"]
        why = Counter(r for r in self.decisions["reason"].to_pylist() if r is not None)
        reasons = html.bars(dict(why.most_common(8))) if why else ""
        title = f"{counts['kept']:,} of {counts['rows']:,} rows kept"
        return html.card(title, html.bars(left), "<b>dropped because</b>" if why else "", reasons)


def curate_rows(
    operators: Sequence[Any] | str,
    rows: Any,
    *,
    engine: Engine | None = None,
    **settings: Any,
) -> Curation:
    """Run a recipe over rows and return the rows kept and a decision per row.

    operators: names, `{name: options}` or instances, in order. rows: a list of dicts, a pandas
    DataFrame, an Arrow table or a `datasets.Dataset`; fields of Alpaca, ShareGPT, messages and
    plain text are recognized. settings: those of `coreset.curation.Settings`, such as
    `fields={"text": "body"}` or `id="name"`. Raises TypeError for rows of another form or a value
    that JSON cannot hold, KeyError for an unknown name and a missing field, ValueError for a recipe
    that cannot work.

    >>> rows = [{"text": "one two"}, {"text": "three"}, {"text": "one two"}]
    >>> steps = ["length", {"threshold": {"column": "text_words", "low": 2}}, "exact_duplicates"]
    >>> result = curate_rows(steps, rows)
    >>> result.rows
    [{'text': 'one two'}]
    >>> result.decisions["reason"].to_pylist()[1]
    'text_words below 2'
    """
    steps = [operators] if isinstance(operators, str | Mapping) else list(operators)
    given = as_rows(rows)
    with tempfile.TemporaryDirectory(prefix="coreset-") as folder:
        source, out = _write(given, Path(folder)), Path(folder) / "out"
        done = curate_files(steps, source, out, engine=engine, settings=Settings(**settings))
        decisions = _in_order(read_table(out / "decisions.parquet"), len(given))
    kept = np.flatnonzero([state == "kept" for state in decisions["state"].to_pylist()])
    return Curation([given[i] for i in kept.tolist()], decisions, done.manifest)


def score_rows(
    scorer: str | Mapping[str, Any] | Scorer,
    rows: Any,
    *,
    settings: Settings | None = None,
    engine: Engine | None = None,
    **options: Any,
) -> dict[str, NDArray[Any]]:
    """Return the columns of one scorer, each (N,) or (N, D), in the order of the rows.

    scorer: a name, with `options` as its parameters, or an instance. rows: as in `curate_rows`. A
    row that cannot be read (no field the scorer needs, an id given twice) has NaN in columns of
    numbers and None in others. Raises what `curate_rows` does.

    >>> score_rows("length", [{"text": "one two"}, {"text": "three"}])["text_words"]
    array([2., 1.])
    """
    part = registry.operator(scorer, options or None)
    given = as_rows(rows)
    with tempfile.TemporaryDirectory(prefix="coreset-") as folder:
        source, out = _write(given, Path(folder)), Path(folder) / "scores.parquet"
        score_files(part, source, out, engine=engine, settings=settings)
        table = _in_order(read_table(out), len(given))
    return {n: to_numpy(table[n]) for n in table.schema.names if n not in ("id", "file", "line")}


def as_rows(rows: Any) -> list[Mapping[str, Any]]:
    """Return rows as a list of mappings; dicts stay the objects they are.

    Raises TypeError for rows of another form and ValueError for none at all.

    >>> as_rows(pa.table({"text": ["a"]}))
    [{'text': 'a'}]
    """
    rows = plain_rows(rows)
    if isinstance(rows, str | bytes | Mapping | Path) or not isinstance(rows, Iterable):
        raise TypeError(
            "rows: expected a list of dicts, a DataFrame, an Arrow table or a Dataset, got"
            f" {type(rows).__name__}; files go to coreset.curation.curate"
        )
    given = list(rows)
    odd = next((i for i, row in enumerate(given) if not isinstance(row, Mapping)), None)
    if odd is not None:
        raise TypeError(f"rows: expected dicts, got {type(given[odd]).__name__} at position {odd}")
    if not given:
        raise ValueError("rows: there are none")
    return given


def _write(rows: Sequence[Mapping[str, Any]], folder: Path) -> Path:
    """Write rows as JSON lines; NaN is null. Raises TypeError for a value that JSON cannot hold."""
    path = folder / "rows.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for i, row in enumerate(rows):
            for name, value in row.items():
                try:
                    json.dumps(strict(value))
                except (TypeError, ValueError) as error:
                    raise TypeError(f"rows: field {name!r} at position {i}: {error}") from error
            file.write(json.dumps(strict(row), ensure_ascii=True) + "\n")
    return path


def _in_order(table: pa.Table, size: int) -> pa.Table:
    """Return a table by line with a row for each of `size` lines, null where it has none."""
    lines = table["line"].to_numpy() - 1
    at = np.full(size, -1, np.int64)
    at[lines] = np.arange(len(lines))
    return table.take(pa.array(at, mask=at < 0)).drop_columns(
        [n for n in ("file", "line") if n in table.schema.names]
    )
