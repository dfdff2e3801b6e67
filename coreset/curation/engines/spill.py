"""Rows brought together on one disk: every table is cut by part and appended to the files of its
buckets, and each file is read once.
"""

from __future__ import annotations

import contextlib
import shutil
import stat
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
from filelock import FileLock
from numpy.typing import NDArray

from coreset.core.engine import PART

_BUCKETS = 256  # files open at a time
_HELD = 2**26  # bytes held until they are written
_NAME = "coreset-spill-"
_PLAINLY = pa.ipc.IpcReadOptions(use_threads=False)


@contextlib.contextmanager
def spill_folder(parent: str | Path | None) -> Iterator[Path]:
    """Yield an empty folder in `parent`, or where temporary files lie, that is removed in the end.

    What processes of this user that were killed left there is removed first: a folder in use has a
    locked file beside it.
    """
    parent = Path(parent or tempfile.gettempdir())
    lock = parent / f"{_NAME}{uuid4().hex}.lock"
    with FileLock(lock, thread_local=False):  # a generator may end in another thread
        for other in parent.glob(f"{_NAME}*.lock"):
            if _is_of_the_same_user(other, lock):
                with contextlib.suppress(OSError), FileLock(other, timeout=0):
                    _remove(other)
        folder = lock.with_suffix("")
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            _remove(lock)


def _is_of_the_same_user(other: Path, lock: Path) -> bool:
    """Return whether another lock is a plain file of the same user: a link leads elsewhere."""
    try:
        found = other.lstat()
    except FileNotFoundError:
        return False
    return other != lock and stat.S_ISREG(found.st_mode) and found.st_uid == lock.stat().st_uid


def _remove(lock: Path) -> None:
    """Remove the folder beside a lock that this process holds, and the lock."""
    shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
    with contextlib.suppress(OSError):  # Windows removes no open file
        lock.unlink()


class Spill:
    """The rows of `parts` parts in at most 256 files of a folder."""

    def __init__(self, folder: Path, parts: int) -> None:
        self.folder, self.parts = folder, parts
        self.buckets = min(parts, _BUCKETS)
        self._held: dict[int, list[pa.Table]] = {}
        self._rows: Counter[int] = Counter()
        self._size = 0

    def path(self, bucket: int) -> Path:
        """Return the file of a bucket."""
        return self.folder / f"{bucket:03d}.arrows"

    def add(self, table: pa.Table) -> None:
        """Take in the rows of one item."""
        if not table.num_rows:
            return
        bucket = bucket_of(table[PART].to_numpy(), self.parts, self.buckets)
        for i, rows in cut(plain(table), bucket):
            self._held.setdefault(i, []).append(rows)
            self._rows[i] += rows.num_rows
        self._size += table.nbytes
        if self._size > _HELD:
            self.flush()

    def flush(self) -> None:
        """Write what is held, each table as an Arrow stream of its own: schemas may differ."""
        for bucket, tables in sorted(self._held.items()):
            table = pa.concat_tables(tables, promote_options="permissive").combine_chunks()
            with self.path(bucket).open("ab") as file, pa.ipc.new_stream(file, table.schema) as out:
                out.write_table(table)
        self._held, self._size = {}, 0

    def files(self) -> list[tuple[Path, int]]:
        """Return the files that have rows and how many each was given, in the order of parts."""
        return [(self.path(bucket), self._rows[bucket]) for bucket in sorted(self._rows)]


@dataclass(frozen=True)
class ReadBucket:
    """Call a step on every part of a bucket."""

    step: Callable[[tuple[int, pa.Table]], Any]

    def __call__(self, item: tuple[Path, int]) -> list[Any]:
        """Return what the step returned, in the order of parts. Raises RuntimeError, before
        anything is done with them, when not all rows of the file can be read again.
        """
        path, rows = item
        table = pa.concat_tables(_streams(path), promote_options="permissive").combine_chunks()
        if table.num_rows != rows:
            raise RuntimeError(
                f"{type(self.step).__name__}: expected {rows} rows in {path}, got {table.num_rows};"
                " does something else write there?"
            )
        return [self.step(one) for one in by_part(table)]


def _streams(path: Path) -> Iterator[pa.Table]:
    with pa.OSFile(str(path), "rb") as source:
        size = source.size()
        while source.tell() < size:
            # no threads: a process that was forked has none of its parent's
            yield pa.ipc.open_stream(source, options=_PLAINLY).read_all()


def bucket_of(part: NDArray[np.int64], parts: int, buckets: int) -> NDArray[np.int64]:
    """Return the bucket (n,) of parts (n,): parts that follow each other share one.

    >>> bucket_of(np.arange(5), 5, 2).tolist()
    [0, 0, 0, 1, 1]
    """
    return part * buckets // parts


def cut(table: pa.Table, by: NDArray[np.int64]) -> Iterator[tuple[int, pa.Table]]:
    """Yield (value, its rows) of a table, in the order of the values `by` (n,) of its rows."""
    if len(by) and (by[1:] < by[:-1]).any():
        order = np.argsort(by, kind="stable")
        by, table = by[order], table.take(pa.array(order))
    ends = [0, *(np.flatnonzero(np.diff(by)) + 1).tolist(), len(by)] if len(by) else [0]
    for a, b in zip(ends, ends[1:], strict=False):
        yield int(by[a]), table.slice(a, b - a)


def by_part(table: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    """Yield (part, its rows without `_part`) of a table, in the order of parts."""
    return cut(table.drop_columns([PART]), table[PART].to_numpy())


def plain(table: pa.Table) -> pa.Table:
    """Return the table with its dictionary columns as plain ones: tables of other rows share no
    dictionary.
    """
    for i, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(i, field.name, table[field.name].cast(field.type.value_type))
    return table
