"""What every Unicode character is, as tables that compiled loops read: letter, digit, space, line
break, script without spaces, and what it folds to.

Sentence ends are the property Sentence_Terminal of the Unicode Character Database; the rest is
Python's own `unicodedata`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain, compress
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coreset.core.pool import Array
from coreset.numerics.compiled import compiled

SPACE, ALPHA, WORD, DIGIT, BREAK, ALONE, SENTENCE_END = (1 << i for i in range(7))
DROP = 0  # what a combining mark folds to

_SENTENCE_END = (
    "21 2E 3F 589 61D-61F 6D4 700-702 7F9 837 839 83D-83E 964-965 104A-104B 1362 1367-1368 166E"
    " 1735-1736 17D4-17D5 1803 1809 1944-1945 1AA8-1AAB 1B4E-1B4F 1B5A-1B5B 1B5E-1B5F 1B7D-1B7F"
    " 1C3B-1C3C 1C7E-1C7F 2024 203C-203D 2047-2049 2CF9-2CFB 2E2E 2E3C 2E53-2E54 2E60-2E61 3002"
    " A4FF A60E-A60F A6F3 A6F7 A876-A877 A8CE-A8CF A92F A9C8-A9C9 AA5D-AA5F AAF0-AAF1 ABEB FE12"
    " FE15-FE16 FE52 FE56-FE57 FF01 FF0E FF1F FF61 10A56-10A57 10F55-10F59 10F86-10F89 11047-11048"
    " 110BE-110C1 11141-11143 111C5-111C6 111CD 111DE-111DF 11238-11239 1123B-1123C 112A9"
    " 113D4-113D5 1144B-1144C 115C2-115C3 115C9-115D7 11641-11642 1173C-1173E 11944 11946"
    " 11A42-11A43 11A9B-11A9C 11C41-11C42 11EF7-11EF8 11F43-11F44 16A6E-16A6F 16AF5 16B37-16B38"
    " 16B44 16D6E-16D6F 16E98 1BC9F 1DA88"
)
# scripts written without spaces: Thai, Lao, Tibetan, Myanmar, Khmer, kana, bopomofo, Han
_ALONE = (
    "E00-EFF F00-FFF 1000-109F 1780-17FF 2E80-2FDF 3005-3007 3021-3029 3031-3035 3038-303B"
    " 3040-312F 31A0-31BF 31F0-31FF 3400-4DBF 4E00-9FFF A9E0-A9FF AA60-AA7F "
    "F900-FAFF FF66-FF9F 1B000-1B16F 20000-323AF"
)  # fmt: skip
_LETTERS = "3400-4DBF 4E00-9FFF AC00-D7A3 20000-2A6DF 2A700-2EBE0 30000-323AF"
_BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"  # what str.splitlines cuts at


def spans(text: str) -> list[range]:
    """Return ranges of code points written as 'A-B C' in hexadecimal."""
    parts = [p.split("-") for p in text.split()]
    return [range(int(p[0], 16), int(p[-1], 16) + 1) for p in parts]


@lru_cache(1)
def tables() -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
    """Return the flags (0x110000,) of every code point and what it folds to: lower case without its
    accents, 0 for a mark that stands alone.

    >>> flags, fold = tables()
    >>> chr(fold[ord("É")]), bool(flags[ord("字")] & ALONE), bool(flags[ord("_")] & ALPHA)
    ('e', True, False)
    """
    flags = np.zeros(0x110000, np.uint8)
    fold = np.arange(0x110000, dtype=np.uint32)
    for span in spans(_LETTERS):  # letters that fold to themselves: no need to ask about each
        flags[span.start : span.stop] = ALPHA | WORD
    rest = compress(range(0x323B0), (flags[:0x323B0] == 0).tolist())
    for point in chain(rest, range(0xE0000, 0xE0200)):
        char = chr(point)
        category = unicodedata.category(char)
        if category in ("Cn", "Co", "Cs"):
            continue
        flags[point] = (
            SPACE * char.isspace()
            + ALPHA * char.isalpha()
            + WORD * (char.isalnum() or char == "_" or category[0] == "M")
            + DIGIT * (category == "Nd")
            + BREAK * (char in _BREAKS)
        )
        if unicodedata.decomposition(char) or char.lower() != char or category == "Mn":
            plain = [
                c
                for c in unicodedata.normalize("NFD", char.lower())
                if unicodedata.category(c) != "Mn"
            ]
            fold[point] = ord(plain[0]) if plain else DROP
    for table, flag in ((_ALONE, ALONE), (_SENTENCE_END, SENTENCE_END)):
        for span in spans(table):
            flags[span.start : span.stop] |= flag
    flags[(flags & (WORD | ALONE)) == ALONE] &= 255 - ALONE
    return flags, fold


@lru_cache(1)
def sentence_ends() -> tuple[str, ...]:
    """Return the characters that end a sentence: `text.endswith(sentence_ends())`.

    >>> "Well!".endswith(sentence_ends()), 'He said "yes"'.endswith(sentence_ends())
    (True, False)
    """
    return tuple(chr(c) for span in spans(_SENTENCE_END) for c in span)


@compiled
def _decode(
    data: NDArray[np.uint8],
    start: NDArray[np.int64],
    out: NDArray[np.uint32],
    begin: NDArray[np.int64],
) -> int:
    """Decode valid UTF-8 of every text into `out`; return the number of characters."""
    at = 0
    for row in range(len(start) - 1):
        begin[row] = at
        i, end = start[row], start[row + 1]
        while i < end:
            b = np.uint32(data[i])
            if b < 0x80:
                out[at] = b
                i += 1
            elif b < 0xE0:
                out[at] = (b & np.uint32(0x1F)) << np.uint32(6) | np.uint32(data[i + 1] & 0x3F)
                i += 2
            elif b < 0xF0:
                out[at] = (
                    (b & np.uint32(0x0F)) << np.uint32(12)
                    | np.uint32(data[i + 1] & 0x3F) << np.uint32(6)
                    | np.uint32(data[i + 2] & 0x3F)
                )
                i += 3
            else:
                high = (b & np.uint32(0x07)) << np.uint32(18) | np.uint32(
                    data[i + 1] & 0x3F
                ) << np.uint32(12)
                out[at] = (
                    high
                    | np.uint32(data[i + 2] & 0x3F) << np.uint32(6)
                    | np.uint32(data[i + 3] & 0x3F)
                )
                i += 4
            at += 1
    begin[len(start) - 1] = at
    return at  # fmt: skip


def whole_characters(texts: Sequence[Any] | Array) -> list[Any]:
    r"""Return texts that UTF-8 can hold: two halves of a surrogate pair are their character, a lone
    half is U+FFFD.

    texts: a list or object array of str, with None for missing. Whatever is no str stays as it is.

    >>> whole_characters(["a\ud83d\ude00", "a\ud83d", None])
    ['a😀', 'a�', None]
    """
    return [_whole(t) if isinstance(t, str) and not t.isascii() else t for t in texts]


def _whole(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def utf8(texts: Array | pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.bool_]]:
    """Return the bytes of all texts (no copy of an Arrow column), where each starts (n + 1,), and
    which are missing (n,).

    texts: an Arrow column of strings, or a list or object array of str with None for missing.
    Raises TypeError for anything else.
    """
    if not isinstance(texts, pa.Array):
        try:
            texts = pa.array(whole_characters(texts), pa.large_string())
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise TypeError(f"texts: expected str or None, {error}") from error
    if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
        if pa.types.is_null(texts.type):
            texts = texts.cast(pa.string())
        else:
            raise TypeError(f"texts: expected a column of strings, got {texts.type}")
    wide = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    _, offsets, data = texts.buffers()
    if len(texts) == 0:
        return np.zeros(0, np.uint8), np.zeros(1, np.int64), np.zeros(0, bool)
    start = np.frombuffer(offsets, wide)[texts.offset : texts.offset + len(texts) + 1].astype(
        np.int64
    )
    missing = texts.is_null().to_numpy(zero_copy_only=False)
    if missing.any() and (np.diff(start)[missing] > 0).any():  # bytes under a null
        return utf8(pa.array(texts.to_pylist(), pa.large_string()))
    return (
        np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8),
        start,
        missing,
    )


def characters(
    texts: Array | pa.Array,
) -> tuple[NDArray[np.uint32], NDArray[np.int64], NDArray[np.bool_]]:
    """Return the code points of all texts in one array, where each text begins (n + 1,), and which
    are missing (n,).

    >>> points, begin, missing = characters(["né", None])
    >>> points.tolist(), begin.tolist(), missing.tolist()
    ([110, 233], [0, 2, 2], [False, True])
    """
    data, start, missing = utf8(texts)
    points = np.empty(int(start[-1] - start[0]), np.uint32)
    begin = np.empty(len(start), np.int64)
    count = _decode(data, start, points, begin)
    return points[:count], begin, missing
