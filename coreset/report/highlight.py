"""What in a text a reason points at: the phrase it names, the line or n-gram that repeats, the
words that two texts share.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from markupsafe import Markup

from coreset.report.render import render

_CUT = 700  # characters of a text that are shown
_WORD = re.compile(r"\S+")
_REPEATS = re.compile(r"repeat|duplicate|n-gram|\bgram|repetition", re.IGNORECASE)
_PHRASES = (
    "lorem ipsum",
    "javascript",
    "{",
    "cookie",
    "terms of use",
    "privacy policy",
    "#",
    "…",
    "...",
)


def marked(text: str, spans: Iterable[tuple[int, int]], cut: int = _CUT) -> Markup:
    """Return a text as HTML with marks around spans of it, cut to some characters, from the first
    mark on where that lies farther.

    >>> print(marked("a <b> c", [(2, 5)]))
    a <mark>&lt;b&gt;</mark> c
    """
    ordered = sorted(set(spans))
    start = (
        max(0, min(ordered[0][0] - 80, len(text) - cut)) if ordered and ordered[0][0] > cut else 0
    )
    pieces, at, end = [], start, min(len(text), start + cut)
    for a, b in ordered:
        a, b = max(a, at), min(b, end)
        if a < b:
            pieces += [(text[at:a], False), (text[a:b], True)]
            at = b
    pieces.append((text[at:end], False))
    before, after = "…" if start else "", "…" if end < len(text) else ""
    return render("marked.html", before=before, pieces=pieces, after=after)


def spans_of(text: str, reason: str) -> list[tuple[int, int]]:
    r"""Return where in a text its reason lies: the repeated line, else the n-gram that covers most,
    of reasons about repetition; a phrase that the reason names; nothing where it is about a number.

    >>> spans_of("buy now\nnews\nbuy now", "repeated lines above 0.3")
    [(0, 7), (13, 20)]
    >>> spans_of("see lorem ipsum", "has lorem ipsum")
    [(4, 15)]
    """
    low, low_reason = text.lower(), reason.lower()
    named = [p for p in _PHRASES if p in low_reason and p in low]
    if not named and "curly bracket" in low_reason:
        named = ["{"]
    if named:
        return [m.span() for p in named for m in re.finditer(re.escape(p), low)]
    return repeated(text) if _REPEATS.search(reason) else []


def repeated(text: str) -> list[tuple[int, int]]:
    """Return every place of the line that repeats most, else of the n-gram of 2 to 10 words that
    covers most of the text.
    """
    lines = [(m.start(), m.end(), m[0].strip()) for m in re.finditer(r"[^\n]+", text)]
    often = Counter(line for *_, line in lines if line).most_common(1)
    if often and often[0][1] > 1:
        return [(a, b) for a, b, line in lines if line == often[0][0]]
    words = [(m.start(), m.end(), m[0].lower()) for m in _WORD.finditer(text)][:2000]
    best: tuple[int, int, tuple[str, ...]] = (0, 0, ())
    for n in range(10, 1, -1):
        grams = Counter(tuple(w for *_, w in words[i : i + n]) for i in range(len(words) - n + 1))
        top = grams.most_common(1)
        if top and top[0][1] > 1:
            best = max(best, (sum(map(len, top[0][0])) * top[0][1], n, top[0][0]))
    _, n, gram = best
    return [
        (words[i][0], words[i + n - 1][1])
        for i in range(len(words) - n + 1)
        if n and tuple(w for *_, w in words[i : i + n]) == gram
    ]


def shared(text: str, other: str, n: int = 5) -> list[tuple[int, int]]:
    """Return the runs of words of a text that stand in another in the same order, at least `n` of
    them (all of shorter texts).

    >>> shared("x a b c d e y", "a b c d e z")
    [(2, 11)]
    """
    mine = [(m.start(), m.end(), m[0].lower()) for m in _WORD.finditer(text)]
    theirs = [m[0].lower() for m in _WORD.finditer(other)]
    n = max(1, min(n, len(mine), len(theirs)))
    there = {tuple(theirs[i : i + n]) for i in range(len(theirs) - n + 1)}
    hit = [False] * len(mine)
    for i in range(len(mine) - n + 1):
        if tuple(w for *_, w in mine[i : i + n]) in there:
            hit[i : i + n] = [True] * n
    out: list[tuple[int, int]] = []
    for i, (a, b, _) in enumerate(mine):
        if hit[i]:
            out = [*out[:-1], (out[-1][0], b)] if out and i and hit[i - 1] else [*out, (a, b)]
    return out


def overlap(text: str, other: str, n: int = 5) -> float:
    """Return the Jaccard overlap of the n-grams of words of two texts;
    of shorter ones, of words.
    """
    a, b = (
        {tuple(w[i : i + min(n, len(w))]) for i in range(max(1, len(w) - n + 1))}
        for w in (text.lower().split(), other.lower().split())
    )
    return len(a & b) / max(1, len(a | b))
