"""The input as partitions: rows read, recognized and checked once, written as Parquet with the
columns the recipe needs; what is wrong goes to the rejects.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from coreset.core.places import is_remote, stamp
from coreset.core.store import write_atomic
from coreset.curation.io.discover import Shard
from coreset.curation.io.formats import BadRow, Schema, normal
from coreset.curation.io.read import Line, read_rows
from coreset.curation.runtime.checkpoint import (
    Partition,
    StateStore,
    about,
    is_whole,
    whole,
    write_table,
)

_SHOWN = 10_000  # characters of a rejected row that are kept
_PREVIEW = 300
_TURNS = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


@dataclass(frozen=True)
class Ingested:
    """What one shard, or a range of one, gave: its partitions, rows read and rejected, the hash and
    size of the file, and `broken`: what is wrong with the file, or None.
    """

    partitions: Sequence[Partition]
    rows: int
    rejected: int
    sha256: str
    size: int
    broken: str | None


def of_file(ranges: Sequence[Ingested]) -> Ingested:
    """Return what a file gave whose ranges gave this:
    nothing after the range where it breaks off.
    """
    end = next((i for i, one in enumerate(ranges, 1) if one.broken is not None), len(ranges))
    good = ranges[:end]
    return Ingested(
        [p for one in good for p in one.partitions],
        sum(one.rows for one in good),
        sum(one.rejected for one in good),
        good[-1].sha256,
        good[-1].size,
        good[-1].broken,
    )


@dataclass(frozen=True)
class Ingest:
    """Read one shard, or a range of one, into partitions of at most `rows` rows and about
    `characters` characters. A partition that is there already is not made again.

    content, stamps: what identifies the content of each shard, and its stamp before, by name.
    images: the folder that paths of images are relative to; None: that of the shard.
    """

    work: StateStore
    schema: Schema
    needs: frozenset[str]
    rows: int = 20_000
    images: str | None = None
    content: Mapping[str, str] = field(default_factory=dict)
    stamps: Mapping[str, Any] = field(default_factory=dict)
    characters: int = 32 * 2**20

    def __call__(self, item: tuple[int, Shard]) -> Ingested:
        """Return what the shard gave."""
        number, shard = item
        folder = self.work.root / self.work.rows
        part = f"-p{shard.part:05d}" if shard.part else ""
        done = folder / f"{number:05d}{part}.json"
        if done.exists():
            record = json.loads(done.read_text())
            there = [Partition(**p) for p in record["partitions"]]
            if all(is_whole(self.work.partition(p)) for p in there):
                return Ingested(**{**record, "partitions": there})
        partitions, state = self._there(Partition(number, 0, 0, shard.part), shard.before)
        last, rows, rejected, broken, ended = (
            state["last"],
            state["rows"],
            state["rejected"],
            state["broken"],
            state["ended"],
        )
        lines = _Guarded(shard, longest_line(self.schema), last)
        base = Path(self.images).absolute() if self.images else _folder(shard.path)
        while not ended:
            partition = Partition(number, len(partitions), 0, shard.part)
            held, rejects, last = self._fill(lines, base)
            rows += len(held) + len(rejects)
            rejected += len(rejects)
            broken, ended = lines.error, lines.ended
            if broken is not None:
                rejects.append(
                    {
                        "line": None,
                        "reason": "unreadable_shard",
                        "why": f"after row {last}: {broken}" if last else broken,
                    }
                )
            if held or rejects:
                partition = Partition(number, len(partitions), len(held), shard.part)
                text = "".join(
                    json.dumps({"file": shard.name, **r}, ensure_ascii=False) + "\n"
                    for r in rejects
                )
                write_atomic(
                    self.work.partition(partition).with_suffix(".rejects.jsonl"),
                    text.encode("utf-8", "backslashreplace"),
                )
                write_table(
                    self.work.partition(partition),
                    self._table(held),
                    {
                        "last": last,
                        "rows": rows,
                        "rejected": rejected,
                        "broken": broken,
                        "ended": ended,
                    },
                )
                partitions.append(partition)
            if lines.ended:
                break
        after = stamp(shard.path)
        before = self.stamps.get(shard.name)
        if broken is None and before is not None and before != after:
            raise OSError(f"{shard.path} changed while it was read; start again when it is whole")
        size = int(after[0]) if after is not None else 0
        sha256 = self.content.get(shard.name, "")
        ingested = Ingested(partitions, rows, rejected, sha256, size, broken)
        write_atomic(done, json.dumps(asdict(ingested)))
        return ingested

    def _there(self, first: Partition, before: int) -> tuple[list[Partition], dict[str, Any]]:
        """Return the partitions an earlier run has finished, and what the last of them says: how
        far it read and what it counted.
        """
        partitions: list[Partition] = []
        state: dict[str, Any] = {"last": before, "rows": 0, "rejected": 0}
        state |= {"broken": None, "ended": False}
        while True:
            file = whole(self.work.partition(replace(first, number=len(partitions))))
            if file is None:
                return partitions, state
            with file:
                state = about(file)
                rows = file.metadata.num_rows
                partitions.append(replace(first, number=len(partitions), rows=rows))

    def _fill(
        self, lines: _Guarded, base: Path
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]], int]:
        """Return the good rows and the rejects of the next partition, and the last line that was
        read.
        """
        held: list[dict[str, Any]] = []
        rejects: list[dict[str, Any]] = []
        characters, last = 0, lines.last
        for line in lines:
            last = line.number
            try:
                if line.bad is not None:
                    raise line.bad
                columns = read_columns(line.row, self.schema)
            except BadRow as bad:
                rejects.append(_reject(line, bad))
            else:
                if isinstance(columns.get("image"), str) and "://" not in columns["image"]:
                    columns["image"] = str(base / columns["image"])
                columns["line"] = line.number
                columns["preview"] = preview(columns)
                held.append(columns)
                characters += len(columns["text"])
                characters += (
                    len(columns["image"]) if isinstance(columns.get("image"), bytes) else 0
                )
            if len(held) + len(rejects) >= self.rows or characters >= self.characters:
                break
        return held, rejects, last

    def _table(self, held: Sequence[dict[str, Any]]) -> pa.Table:
        types = column_types(self.schema)
        always = ("id", "line", "preview", *(["image"] if self.schema.image == "path" else []))
        names = [*always, *sorted(n for n in self.needs if n in types and n not in always)]
        return pa.table({n: column([row[n] for row in held], types[n]) for n in names})


def _folder(path: Any) -> Any:
    return path.parent if is_remote(path) else path.absolute().parent


class _Guarded:
    """The lines of a shard, one after the other over several loops; a shard that breaks off ends,
    with the error kept.
    """

    def __init__(self, shard: Shard, longest: int, after: int) -> None:
        self._rows = read_rows(shard, longest, after)
        self.error: str | None = None
        self.ended, self.last = False, after

    def __iter__(self) -> Iterator[Line]:
        return self

    def __next__(self) -> Line:
        try:
            line = next(self._rows)
        except StopIteration:
            self.ended = True
            raise
        except OSError as error:
            self.error, self.ended = error.strerror or str(error), True
            raise StopIteration from None
        self.last = line.number
        return line


def longest_line(schema: Schema) -> int:
    """Return how many bytes a line may have that can still hold a row short enough."""
    return 8 * schema.max_characters + 2**16


def column_types(schema: Schema) -> dict[str, pa.DataType]:
    """Return the Arrow type of every column the readers can give."""
    types = {name: pa.string() for name in schema.columns | {"id", "preview"}} | {
        "line": pa.int64()
    }
    if "messages" in types:
        types["messages"] = _TURNS
    if schema.image == "bytes":
        types["image"] = pa.large_binary()
    kinds = {
        "number": pa.float64(),
        "text": pa.string(),
        "truth": pa.bool_(),
        "numbers": pa.list_(pa.float64()),
        "texts": pa.list_(pa.string()),
        "other": pa.string(),
    }
    for name, kind in schema.extra.items():
        types[name] = (
            pa.list_(pa.float64(), int(kind[7:-1])) if kind.startswith("vector[") else kinds[kind]
        )
    return types


def preview(columns: dict[str, Any]) -> str:
    """Return the first characters of a row for a reader: of its text, or of question and answer
    with a record separator between.
    """
    if "prompt" in columns:
        return f"{_cut(columns['prompt'], _PREVIEW)}\x1e{_cut(columns['response'], _PREVIEW)}"
    return _cut(columns["text"], 2 * _PREVIEW)


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else text[:size] + "…"


def column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Return values as an Arrow array of a type; texts by one copy of their bytes, which is several
    times faster than value by value.

    >>> column(["a", None, "bc"], pa.string()).to_pylist()
    ['a', None, 'bc']
    """
    if kind != pa.string():
        return pa.array(values, kind)
    raw = [b"" if v is None else v.encode() for v in values]
    ends = np.cumsum([0, *map(len, raw)])
    if ends[-1] >= 2**31:
        raise ValueError(
            f"a partition has {ends[-1]} bytes of text in one column, more than 2 GiB: use a"
            " smaller partition_rows or max_characters"
        )
    missing = (
        np.packbits([v is not None for v in values], bitorder="little").tobytes()
        if None in values
        else None
    )
    buffers = [
        None if missing is None else pa.py_buffer(missing),
        pa.py_buffer(ends.astype(np.int32).tobytes()),
        pa.py_buffer(b"".join(raw)),
    ]
    return pa.StringArray.from_buffers(len(raw), buffers[1], buffers[2], buffers[0])


