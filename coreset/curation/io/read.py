"""Rows out of shards, one by one, with the line they stand on: in bounded memory, and with what is
wrong about a line instead of an end to the reading.
"""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import IO, Any, NamedTuple

import pyarrow as pa

from coreset.core.places import in_words, is_remote, opened, parquet
from coreset.curation.io.compressed import BLOCK, open_bytes
from coreset.curation.io.discover import Shard
from coreset.curation.io.formats import BadRow
from coreset.curation.io.json_elements import raw_elements
from coreset.curation.io.webdataset import read_coco, read_tar

_ROWS = 1024
# what libraries raise about a file that is damaged; everything else is a mistake of ours
DAMAGED = (
    pa.ArrowException,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    RecursionError,
)


class Line(NamedTuple):
    """One row of a shard. number: the line in JSON lines, else the position of the row, from 1.
    raw: its bytes where there are any.
    """

    number: int
    raw: bytes | None
    row: Any
    bad: BadRow | None = None


def read_rows(shard: Shard, longest: int, after: int = 0) -> Iterator[Line]:
    """Yield every row of a shard whose number is larger than `after`; a line of more than `longest`
    bytes is not held in memory.

    Raises OSError when the file cannot be read or breaks off: what was yielded until then is good.
    """
    try:
        with in_words(shard.path, "read"):
            yield from _READERS[shard.kind](shard, longest, after)
    except DAMAGED as error:
        raise OSError(str(error) or type(error).__name__) from error


def raw_lines(shard: Shard, longest: int) -> Iterator[tuple[int, bytes, bool, bool]]:
    """Yield (number, bytes without the line end, too long, line end is there) of every line that is
    not blank; of one too long its first bytes.
    """
    with open_bytes(shard) as file:
        number, limit = shard.before, longest + 2
        inside = _from_start(file, shard)
        while inside() and (raw := file.readline(limit)):
            number += 1
            whole = raw.endswith(b"\n")
            if not whole and len(raw) == limit:
                while rest := file.readline(BLOCK):
                    if rest.endswith(b"\n"):
                        break
                yield number, raw[:1000], True, True
                continue
            if number == 1:
                if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise OSError("the file is UTF-16, expected UTF-8")
                raw = raw.removeprefix(codecs.BOM_UTF8)
            text = raw.rstrip(b"\r\n")
            if text.strip():
                yield number, text, False, whole


def _from_start(file: IO[bytes], shard: Shard) -> Callable[[], bool]:
    """Go to the first line that begins in the range of a shard;
    return whether the next one does.
    """
    stop = shard.stop
    if shard.start:
        file.seek(shard.start - 1)  # a line end there is that of the line before
        while (raw := file.readline(BLOCK)) and not raw.endswith(b"\n"):
            if stop is not None and file.tell() >= stop:
                break  # no line begins here
    return lambda: stop is None or file.tell() < stop


def count_lines(shard: Shard) -> tuple[int, int]:
    """Return how many lines of JSON lines begin in the range of a shard, and how many of them are
    not blank. Raises OSError.
    """
    lines = rows = 0
    with in_words(shard.path, "read"), open_bytes(shard) as file:
        inside = _from_start(file, shard)
        while inside() and (raw := file.readline(BLOCK)):
            first = lines == 0 and shard.start == 0
            blank = not (raw.removeprefix(codecs.BOM_UTF8) if first else raw).strip()
            while not raw.endswith(b"\n") and (raw := file.readline(BLOCK)):
                blank = blank and not raw.strip()
            lines, rows = lines + 1, rows + (not blank)
    return lines, rows


def _json_lines(shard: Shard, longest: int, after: int) -> Iterator[Line]:
    decode: Callable[[str], Any] = json.JSONDecoder().decode
    for number, raw, too_long, ended in raw_lines(shard, longest):
        if number <= after:
            continue
        if too_long:
            yield Line(
                number, raw, None, BadRow("too_long", f"the line has more than {longest} bytes")
            )
            continue
        try:
            yield Line(number, raw, decode(raw.decode()))
        except UnicodeDecodeError as error:
            yield Line(
                number,
                raw,
                None,
                BadRow("wrong_encoding", f"byte {error.start + 1} of the line is not UTF-8"),
            )
        except (ValueError, RecursionError) as error:
            yield Line(number, raw, None, bad_json(raw, error, ended))


def bad_json(raw: bytes, error: Exception, ended: bool) -> BadRow:
    """Return what is wrong with a line that is no JSON: a last line that breaks off is
    `truncated_line`, any other `not_json`.
    """
    if isinstance(error, RecursionError):
        return BadRow("not_json", "nested too deeply")
    if not isinstance(error, json.JSONDecodeError):
        digits = sys.get_int_max_str_digits()
        return BadRow("too_long", f"a whole number has more than {digits} digits")
    cut = error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated string")
    if cut and raw.lstrip()[:1] in (b"{", b"["):
        return BadRow(
            "truncated_line",
            f"the line breaks off after {len(error.doc)}"
            f" characters{'' if ended else ', at the end of the file'}",
        )
    return BadRow("not_json", f"{error.msg} at character {error.pos + 1}")


