"""How many sentences a line has, by its punctuation."""

from __future__ import annotations

import re
from functools import lru_cache

from coreset.numerics.text.characters import sentence_ends

_ABBREVIATIONS = frozenset({
    "mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "vs", "e.g", "i.e", "etc", "inc", "ltd",
    "co", "corp", "no", "fig", "al", "jan", "feb", "mar", "apr", "jun", "jul", "aug",
    "sep", "sept", "oct", "nov", "dec",
})  # fmt: skip


NEAR = 200  # characters before a full stop that are looked at for its word
_NEXT = re.compile(r"\S")
_WIDE = frozenset("。！？｡")  # end a sentence without white space after them
_FOREIGN = re.compile(r"[^\x00-\x7f]")
_NONE = frozenset[str]()


@lru_cache(1)
def _marks() -> frozenset[str]:
    return frozenset(sentence_ends())


@lru_cache(1024)
def _boundary(marks: frozenset[str]) -> re.Pattern[str]:
    """Return the pattern of a sentence's end for a line with no marks but these and . ! ?: one for
    all marks of Unicode is ten times as slow.
    """
    ends = "".join(map(re.escape, sorted(marks | set(".!?"))))
    # the mark first, then that none stands before it: looking behind every character is slow
    pattern = rf"[{ends}](?<![{ends}][{ends}])[{ends}]*[\"'”’»)\]]*(?=\s|$)"
    return re.compile(pattern + ("|[。！？｡]+[”’」』）]*" if marks & _WIDE else ""))


def count_sentences(line: str) -> int:
    """Return the number of sentences of one line: it is cut after . ? ! and their like where white
    space or the end follows, not after an abbreviation or a single letter.

    >>> count_sentences('Mr. Smith paid $3.50. "Really?" he said. And so on')
    4
    >>> count_sentences("我来了。你好！"), count_sentences("no end"), count_sentences("")
    (2, 1, 0)
    """
    count, last = 0, 0
    marks = _NONE if line.isascii() else _marks().intersection(_FOREIGN.findall(line))
    for end in _boundary(marks).finditer(line):
        if end.group() == "." and end.end() < len(line):
            before = line[max(last, end.start() - NEAR) : end.start()].rsplit(None, 1)
            if before and _goes_on(before[-1].lstrip("(\"'“‘").lower(), line, end.end()):
                continue
        count += 1
        last = end.end()
    return count + bool(line[last:].strip())  # fmt: skip


def _goes_on(word: str, line: str, end: int) -> bool:
    """Return whether the full stop after a word in lower case ends no sentence."""
    if word in _ABBREVIATIONS or (len(word) == 1 and word.isalpha()):
        return True
    if "." not in word or any(len(part) != 1 for part in word.split(".")):  # not as "p.m"
        return False
    after = _NEXT.search(line, end)
    return not (after and after.group().isupper())
