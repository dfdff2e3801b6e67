"""Rows out of shards, one by one, with the line they stand on: in bounded memory, and with what is wrong about a line instead of an end to the reading."""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from coreset.pipeline.formats import BadRow
from coreset.pipeline.pairs import read_coco, read_tar
from coreset.pipeline.shards import Shard

_BLOCK = 2**20
_BLANK = re.compile(r"[ \t\r\n]*")
_ROWS = 1024


class Line(NamedTuple):
    """One row of a shard. number: the line in JSON lines, else the position of the row, from 1. raw: its bytes where there are any."""

    number: int
    raw: bytes | None
    row: Any
    bad: BadRow | None = None


def read_rows(shard: Shard, longest: int, after: int = 0) -> Iterator[Line]:
    """Yield every row of a shard whose number is larger than `after`; a line of more than `longest` bytes is not held in memory.

    Raises OSError when the file cannot be read or breaks off: what was yielded until then is good.
    """
    try:
        yield from _READERS[shard.kind](shard, longest, after)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise OSError(str(error)) from error


def open_bytes(shard: Shard) -> IO[bytes]:
    """Return a file's content, decompressed."""
    if shard.codec is None:
        return shard.path.open("rb", buffering=_BLOCK)
    return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(shard.path), "rb"), shard.codec), _BLOCK)


def raw_lines(shard: Shard, longest: int) -> Iterator[tuple[int, bytes, bool, bool]]:
    """Yield (number, bytes without the line end, too long, line end is there) of every line that is not blank; of one too long its first bytes."""
    with open_bytes(shard) as file:
        number, limit = 0, longest + 2
        while raw := file.readline(limit):
            number += 1
            whole = raw.endswith(b"\n")
            if not whole and len(raw) == limit:
                while rest := file.readline(_BLOCK):
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


def _json_lines(shard: Shard, longest: int, after: int) -> Iterator[Line]:
    decode: Callable[[str], Any] = json.JSONDecoder().decode
    for number, raw, too_long, ended in raw_lines(shard, longest):
        if number <= after:
            continue
        if too_long:
            yield Line(number, raw, None, BadRow("too_long", f"the line has more than {longest} bytes"))
            continue
        try:
            yield Line(number, raw, decode(raw.decode()))
        except UnicodeDecodeError as error:
            yield Line(number, raw, None, BadRow("wrong_encoding", f"byte {error.start + 1} of the line is not UTF-8"))
        except (json.JSONDecodeError, RecursionError) as error:
            yield Line(number, raw, None, bad_json(raw, error, ended))


def bad_json(raw: bytes, error: Exception, ended: bool) -> BadRow:
    """Return what is wrong with a line that is no JSON: a last line that breaks off is `truncated_line`, any other `not_json`."""
    if not isinstance(error, json.JSONDecodeError):
        return BadRow("not_json", "nested too deeply")
    cut = error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated string")
    if cut and raw.lstrip()[:1] in (b"{", b"["):
        return BadRow(
            "truncated_line",
            f"the line breaks off after {len(error.doc)} characters{'' if ended else ', at the end of the file'}",
        )
    return BadRow("not_json", f"{error.msg} at character {error.pos + 1}")


def raw_elements(shard: Shard, longest: int) -> Iterator[tuple[int, str]]:
    """Yield (position, text) of every element of a JSON array, reading only as far as needed.

    Raises OSError where the array breaks off or an element is no JSON or longer than `longest`: what follows cannot be found.
    """
    decoder = json.JSONDecoder()
    with open_bytes(shard) as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig")
        buffer, number = text.read(_BLOCK), 0
        at = _next(buffer, 0)
        if buffer[at : at + 1] != "[":
            raise OSError("expected a JSON array; one object a line is a .jsonl file")
        at += 1
        while True:
            at = _next(buffer, at)
            if buffer[at : at + 1] == "," and number:
                at = _next(buffer, at + 1)
            if buffer[at : at + 1] == "]":
                return
            try:
                _, stop = decoder.raw_decode(buffer, at)
                if stop == len(buffer):
                    raise json.JSONDecodeError("Unterminated array", buffer, stop)
                number += 1
                yield number, buffer[at:stop]
                at = stop
            except json.JSONDecodeError as error:
                if len(buffer) - at > longest:
                    raise OSError(f"element {number + 1} has more than {longest} bytes") from error
                more = text.read(max(_BLOCK, len(buffer) - at))
                if not more:
                    raise OSError(f"element {number + 1} breaks off or is no JSON: {error.msg}") from error
                buffer, at = buffer[at:] + more, 0


def _next(text: str, at: int) -> int:
    """Return where the next character that is no white space stands."""
    found = _BLANK.match(text, at)
    return found.end() if found else at


def _json_array(shard: Shard, longest: int, after: int) -> Iterator[Line]:
    try:
        for number, text in raw_elements(shard, longest):
            if number > after:
                yield Line(number, text.encode("utf-8", "surrogatepass"), json.loads(text))
    except UnicodeDecodeError as error:
        raise OSError(f"the file is not UTF-8: {error.reason}") from error


def arrow_batches(shard: Shard) -> Iterator[pa.RecordBatch]:
    """Yield the record batches of a Parquet or Arrow file (IPC file or stream), at most 1,024 rows each."""
    if shard.kind == "parquet":
        with pq.ParquetFile(shard.path, memory_map=True) as file:
            for group in range(file.num_row_groups):  # one by one: those before a broken one are read to their end
                yield from file.iter_batches(_ROWS, row_groups=[group])
        return
    with pa.memory_map(str(shard.path)) as source:
        for batch in arrow_reader(source):
            for start in range(0, batch.num_rows, _ROWS):
                yield batch.slice(start, _ROWS)


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
    number = 0
    for batch in arrow_batches(shard):
        if number + batch.num_rows <= after:
            number += batch.num_rows
            continue
        for row in batch.to_pylist():
            number += 1
            if number > after:
                yield Line(number, None, row)


def _tar(shard: Shard, longest: int, after: int) -> Iterator[Line]:
    for number, row, bad in read_tar(shard, after):
        yield Line(number, None, row, bad)


def _coco(shard: Shard, longest: int, after: int) -> Iterator[Line]:
    for number, row, bad in read_coco(shard, after):
        yield Line(number, None, row, bad)


_READERS: dict[str, Callable[[Shard, int, int], Iterator[Line]]] = {
    "jsonl": _json_lines, "json": _json_array, "parquet": _table, "arrow": _table, "tar": _tar, "coco": _coco,
}  # fmt: skip
