"""Texts of a file beside the pool: a test set, curated examples, a target domain."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from coreset.curation.io.discover import discover
from coreset.curation.io.formats import content_id, learn_schema, normal
from coreset.curation.io.read import first_rows, read_rows
from coreset.curation.io.write import file_hash

_LONGEST = 2**26


def texts_of(source: str, column: str = "text") -> tuple[tuple[str, str], ...]:
    """Return (id, text) of every row of a path, glob or folder, in the order of ids. column: any
    the readers make, such as `text` or `prompt`.

    Raises ValueError naming file and row for a row that cannot be read: unlike the pool, a
    reference set must be whole.
    """
    return _texts_of(source, column, tuple(sorted(hashes_of(source).items())))


def hashes_of(source: str) -> dict[str, str]:
    """Return the SHA-256 of every file of a source, by name."""
    return {shard.name: file_hash(Path(shard.path)) for shard in discover(source)}


@lru_cache(16)
def _texts_of(
    source: str, column: str, _: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, str], ...]:
    shards = discover(source)
    schema = learn_schema(first_rows(shards), [column])
    found = []
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
            found.append((row["id"] if schema.id else content_id(line.row), row[column]))
    # a value may be a list of turns
    return tuple(sorted(found, key=lambda row: (row[0], str(row[1]))))
