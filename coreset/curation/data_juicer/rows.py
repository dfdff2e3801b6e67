"""Rows as Data-Juicer holds them, read as operators see them: columns of the row, of its stats, and
our own stats of earlier operators.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coreset.core.batch import Batch, to_arrow
from coreset.curation.io.formats import COLUMNS, IMAGE_FIELDS, BadRow, Schema, content_id
from coreset.curation.runtime.ingest import read_columns

STATS = "__dj__stats__"
# before the name of a column of ours among the stats: Data-Juicer's own `perplexity` is another
OURS = "coreset_"
_INTERNAL = "__dj__"
IDS = ("id", "__key__")
_CHAT = ("messages", "conversations", "conversation")
_DECISION = ("id", "state", "reason", "duplicate_of")


@dataclass(frozen=True)
class Rows:
    """Rows that were read. good: places of those that can be used; batch: their `id` and needed
    columns, row for row; bad: {place: what is wrong with the others}.

    ids: of all rows, a hash of the content where they carry none; by_content: whether all are such
    hashes.
    """

    batch: Batch
    good: NDArray[np.int64]
    bad: Mapping[int, str]
    ids: Sequence[str]
    by_content: bool


def schema_of(names: Sequence[str], needs: frozenset[str], text_key: str = "text") -> Schema:
    """Return what rows with these fields are: the same for every batch, since all rows of a
    Data-Juicer data set have the same fields.

    Raises KeyError when they are none of Alpaca, chat or text.

    >>> schema_of(["instruction", "output"], frozenset({"prompt"})).kind
    'alpaca'
    """
    fields = set(names)
    image = "path" if "image" in needs and fields & set(IMAGE_FIELDS) else None
    name = next((n for n in IDS if n in fields), None)
    if {"instruction", "output"} <= fields:
        return Schema("alpaca", id=name)
    if fields & set(_CHAT):
        return Schema("chat", id=name, image=image)
    if image:
        return Schema("images", {"text": text_key} if text_key in fields else {}, name, image=image)
    if text_key not in fields:
        raise KeyError(
            "the rows are neither Alpaca (instruction, output), chat (messages or conversations)"
            f" nor text: they have no field '{text_key}'; their fields are"
            f" {', '.join(sorted(fields)) or 'none'}; say which is the text with text_keys"
        )
    return Schema("text", {} if text_key == "text" else {"text": text_key}, name)


def read(
    samples: Mapping[str, Sequence[Any]], needs: frozenset[str], text_key: str = "text"
) -> Rows:
    """Return a batch of Data-Juicer, {field: values}, as operators see it. A needed column is
    looked for among our stats, the row's own columns and fields, and Data-Juicer's stats, in this
    order. Raises KeyError for one that is nowhere.

    >>> rows = read(
    ...     {
    ...         "id": ["a", "b"],
    ...         "text": ["one", " "],
    ...         "__dj__stats__": [{"text_len": 3}, {"text_len": 1}],
    ...     },
    ...     frozenset({"text", "text_len"}),
    ... )
    >>> rows.batch["text_len"], dict(rows.bad)
    (array([3.]), {1: "empty_text: 'text' is empty"})
    """
    if not samples:  # a block of Ray with no rows has no columns either
        return Rows(
            Batch(pa.table({"id": pa.array([], pa.string())})), np.empty(0, np.int64), {}, [], True
        )
    names = [n for n in samples if not n.startswith(_INTERNAL)]
    size = len(next(iter(samples.values())))
    stats: list[Mapping[str, Any]] = [s or {} for s in samples.get(STATS, [{}] * size)]
    known = set(stats[0]) if stats else set()
    schema = schema_of(names, needs, text_key)
    mine = COLUMNS[schema.kind] | ({"image"} if schema.image else set())
    good: list[int] = []
    bad: dict[int, str] = {}
    ids: list[str] = []
    held: list[dict[str, Any]] = []
    for i in range(size):
        row = {n: samples[n][i] for n in names}
        before = stats[i].get(f"{OURS}id")
        try:
            columns = read_columns(row, schema)
        except BadRow as error:
            bad[i] = f"{error.reason}: {error}"
            ids.append(before or _name(row, schema))
            continue
        columns["id"] = before or columns["id"]
        ids.append(columns["id"])
        good.append(i)
        held.append(columns)
    table: dict[str, pa.Array] = {"id": pa.array([c["id"] for c in held], pa.string())}
    for name in sorted(needs - {"id"}):
        own = f"{OURS}{name}"
        if own in known:
            table[name] = _array([None if stats[i][own] == "" else stats[i][own] for i in good])
            if f"{own}_status" in known:
                table[f"{name}_status"] = pa.array(
                    [stats[i][f"{own}_status"] for i in good], pa.string()
                )
        elif name in mine:
            table[name] = pa.array([c[name] for c in held])
        elif name in samples:
            table[name] = _array([samples[name][i] for i in good])
        elif name in known:
            table[name] = _array([stats[i][name] for i in good])
        elif size:
            have = sorted(
                {
                    *mine,
                    *names,
                    *(s.removeprefix(OURS) for s in known if s.removeprefix(OURS) not in _DECISION),
                }
            )
            raise KeyError(f"column '{name}' is missing; the rows have {', '.join(have)}")
    return Rows(Batch(pa.table(table)), np.array(good, np.int64), bad, ids, schema.id is None)


def joined(parts: Sequence[Rows]) -> Rows:
    """Return the rows of several batches as one. Rows of equal content are numbered, as everywhere
    in this project.

    Raises ValueError for an id that two good rows carry: nobody could tell which of them was
    dropped.
    """
    ids = [i for part in parts for i in part.ids]
    offsets = np.cumsum([0, *(len(part.ids) for part in parts)]).tolist()
    bad = {
        i + o: why for part, o in zip(parts, offsets, strict=False) for i, why in part.bad.items()
    }
    good = np.concatenate(
        [np.empty(0, np.int64), *(part.good + o for part, o in zip(parts, offsets, strict=False))]
    )
    by_content = all(part.by_content for part in parts)
    seen: Counter[str] = Counter()
    for i in good.tolist():
        name = ids[i]
        seen[name] += 1
        if seen[name] > 1 and not by_content:
            raise ValueError(
                f"two rows have the id {name!r}; a row needs an id of its own, or the data set none"
                " at all"
            )
        if seen[name] > 1:
            ids[i] = f"{name}-{seen[name]}"
    tables = [part.batch.table for part in parts if len(part.good)]
    if not tables:
        return Rows(Batch(pa.table({"id": pa.array([], pa.string())})), good, bad, ids, by_content)
    table = pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    table = table.set_column(
        table.schema.get_field_index("id"),
        "id",
        pa.array([ids[i] for i in good.tolist()], pa.string()),
    )
    return Rows(Batch(table), good, bad, ids, by_content)


def _name(row: Mapping[str, Any], schema: Schema) -> str:
    """Return what a bad row is called: as it says itself, where that is a name, else a hash of its
    content.
    """
    own = row.get(schema.id) if schema.id else None
    return (
        str(own)
        if isinstance(own, str | int) and not isinstance(own, bool) and own != ""
        else content_id(row)
    )


def _array(values: list[Any]) -> pa.Array:
    """Return a field's values as Arrow: numbers as float64 with NaN for none, lists of numbers of
    one length as vectors (float32 where that loses nothing).
    """
    there = [v for v in values if v is not None]
    if there and all(
        isinstance(v, int | float | np.number) and not isinstance(v, bool) for v in there
    ):
        return pa.array([np.nan if v is None else float(v) for v in values], pa.float64())
    if there and all(_is_vector(v) for v in there) and len({len(v) for v in there}) == 1:
        vectors = np.array(
            [[np.nan] * len(there[0]) if v is None else list(v) for v in values], np.float64
        )
        single = vectors.astype(np.float32)
        return to_arrow(
            single
            if np.array_equal(single.astype(np.float64), vectors, equal_nan=True)
            else vectors
        )
    return pa.array(values)


def _is_vector(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and value.dtype.kind in "fiu"
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
    )


def python_values(column: Any) -> list[Any]:
    """Return a column an operator gave as plain Python values, as stats hold them.

    >>> from coreset.core.batch import objects
    >>> python_values(np.array([1.0, np.nan])), python_values(objects(["ok", None]))
    ([1.0, nan], ['ok', None])
    """
    return list(to_arrow(column).to_pylist())
