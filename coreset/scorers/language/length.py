"""How many tokens of a stated tokenizer a text has: the cost of training on it, and what "longest" means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from coreset.batch import objects
from coreset.scorers.language.contexts import encode
from coreset.scorers.language.load import load_tokenizer, tokenizer_hash
from coreset.scorers.language.scorer import texts
from coreset.types import Array


@dataclass(frozen=True)
class TokenLength:
    """Count the tokens of one text column, without special tokens: gives `<column>_tokens`, float64, and its status. `model` as in `LanguageScorer`: only its
    tokenizer is loaded. A missing text is undefined, an empty one has length 0.
    """

    model: str
    column: str = "response"

    @property
    def name(self) -> str:
        """Return the name of the column that is written."""
        return f"{self.column}_tokens"

    @property
    def needs(self) -> frozenset[str]:
        """Return the column that is read."""
        return frozenset({self.column})

    @property
    def gives(self) -> frozenset[str]:
        """Return the column that is written, and its status."""
        return frozenset({self.name, f"{self.name}_status"})

    def resources(self) -> dict[str, str]:
        """Return the hash of the tokenizer."""
        return {"tokenizer": tokenizer_hash(self.model)}

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Return the length of every text."""
        rows = texts(batch, self.column)
        lengths = [len(ids) for ids in encode(load_tokenizer(self.model), [t or "" for t in rows], False)]
        values = np.array([np.nan if t is None else n for t, n in zip(rows, lengths, strict=True)], np.float64)
        return {
            self.name: values,
            f"{self.name}_status": objects(["missing_field" if t is None else "ok" for t in rows]),
        }