def _json_array(shard: Shard, longest: int, after: int) -> Iterator[Line]:
    for number, text in raw_elements(shard, longest):
        if number <= after:
            continue
        raw = text.encode("utf-8", "surrogateescape")
        try:
            raw.decode()
            yield Line(number, raw, json.loads(text))
        except UnicodeDecodeError as error:
            why = f"byte {error.start + 1} of the element is not UTF-8"
            yield Line(number, raw, None, BadRow("wrong_encoding", why))
        except (ValueError, RecursionError) as error:
            yield Line(number, raw, None, bad_json(raw, error, True))


def arrow_batches(shard: Shard) -> Iterator[pa.RecordBatch]:
    """Yield the record batches of a Parquet or Arrow file (IPC file or stream), at most 1,024 rows
    each.
    """
    if shard.kind == "parquet":
        with parquet(shard.path) as file:
            # one by one: those before a broken one are read to their end
            stop = file.num_row_groups if shard.stop is None else shard.stop
            for group in range(shard.start, stop):
                yield from file.iter_batches(_ROWS, row_groups=[group])
        return
    with arrow_source(shard.path) as source:
        for batch in arrow_reader(source):
            for start in range(0, batch.num_rows, _ROWS):
                yield batch.slice(start, _ROWS)


def arrow_source(path: Any) -> pa.NativeFile:
    """Return an open Arrow file: mapped, or of a store."""
    return pa.PythonFile(opened(path), "r") if is_remote(path) else pa.memory_map(str(path))


def arrow_reader(source: pa.NativeFile) -> Iterator[pa.RecordBatch]:
    """Yield the batches of an open Arrow file, of either form."""
    if source.read(6) == b"ARROW1":
        reader = pa.ipc.open_file(source)
        for i in range(reader.num_record_batches):
            yield reader.get_batch(i)
        return
    source.seek(0)
    yield from pa.ipc.open_stream(source)


def _table(shard: Shard, longest: int, after: int) -> Iterator[Line]:
    number = shard.before
    for batch in arrow_batches(shard):
        if number + batch.num_rows <= after:
            number += batch.num_rows
            continue
        for row in _rows_of(batch):
            number += 1
            if number > after:
                bad = isinstance(row, BadRow)
                yield Line(number, None, None if bad else row, row if bad else None)


def _rows_of(batch: pa.RecordBatch) -> Iterator[Any]:
    """Yield the rows of a batch, a BadRow for one that is damaged: each is validated before it is
    read, an offset past the end would kill the process.
    """
    try:
        batch.validate(full=True)
        yield from batch.to_pylist()
        return
    except DAMAGED:
        pass
    for i in range(batch.num_rows):
        one = batch.slice(i, 1)
        try:
            one.validate(full=True)
            row = one.to_pylist()[0]
        except DAMAGED as error:
            why = str(error).split("\n")[0]
            text = "UTF8" in why or isinstance(error, UnicodeDecodeError)
            row = BadRow("wrong_encoding" if text else "damaged", why)
        yield row


def _tar(shard: Shard, longest: int, after: int) -> Iterator[Line]:
    for number, row, bad in read_tar(shard, after):
        yield Line(number, None, row, bad)


def _coco(shard: Shard, longest: int, after: int) -> Iterator[Line]:
    for number, row, bad in read_coco(shard, after):
        yield Line(number, None, row, bad)


_READERS: dict[str, Callable[[Shard, int, int], Iterator[Line]]] = {
    "jsonl": _json_lines, "json": _json_array, "parquet": _table, "arrow": _table, "tar": _tar,
    "coco": _coco,
}  # fmt: skip


def first_rows(
    shards: Sequence[Shard], count: int = 100, longest: int = 2**23
) -> list[dict[str, Any]]:
    """Return the first good rows of the first shard that has any: what the schema is learned from.

    Raises ValueError that says what is wrong with the first shard when none has.
    """
    why = ""
    for shard in shards:
        rows: list[dict[str, Any]] = []
        try:
            for line in islice(
                (line for line in read_rows(shard, longest) if isinstance(line.row, dict)), count
            ):
                rows.append(line.row)  # those before the shard breaks off count
        except OSError as error:
            why = why or f"{shard.path}: {error.strerror or error}"
        if rows:
            return rows
        why = why or f"{shard.path}: no row is a JSON object with fields"
    raise ValueError(f"input: nothing can be read: {why}")
