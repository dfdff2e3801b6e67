"""Texts beside the pool: a test set, curated examples, a target domain; in files or lists."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from coreset.curation.io.discover import discover
from coreset.curation.io.formats import content_id, learn_schema, normal
from coreset.curation.io.plain_rows import plain_rows
from coreset.curation.io.read import first_rows, read_rows
from coreset.curation.io.write import file_hash

_LONGEST = 2**26
Source = str | Sequence[str | Mapping[str, Any]]  # a path, glob or folder; or texts; or rows


def frozen(source: Source, name: str) -> str | tuple[str, ...]:
    """Return a path as it is, and texts or rows (a list, a DataFrame, an Arrow table, a Dataset) as
    a tuple of JSON strings, which can be hashed.

    Raises TypeError, beginning with `name`, for anything else and for a row that is not JSON, and
    ValueError for none at all.

    >>> frozen(["a b", {"text": "c"}], "against")
    ('"a b"', '{"text": "c"}')
    """
    if isinstance(source, str):
        return source
    if isinstance(source, Path):
        return str(source)
    if isinstance(source, Frozen):
        return source
    given = plain_rows(source)
    if not isinstance(given, Iterable) or isinstance(given, Mapping | bytes):
        raise TypeError(f"{name}: expected a path, or a list of texts or rows, got {source!r}")
    rows = list(given)
    if not rows:
        raise ValueError(f"{name}: there are no texts in it")
    for i, row in enumerate(rows):
        if not isinstance(row, str | Mapping):
            raise TypeError(f"{name}: entry {i}: expected a text or a row (dict), got {row!r}")
    try:
        return Frozen(
            json.dumps(row if isinstance(row, str) else dict(row), ensure_ascii=False)
            for row in rows
        )
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from error


class Frozen(tuple[str, ...]):
    """Texts and rows as JSON strings."""

    __slots__ = ()


def texts_of(source: Source, column: str = "text") -> tuple[tuple[str, str], ...]:
    """Return (id, text) of every text, in the order of ids. column: any the readers make, such as
    `text` or `prompt`; the id of a row without one, and of a text, is a hash of its content.

    Raises ValueError naming file and row for a row that cannot be read: unlike the pool, a
    reference set must be whole.
    """
    source = frozen(source, "source")
    return _texts_of(source, column, tuple(sorted(hashes_of(source).items())))


def hashes_of(source: Source) -> dict[str, str]:
    """Return the SHA-256 of every file of a source, by name; of texts and rows one for all."""
    source = frozen(source, "source")
    if isinstance(source, Frozen):
        return {"rows": hashlib.sha256("\n".join(source).encode()).hexdigest()}
    return {shard.name: file_hash(Path(shard.path)) for shard in discover(source)}


@lru_cache(16)
def _texts_of(
    source: str | Frozen, column: str, _: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, str], ...]:
    if isinstance(source, Frozen):
        return _texts_of_rows(source, column)
    shards = discover(source)
    schema = learn_schema(first_rows(shards), [column])
    texts = []
    for shard in shards:
        for line in read_rows(shard, _LONGEST):
            try:
                if line.bad is not None:
                    raise line.bad
                row = normal(line.row, schema)
            except ValueError as error:
                raise ValueError(f"{shard.path}, row {line.number}: {error}") from error
            if row.get(column) is None:
                raise ValueError(f"{shard.path}, row {line.number}: no '{column}'")
            texts.append((row["id"] if schema.id else content_id(line.row), row[column]))
    # a value may be a list of turns
    return tuple(sorted(texts, key=lambda row: (row[0], str(row[1]))))


def _texts_of_rows(source: Frozen, column: str) -> tuple[tuple[str, str], ...]:
    parsed = [json.loads(row) for row in source]
    rows = [{column: row} if isinstance(row, str) else row for row in parsed]
    schema = learn_schema(rows[:100], [column])
    texts = []
    for i, row in enumerate(rows):
        value = normal(row, schema)
        if value.get(column) is None:
            raise ValueError(f"row {i}: no '{column}', only {', '.join(map(repr, row))}")
        texts.append((value["id"] if schema.id else content_id(row), value[column]))
    return tuple(sorted(texts, key=lambda row: (row[0], str(row[1]))))
