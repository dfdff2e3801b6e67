"""How long a text is, in words or characters; the baseline of every other score. In tokens:
`coreset.scorers.text.tokens.Tokens`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from coreset.core.batch import objects
from coreset.core.pool import Array
from coreset.numerics.text.word_counts import word_counts

UNITS = ("words", "white_space_words", "characters")


@dataclass(frozen=True)
class Length:
    """Count what one text column holds: gives `<column>_<unit>`, float64, and its status.

    unit: `words` of any script, see `coreset.numerics.text.word_counts`: between white space, and
    the characters of a script without spaces (four letters of Thai, Lao, Tibetan, Myanmar or Khmer
    are one word). `white_space_words`: what `str.split` cuts, as DataComp counts; a Chinese,
    Japanese or Thai paragraph is one. `characters`: code points. Words of two languages are not the
    same amount of text: to compare languages by what they cost a model, count tokens. A missing
    text is undefined, an empty one has length 0. Raises ValueError for another unit.

    >>> Length("text").__call__({"text": ["one two", "你好", ""]})["text_words"]
    array([2., 2., 0.])
    """

    column: str = "text"
    unit: str = "words"

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ValueError(f"unit: expected {', '.join(UNITS)}, got {self.unit!r}")

    @property
    def name(self) -> str:
        """Return the name of the column that is written."""
        return f"{self.column}_{self.unit}"

    @property
    def needs(self) -> frozenset[str]:
        """Return the column that is read."""
        return frozenset({self.column})

    @property
    def gives(self) -> frozenset[str]:
        """Return the column that is written, and its status."""
        return frozenset({self.name, f"{self.name}_status"})

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Return the length of every text."""
        texts = list(batch[self.column])
        if self.unit == "words":
            count, missing = word_counts(texts)
            values = np.where(missing, np.nan, count)
        else:
            length = len if self.unit == "characters" else (lambda t: len(t.split()))
            values = np.array([np.nan if t is None else length(t) for t in texts], np.float64)
        status = objects(["missing_field" if t is None else "ok" for t in texts])
        return {self.name: values, f"{self.name}_status": status}
