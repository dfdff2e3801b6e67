"""The measures of FineWeb's own rules: lines that end in punctuation, short lines, repeated lines,
line breaks.

Penedo et al., "The FineWeb Datasets", 2024, section 3.6 (arXiv:2406.17557). Variants:

    fineweb     a line ends in punctuation whatever white space follows it
    datatrove   a blank after the full stop hides it
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from coreset.numerics.text.characters import sentence_ends
from coreset.numerics.text.tokenize import words
from coreset.scorers.text.base import TextScorer, Values
from coreset.scorers.text.gopher_repetition import repeated

VARIANTS = ("fineweb", "datatrove")


@dataclass(frozen=True)
class FineWeb(TextScorer):
    r"""Measure one text column for `coreset.curation.operators.rules.FineWebFilter`.

    fineweb_punctuated_lines: share of lines that end a sentence (Unicode's Sentence_Terminal).
    fineweb_short_lines: share of at most `short` characters. fineweb_duplicate_characters:
    characters of lines that occurred before, of all but the line breaks. fineweb_breaks_per_word:
    line breaks per token. Blank lines are no lines.

    >>> FineWeb()({"text": ["One line. \nand another"]})["fineweb_punctuated_lines"]
    array([0.5])
    """

    columns = (
        "fineweb_punctuated_lines",
        "fineweb_short_lines",
        "fineweb_duplicate_characters",
        "fineweb_breaks_per_word",
    )
    status_column = "fineweb_status"

    column: str = "text"
    variant: str = "fineweb"
    short: int = 30

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant: expected {' or '.join(VARIANTS)}, got {self.variant!r}")

    def measure(self, texts: Sequence[str], column: pa.Array) -> Values:
        """Return the measures."""
        tokens = np.diff(words(column).start).astype(np.float64)
        ends, strip = sentence_ends(), self.variant == "fineweb"
        measures = np.zeros((len(texts), 4))
        for i, text in enumerate(texts):
            lines = [line for line in text.split("\n") if line and not line.isspace()]
            breaks = text.count("\n")
            measures[i] = (
                sum((line.rstrip() if strip else line).endswith(ends) for line in lines)
                / len(lines),
                sum(len(line) <= self.short for line in lines) / len(lines),
                repeated(lines)[1] / (len(text) - breaks),
                breaks / tokens[i],
            )
        return dict(zip(self.columns, measures.T, strict=True))
