"""The elements of a JSON array, one after the other, in bounded memory: also past one that is no
JSON.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Iterator

from coreset.curation.io.compressed import BLOCK, open_bytes
from coreset.curation.io.discover import Shard

_BLANK = re.compile(r"[ \t\r\n]*")
_STOPS = re.compile(r'["\[\]{},]')
_TEXT = re.compile(r'[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


def raw_elements(shard: Shard, longest: int) -> Iterator[tuple[int, str]]:
    """Yield (position, text) of every element of a JSON array, reading only as far as needed.

    An element that is no JSON is yielded too, where its end shows by its brackets; a byte that is
    no UTF-8 is half a surrogate pair in it. Raises OSError where the array breaks off, or an
    element is longer than `longest`: what follows cannot be read.
    """
    decoder = json.JSONDecoder()
    with open_bytes(shard) as file:
        if file.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):  # type: ignore[attr-defined]
            raise OSError("the file is UTF-16, expected UTF-8")
        text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape")
        buffer, number = text.read(BLOCK), 0
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
            if buffer[at : at + 1] == "," and number:  # nothing stands between two commas
                number += 1
                yield number, ""
                continue
            stop, why = _stop(decoder, buffer, at)
            if stop is not None:
                number += 1
                yield number, buffer[at:stop].rstrip(" \t\r\n")
                at = stop
                continue
            if len(buffer) - at > longest:
                raise OSError(f"element {number + 1} has more than {longest} bytes")
            more = text.read(max(BLOCK, len(buffer) - at))
            if not more:
                raise OSError(f"element {number + 1} breaks off or is no JSON: {why}")
            buffer, at = buffer[at:] + more, 0


def _stop(decoder: json.JSONDecoder, buffer: str, at: int) -> tuple[int | None, str]:
    """Return where the element that begins at `at` ends,
    or None and why that cannot be told yet.
    """
    why = "Unterminated array"
    try:
        stop = decoder.raw_decode(buffer, at)[1]
        if stop < len(buffer):
            return stop, ""
        return None, why
    except json.JSONDecodeError as error:
        why = error.msg
    except (RecursionError, ValueError) as error:  # nested too deeply; too many digits
        why = str(error)
    return skipped(buffer, at), why


def skipped(text: str, at: int) -> int | None:
    """Return where an element that is no JSON ends: at the comma or bracket after it, by brackets
    and quotes alone. None: there is none yet.

    >>> skipped('{"a": "}", b} , 1', 0), skipped("[[1, 2]", 0), skipped("nul, 1", 0)
    (14, None, 3)
    """
    depth = 0
    while (mark := _STOPS.search(text, at)) is not None:
        at = mark.end()
        if mark[0] == '"':
            close = _TEXT.match(text, at)
            if close is None:
                return None
            at = close.end()
        elif mark[0] in "[{":
            depth += 1
        elif depth == 0 and mark[0] in ",]":
            return mark.start()
        elif mark[0] in "]}":
            depth = max(0, depth - 1)
    return None


def _next(text: str, at: int) -> int:
    """Return where the next character that is no white space stands."""
    match = _BLANK.match(text, at)
    return match.end() if match else at
