"""A look into the file of an n-gram model before KenLM reads it, which trusts its head.

The ARPA format: SRI's `ngram-format`; KenLM's reader (Heafield, "KenLM: Faster and Smaller Language
Model Queries", WMT 2011) allocates by the counts that stand in the head of the file.
"""

from __future__ import annotations

import re
from pathlib import Path

BINARY = b"mmap lm http://kheafield.com/code"
_ORDERS = 6  # KenLM as it is built by default
_HEAD = 65536
_COUNT = re.compile(rb"ngram\s+(\d{1,2})\s*=\s*(\d{1,18})\s*")


def arpa_counts(path: str | Path) -> list[int]:
    """Return the numbers of n-grams of order 1, 2, ... an ARPA file states; [] for a binary file.

    Raises FileNotFoundError where there is no file, and ValueError for one that is neither, or
    whose counts are not those of orders 1, 2, ... up to 6 or are more than its size has room for.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"model: there is no file {path}")
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head.startswith(BINARY):
        return []
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ")):
        raise ValueError(f"model: {path} is compressed; unpack it first")
    lines = [line.strip() for line in head.split(b"\n")]
    begin = next((i for i, line in enumerate(lines) if line), len(lines))
    if begin == len(lines) or lines[begin] != b"\\data\\":
        raise ValueError(rf"model: {path} is no ARPA file: its first line is not \data\ ")
    counts: list[int] = []
    for line in lines[begin + 1 :]:
        if line.startswith(b"\\") or not line:
            break
        stated = _COUNT.fullmatch(line)
        if stated is None or int(stated[1]) != len(counts) + 1 or len(counts) == _ORDERS:
            text = line[:60].decode("utf-8", "replace")
            raise ValueError(
                f"model: {path}: expected 'ngram {len(counts) + 1}=<count>', orders up to"
                f" {_ORDERS}, got {text!r}"
            )
        counts.append(int(stated[2]))
    least = sum(
        count * (2 * order + 2) for order, count in enumerate(counts, 1)
    )  # "0", words, newline
    if not counts or counts[0] < 1 or least > path.stat().st_size:
        raise ValueError(
            f"model: {path} states {counts} n-grams, which a file of {path.stat().st_size} bytes"
            " cannot hold"
        )
    return counts
