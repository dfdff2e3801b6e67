"""Rows back into shards, in the form they came: JSON lines byte for byte, Parquet and Arrow with
their own schema, saved data sets that load again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from coreset.core.places import file_for, is_remote, opened, parquet
from coreset.core.store import write_atomic
from coreset.curation.io.discover import Shard
from coreset.curation.io.json_elements import raw_elements
from coreset.curation.io.read import DAMAGED, arrow_batches, arrow_source, raw_lines
from coreset.curation.io.webdataset import write_coco, write_tar

Times = NDArray[np.integer[Any]]  # how often the row of a number is written; index 0 is no row


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a path to write to that gets the name `path` only when the block is left without an
    error: the old file or the new one, never half.
    """
    if is_remote(path):
        with file_for(path) as part:
            yield part
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise OSError(error.errno, f"cannot write {path}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def write_rows(shard: Shard, times: Times, longest: int, out: Path) -> int:
    """Write the row of every number `times[number]` times into `out`, in order; return how many
    were written. What cannot be read is not there.
    """
    with whole_file(out) as part:
        return _WRITERS[shard.kind](shard, times, longest, part)


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with opened(path) as file:
        stream: Any = file  # has `readinto`, which its type does not say
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _until_it_breaks(rows: Iterator[Any]) -> Iterator[Any]:
    """Yield what can be read of a shard; that it breaks off was said when it was read first."""
    with contextlib.suppress(OSError, *DAMAGED):
        yield from rows


def _at(times: Times, number: int) -> int:
    return int(times[number]) if number < len(times) else 0


@contextlib.contextmanager
def _bytes(shard: Shard, part: Path) -> Iterator[IO[bytes]]:
    if shard.codec is None:
        with part.open("wb") as file:
            yield file
    else:
        with pa.OSFile(str(part), "wb") as raw, pa.CompressedOutputStream(raw, shard.codec) as file:
            yield file


def _json_lines(shard: Shard, times: Times, longest: int, part: Path) -> int:
    written = 0
    with _bytes(shard, part) as file:
        for number, raw, _, _ in _until_it_breaks(raw_lines(shard, longest)):
            for _ in range(_at(times, number)):
                file.write(raw + b"\n")
                written += 1
    return written


def _json_array(shard: Shard, times: Times, longest: int, part: Path) -> int:
    written = 0
    with _bytes(shard, part) as file:
        file.write(b"[")
        for number, text in _until_it_breaks(raw_elements(shard, longest)):
            for _ in range(_at(times, number)):
                file.write(
                    (",\n" if written else "\n").encode() + text.encode("utf-8", "surrogatepass")
                )
                written += 1
        file.write(b"\n]\n")
    return written


def _kept(shard: Shard, times: Times) -> Iterator[pa.RecordBatch]:
    number = 1
    for batch in _until_it_breaks(arrow_batches(shard)):
        count = np.zeros(batch.num_rows, np.int64)
        here = times[number : number + batch.num_rows]
        count[: len(here)] = here
        number += batch.num_rows
        if count.any():
            yield batch.take(pa.array(np.repeat(np.arange(batch.num_rows), count)))


def _parquet(shard: Shard, times: Times, longest: int, part: Path) -> int:
    written = 0
    with parquet(shard.path) as source:
        schema = source.schema_arrow
        codec = (
            source.metadata.row_group(0).column(0).compression
            if source.metadata.num_row_groups
            else "SNAPPY"
        )
    with pq.ParquetWriter(
        part, schema, compression=None if codec == "UNCOMPRESSED" else codec
    ) as writer:
        for table in _gathered(_kept(shard, times), schema):
            writer.write_table(table)
            written += table.num_rows
    return written


def _gathered(
    batches: Iterator[pa.RecordBatch], schema: pa.Schema, rows: int = 2**16
) -> Iterator[pa.Table]:
    """Yield tables of about `rows` rows: a row group each."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(b.num_rows for b in held) >= rows:
            yield pa.Table.from_batches(held, schema)
            held = []
    if held:
        yield pa.Table.from_batches(held, schema)


def _arrow(shard: Shard, times: Times, longest: int, part: Path) -> int:
    written = 0
    with arrow_source(shard.path) as source:
        is_file = source.read(6) == b"ARROW1"
        source.seek(0)
        schema = (pa.ipc.open_file if is_file else pa.ipc.open_stream)(source).schema
    with (
        pa.OSFile(str(part), "wb") as sink,
        (pa.ipc.new_file if is_file else pa.ipc.new_stream)(sink, schema) as writer,
    ):
        for batch in _kept(shard, times):
            writer.write_batch(batch)
            written += batch.num_rows
    return written


def _once(times: Times, shard: Shard) -> Iterator[int]:
    """Yield the numbers of the rows to write. Raises ValueError for a row that is wanted more than
    once where rows have names.
    """
    if (times > 1).any():
        raise ValueError(
            f"{shard.path}: row {int(np.argmax(times > 1))} is to be repeated, but rows of a"
            f" {shard.kind} file have names; weigh them while training, or bring the rows as .jsonl"
        )
    yield from np.flatnonzero(times).tolist()


def _tar(shard: Shard, times: Times, longest: int, part: Path) -> int:
    return write_tar(shard, _once(times, shard), part)


def _coco(shard: Shard, times: Times, longest: int, part: Path) -> int:
    return write_coco(shard, _once(times, shard), part)


_WRITERS: dict[str, Callable[[Shard, Times, int, Path], int]] = {
    "jsonl": _json_lines, "json": _json_array, "parquet": _parquet, "arrow": _arrow, "tar": _tar,
    "coco": _coco,
}  # fmt: skip


def write_dataset_info(
    source: Path, out: Path, names: Sequence[str], rows: int, name: str
) -> list[Path]:
    """Write beside the Arrow files of a saved data set what makes `datasets.load_from_disk` read
    them; return the files written.

    names: the Arrow files, rows: how many they hold together; name: a hash of the content, the new
    fingerprint.
    """
    info = json.loads((source / "dataset_info.json").read_text())
    for split in (info.get("splits") or {}).values():
        split |= {"num_examples": rows, "num_bytes": 0}
    state = json.loads((source / "state.json").read_text())
    state |= {"_data_files": [{"filename": n} for n in names], "_fingerprint": name[:16]}
    return [
        write_atomic(out / file, json.dumps(content, indent=2, sort_keys=True))
        for file, content in (("dataset_info.json", info), ("state.json", state))
    ]
