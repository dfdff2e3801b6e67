"""Answers that cost something, kept by the hash of the question: one SQLite file that several
processes may use at once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        connection = sqlite3.connect(path, timeout=60, isolation_level=None)
        try:
            connection.execute(
                "BEGIN IMMEDIATE"
            )  # waits its turn; a lock raised later, or a change to WAL, would fail at once
            connection.execute(
                "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value TEXT NOT NULL)"
                " WITHOUT ROWID"
            )
            yield connection
            connection.execute("COMMIT")
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        raise ValueError(
            f"cache: {path} cannot be used: {error}; remove it, or give another"
        ) from error


def read(path: str | Path, keys: Sequence[str]) -> dict[str, str]:
    """Return the answers that are there, by key. Raises ValueError when the file is no such cache.

    >>> read("/nowhere/at/all.sqlite", [])
    {}
    """
    path = Path(path)
    if not keys or not path.exists():
        return {}
    answers: dict[str, str] = {}
    with _open(path) as connection:
        for start in range(0, len(keys), 500):
            part = keys[start : start + 500]
            marks = ",".join("?" * len(part))
            answers.update(
                connection.execute(f"SELECT key, value FROM answers WHERE key IN ({marks})", part)
            )
    return answers


def write(path: str | Path, answers: Mapping[str, str]) -> None:
    """Add answers; one that is there already is replaced. They are on disk when this returns, all
    of them or none.
    """
    if answers:
        with _open(Path(path)) as connection:
            connection.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", answers.items())


def total(path: str | Path, prefix: str) -> float:
    """Return the sum of the field `cost` of all answers whose key begins with `prefix`; 0 when
    there are none.
    """
    path = Path(path)
    if not path.exists():
        return 0.0
    with _open(path) as connection:
        row = connection.execute(
            "SELECT SUM(json_extract(value, '$.cost')) FROM answers WHERE key >= ? AND key < ?",
            (prefix, prefix + "\uffff"),
        ).fetchone()
    return float(row[0] or 0.0)
