"""How long a text is, in words or characters; the baseline of every other score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from coreset.batch import objects
from coreset.types import Array

UNITS = ("words", "characters")


@dataclass(frozen=True)
class Length:
    """Count the words (by white space) or characters (code points) of one text column: gives `<column>_<unit>`, float64, and its status.

    A missing text is undefined, an empty one has length 0.

    >>> Length("text").__call__({"text": ["one two", ""]})["text_words"]
    array([2., 0.])
    """

    column: str = "text"
    unit: str = "words"

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ValueError(f"unit: expected {' or '.join(UNITS)}, got {self.unit!r}")

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
        texts = batch[self.column]
        count = (lambda t: len(t.split())) if self.unit == "words" else len
        values = np.array([np.nan if t is None else count(t) for t in texts], np.float64)
        status = objects(["missing_field" if t is None else "ok" for t in texts])
        return {self.name: values, f"{self.name}_status": status}