def read_columns(row: Any, schema: Schema) -> dict[str, Any]:
    """Return the columns of one row, as `normal` does, in a form that a file can hold.

    Raises BadRow for every row that cannot be used, whatever is wrong with it.
    """
    try:
        columns = normal(row, schema)
        _check_unicode(columns, schema)
    except BadRow:
        raise
    except RecursionError as error:
        raise BadRow("not_json", "nested too deeply") from error
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
        raise BadRow("wrong_type", f"{type(error).__name__}: {error}") from error
    return columns


def _check_unicode(columns: dict[str, Any], schema: Schema) -> None:
    """Raise BadRow for half a surrogate pair: JSON can say it, no file can hold it."""
    for name in ("text", "id", *schema.extra, *(["image"] if schema.image == "path" else [])):
        value = columns.get(name)
        for text in value if isinstance(value, list) else (value,):
            try:
                if isinstance(text, str):
                    text.encode()
            except UnicodeEncodeError as error:
                where = "the text" if name == "text" else f"'{name}'"
                why = f"character {error.start + 1} of {where} is half a surrogate pair"
                raise BadRow("wrong_encoding", why) from error


def _reject(line: Line, bad: BadRow) -> dict[str, Any]:
    raw = line.raw
    if raw is None:
        try:
            text = json.dumps(line.row, ensure_ascii=False, default=str)
        except (ValueError, TypeError, RecursionError):
            text = ""
        raw = text.encode("utf-8", "backslashreplace")
    text = raw[: 4 * _SHOWN].decode("utf-8", "backslashreplace")
    out = {"line": line.number, "reason": bad.reason, "why": str(bad), "row": text[:_SHOWN]}
    return out | ({"cut": True} if len(text) > _SHOWN or bad.reason == "too_long" else {})
