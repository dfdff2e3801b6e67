"""C4's cleaning: lines that are no prose go, pages that are none are marked.

Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer",
JMLR 2020, section 2.2 (arXiv:1910.10683), in the order of the released code. A line goes when it
has a word of over 1,000 characters, does not end in . ? ! " or ' (an ellipsis is no end), has fewer
than 3 words, or mentions javascript or a policy. Variants of what counts as a page with "lorem
ipsum" or a curly bracket:

    code    a line that reaches that check, as in the released code: one that went before is not
            looked at
    paper   any line of the page
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from coreset.core.batch import objects
from coreset.scorers.text.base import TextScorer, Values
from coreset.scorers.text.sentences import count_sentences

ENDS = (".", "?", "!", '"', "'")
POLICY = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)
VARIANTS = ("code", "paper")
_CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")


class Page(NamedTuple):
    """What is left of a page: its text, sentences,
    whether it has lorem ipsum or a curly bracket.
    """

    text: str
    sentences: int
    lorem: bool
    bracket: bool


def clean(
    text: str, punctuation: bool = True, variant: str = "code", least: int = 3, longest: int = 1000
) -> Page:
    r"""Return what C4 leaves of one page. punctuation: whether a line must end in a terminal mark
    (FineWeb runs C4 without).

    >>> clean("Home\nThis line stays [1]. \nThis one is cut...").text
    'This line stays .'
    """
    kept, sentences, lorem, bracket = [], 0, False, False
    if variant == "paper":
        lorem, bracket = "lorem ipsum" in text.lower(), "{" in text
    for line in text.splitlines():
        line = line.strip()
        words = line.split()
        if len(line) > longest and max(map(len, words)) > longest:
            continue
        if "[" in line:
            line = _CITATION.sub("", line)
        if punctuation and (not line.endswith(ENDS) or line.endswith("...")):
            continue
        if len(words) < least:
            continue
        lower = line.lower()
        lorem |= "lorem ipsum" in lower
        if "javascript" in lower:
            continue
        bracket |= "{" in line
        if any(p in lower for p in POLICY):
            continue
        sentences += count_sentences(line)
        kept.append(line)
    return Page("\n".join(kept).strip(), sentences, lorem, bracket)


@dataclass(frozen=True)
class C4(TextScorer):
    r"""Clean one text column for `coreset.curation.operators.rules.C4Filter`.

    c4_text: the lines that stay. c4_sentences: sentences in them. c4_lorem_ipsum, c4_bracket: 1
    where the page has one. punctuation: lines must end in a terminal mark.

    >>> C4()({"text": ["Home\nThis line stays."]})["c4_text"]
    array(['This line stays.'], dtype=object)
    """

    columns = ("c4_text", "c4_sentences", "c4_lorem_ipsum", "c4_bracket")
    status_column = "c4_status"

    column: str = "text"
    variant: str = "code"
    punctuation: bool = True

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant: expected {' or '.join(VARIANTS)}, got {self.variant!r}")

    def measure(self, texts: Sequence[str], column: pa.Array) -> Values:
        """Return the cleaned pages."""
        pages = [clean(t, self.punctuation, self.variant) for t in texts]
        return {
            "c4_text": objects([p.text for p in pages]),
            "c4_sentences": np.array([p.sentences for p in pages], np.float64),
            "c4_lorem_ipsum": np.array([p.lorem for p in pages], np.float64),
            "c4_bracket": np.array([p.bracket for p in pages], np.float64),
        }
