"""Lines of a web page that are no text: menus, counters, bare links, calls to act. RefinedWeb's
line-wise corrections.

Penedo et al., "The RefinedWeb Dataset for Falcon LLM", 2023, appendix G.2 (arXiv:2306.01116): a
line goes when it is mostly upper case, only digits and signs, a counter ("3 likes") or a single
word; a short line is also cut where it begins with "sign in", ends with "read more" or holds "items
in cart". A bare web address goes too. A page that loses more than 5 % of its words is dropped
(`coreset.curation.operators.rules.BoilerplateFilter`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from coreset.core.batch import objects
from coreset.scorers.text.base import TextScorer, Values

KINDS = ("url", "upper_case", "numeric", "counter", "one_word", "call")
_URL = re.compile(
    r"(?:(?:https?://|www\.)\S+|[\w-]+(?:\.[\w-]+)*\.(?:com|org|net|edu|gov|io|co|info)(?:/\S*)?)",
    re.I,
)
_COUNTER = re.compile(
    r"[\d.,]+\s*(?:(?:[kKmM]\+?|\+)\s*)?(?:likes?|shares?|comments?|retweets?|reposts?|views?|followers?|following|replies|reply|votes?|upvotes?|downvotes?|points?|reviews?|ratings?|"
    r"downloads?|answers?|subscribers?|reactions?|photos?|videos?|posts?|tweets?|pins?|members?|reads?)\b[.!]?", re.I
)  # fmt: skip
_BEGIN = re.compile(
    r"(?:sign[ -]?in|sign[ -]?up|log[ -]?in|subscribe|skip to (?:main )?content)\b", re.I
)
_END = re.compile(
    r"(?:read more|continue reading|see more|show more|learn more|view"
    r" all)(?:\s*(?:\.{3}|…|»|→|>)*)\s*$",
    re.I,
)
_ANYWHERE = re.compile(r"\bitems? in (?:your )?cart\b|\badd to cart\b", re.I)  # fmt: skip
SHORT = 10  # words up to which the last three are looked for


def line_kind(line: str) -> str:
    """Return what makes a stripped line boilerplate, one of `KINDS`, or "" for text and blank
    lines.

    >>> [
    ...     line_kind(s)
    ...     for s in (
    ...         "3 likes",
    ...         "HOME ABOUT US",
    ...         "Menu",
    ...         "12/03/2020",
    ...         "It rained.",
    ...         "Read more...",
    ...         "www.example.org/a",
    ...     )
    ... ]
    ['counter', 'upper_case', 'one_word', 'numeric', '', 'call', 'url']
    """
    if not line:
        return ""
    if _URL.fullmatch(line):
        return "url"
    letters = [c for c in line if c.isalpha()]
    if not letters:
        return (
            "numeric"
            if any(c.isdigit() for c in line)
            else "one_word"
            if len(line.split()) == 1
            else ""
        )
    if _COUNTER.fullmatch(line):
        return "counter"
    cased = [c for c in letters if c.isupper() or c.islower()]
    if len(cased) > 1 and sum(c.isupper() for c in cased) > 0.5 * len(letters):
        return "upper_case"
    words = line.split()
    spaced = len(cased) > 0.5 * len(letters)  # a line of a script without spaces is one "word"
    if len(words) == 1 and spaced:
        return "one_word"
    if len(words) <= SHORT and (_BEGIN.match(line) or _END.search(line) or _ANYWHERE.search(line)):
        return "call"
    return ""


@dataclass(frozen=True)
class Boilerplate(TextScorer):
    r"""Find the boilerplate lines of one text column.

    prose_text: the text without them. boilerplate_words: share of white-space words that are in
    them. boilerplate_lines: share of the lines that are not blank.

    >>> Boilerplate()({"text": ["Menu\nIt rained all day."]})["prose_text"]
    array(['It rained all day.'], dtype=object)
    """

    columns = ("prose_text", "boilerplate_words", "boilerplate_lines")
    status_column = "boilerplate_status"

    column: str = "text"

    def measure(self, texts: Sequence[str], column: pa.Array) -> Values:
        """Return the text that stays and the two shares."""
        left, shares = [], np.zeros((len(texts), 2))
        for i, text in enumerate(texts):
            lines = text.split("\n")
            bad = [bool(line_kind(line.strip())) for line in lines]
            words = [len(line.split()) for line in lines]
            shares[i] = (
                sum(w for w, b in zip(words, bad, strict=True) if b) / sum(words),
                sum(bad) / sum(w > 0 for w in words),
            )
            left.append(
                "\n".join(line for line, b in zip(lines, bad, strict=True) if not b).strip()
            )
        return {
            "prose_text": objects(left),
            "boilerplate_words": shares[:, 0],
            "boilerplate_lines": shares[:, 1],
        }
