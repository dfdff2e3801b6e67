"""Files wherever they lie: on this machine as `pathlib.Path`, in a store (`s3://`, `gs://`,
`hf://`, `https://`, `memory://`) as a path of the same interface (universal-pathlib over fsspec).

A file of a store is written in one request, so that it is there whole or not at all; what a store
says is wrong comes back in words.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

EXTRAS = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}


def place(where: Any) -> Any:
    """Return a path: of this machine, or of a store where the text has `://`.

    Raises ImportError with the install line where the store's package is missing, ValueError for a
    store that nobody knows.

    >>> place("memory://bucket/a.jsonl").name
    'a.jsonl'
    """
    if not isinstance(where, str) or "://" not in where:
        return Path(where) if isinstance(where, str) else where
    scheme = where.partition("://")[0]
    try:
        from upath import UPath

        path = UPath(where)
        _ = path.fs
    except ImportError as error:
        package = EXTRAS.get(scheme, "")
        more = f" {package}" if package else ""
        raise ImportError(
            f"{scheme}:// needs the extra `stores`: pip install 'coreset-lightning[stores]'{more}"
        ) from error
    except ValueError as error:
        raise ValueError(f"{where}: no such kind of store: {error}") from error
    return path


def is_remote(path: Any) -> bool:
    """Return whether a path lies in a store."""
    return not isinstance(path, Path)


@contextlib.contextmanager
def in_words(path: Any, doing: str) -> Iterator[None]:
    """Raise what a store says is wrong about a path as an OSError in words. doing:
    read or write.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        if not is_remote(path) or isinstance(error, StoreError):
            raise
        raise StoreError(words(path, error, doing)) from error
    except Exception as error:
        if not is_remote(path) or type(error).__module__.partition(".")[0] not in _STORES:
            raise
        raise StoreError(words(path, error, doing)) from error


_STORES = ("botocore", "aiobotocore", "aiohttp", "gcsfs", "s3fs", "huggingface_hub", "fsspec")


class StoreError(OSError):
    """What is wrong with a store, in words."""


def words(path: Any, error: Exception, doing: str) -> str:
    """Return what is wrong, for somebody who knows stores."""
    message = f"{error} {error.__cause__ or ''}"
    if isinstance(error, PermissionError) or "AccessDenied" in message or "Forbidden" in message:
        return f"no permission to {doing} {path}; check the credentials and the bucket's policy"
    if "NoSuchBucket" in message or "bucket does not exist" in message:
        return f"there is no bucket for {path}"
    if isinstance(error, FileNotFoundError):
        return f"{path} does not exist"
    return f"cannot {doing} {path}: {type(error).__name__}: {error}"


def stamp(path: Any) -> tuple[Any, ...] | None:
    """Return what changes when a file does: of this machine its size, times and inode, of a store
    its size and entity tag or version; None for one that is not there. A text is a path of this
    machine.
    """
    path = Path(path) if isinstance(path, str) else path
    if is_remote(path):
        try:
            about = path.fs.info(path.path, refresh=True)
        except TypeError:
            about = path.fs.info(path.path)
        except (OSError, ValueError):
            return None
        names = ("ETag", "etag", "md5Hash", "blob_id", "generation", "mtime", "created")
        return about.get("size"), *(str(about[n]) for n in names if about.get(n) is not None)
    try:
        about = Path(path).stat()
    except (OSError, ValueError):
        return None
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino


def parquet(path: Any, *, whole: bool = False) -> pq.ParquetFile:
    """Return an open Parquet file. whole: of a store, read in one request."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not is_remote(path):
        return pq.ParquetFile(path, memory_map=True)
    with in_words(path, "read"):
        # with a start, s3fs does not ask for the size first
        source = pa.BufferReader(path.fs.cat_file(path.path, 0)) if whole else path.open("rb")
        return pq.ParquetFile(source)


def table_files(path: Any) -> list[Any]:
    """Return the files of a table of a run in the order of its rows: one, or those of a folder that
    tasks wrote.
    """
    return sorted(path.glob("*.parquet")) if path.is_dir() else [path]


def table_schema(path: Any) -> pa.Schema:
    """Return the schema of a table of a run, which all its files have."""
    with parquet(table_files(path)[0]) as file:
        return file.schema_arrow


def read_table(path: Any, names: list[str] | None = None) -> pa.Table:
    """Return a table of a run, or the columns `names` of it, from one file or a folder of them."""
    import pyarrow as pa

    tables = []
    for one in table_files(path):
        with parquet(one) as file:
            tables.append(file.read(names))
    return pa.concat_tables(tables)


def put(path: Any, data: bytes | memoryview) -> None:
    """Write a file of a store in one request."""
    with in_words(path, "write"):
        if path.protocol == "memory":
            path.parent.mkdir(parents=True, exist_ok=True)
        path.fs.pipe_file(path.path, bytes(data))


@contextlib.contextmanager
def file_for(path: Any) -> Iterator[Path]:
    """Give a local path to write to, which becomes a file of a store when the block is left without
    an error.
    """
    with tempfile.TemporaryDirectory(prefix="coreset-") as folder:
        part = Path(folder) / path.name
        yield part
        with in_words(path, "write"):
            path.fs.put_file(os.fspath(part), path.path)


def remove_tree(path: Any) -> None:
    """Remove a folder with all it holds, where it is there."""
    import shutil

    if not is_remote(path):
        shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(FileNotFoundError):
        path.fs.rm(path.path, recursive=True)


def opened(path: Any, buffering: int = 2**20) -> IO[bytes]:
    """Return a file open for reading, in binary."""
    if not is_remote(path):
        held: IO[bytes] = path.open("rb", buffering=buffering)
        return held
    with in_words(path, "read"):
        stream: IO[bytes] = path.fs.open(path.path, "rb", block_size=2**23, cache_type="readahead")
    return stream
