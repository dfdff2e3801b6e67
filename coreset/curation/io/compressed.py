"""Compressed files read in small steps,
so that all of one that breaks off is had up to the break.
"""

from __future__ import annotations

import io
import zlib
from abc import abstractmethod
from typing import IO, Any

import pyarrow as pa

from coreset.core.places import is_remote, opened
from coreset.curation.io.discover import Shard

BLOCK = 2**20
_STEP = 2**12
TRUNCATED = "Truncated compressed stream"


class _Raw(io.RawIOBase):
    """A stream of bytes that come in small steps; what went wrong comes after the last of them."""

    def readable(self) -> bool:
        return True

    @abstractmethod
    def step(self, size: int) -> bytes:
        """Return at most `size` more bytes, none at the end."""

    def readinto(self, buffer: Any) -> int:
        data = self.step(min(len(buffer), _STEP))
        buffer[: len(data)] = data
        return len(data)


class _Gzip(_Raw):
    """The content of a gzip file of one member or several."""

    def __init__(self, path: Any) -> None:
        super().__init__()
        self._file = opened(path)  # closed with the stream
        self._zip: Any = None
        self._left = b""

    def step(self, size: int) -> bytes:
        """Return the next bytes, b"" at the end. Raises OSError where the stream breaks off."""
        while True:
            if not self._left:
                self._left = self._file.read(_STEP)
            if self._zip is None:
                self._left = self._left.lstrip(b"\0")  # a tape may pad members
                if not self._left:
                    more = self._file.read(_STEP)
                    if not more:
                        return b""
                    self._left = more
                    continue
                self._zip = zlib.decompressobj(31)
            elif not self._left:
                data = self._zip.flush(size)
                if data:
                    return bytes(data)
                raise OSError(TRUNCATED)
            try:
                data = self._zip.decompress(self._left, size)
            except zlib.error as error:
                raise OSError(f"damaged gzip data: {error}") from error
            self._left = self._zip.unconsumed_tail
            if self._zip.eof:
                self._left, self._zip = self._zip.unused_data, None
            if data:
                return bytes(data)

    def close(self) -> None:
        self._file.close()
        super().close()


class _Arrow(_Raw):
    """The content of a file in any codec of Arrow."""

    def __init__(self, path: Any, codec: str) -> None:
        super().__init__()
        self._stream = pa.CompressedInputStream(pa.PythonFile(opened(path), "r"), codec)

    def step(self, size: int) -> bytes:
        """Return the next bytes, b"" at the end."""
        return bytes(self._stream.read(size))

    def close(self) -> None:
        self._stream.close()
        super().close()


def open_bytes(shard: Shard) -> IO[bytes]:
    """Return a file's content, decompressed."""
    if shard.codec is None:
        if is_remote(shard.path):
            return io.BufferedReader(opened(shard.path), BLOCK)  # type: ignore[type-var]
        return opened(shard.path, BLOCK)
    raw = _Gzip(shard.path) if shard.codec == "gzip" else _Arrow(shard.path, shard.codec)
    return io.BufferedReader(raw, 2**16)
