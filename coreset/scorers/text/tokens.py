"""How long a text is in the tokens of a stated tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from coreset.scorers.language.load import load_tokenizer
from coreset.scorers.text.base import TextScorer, Values


@dataclass(frozen=True)
class Tokens(TextScorer):
    """Count the tokens of one text column, without start or end tokens: gives `tokens`. model: what
    `coreset.scorers.language.load_tokenizer` takes.

    Another tokenizer gives other numbers: bins and limits in tokens belong to the tokenizer of the
    model that is trained.
    """

    columns = ("tokens",)
    status_column = "tokens_status"

    model: str
    column: str = "text"

    def measure(self, texts: Sequence[str], column: pa.Array) -> Values:
        """Return the counts."""
        ids = (
            load_tokenizer(self.model)(list(texts), add_special_tokens=False)["input_ids"]
            if texts
            else []
        )
        return {"tokens": np.array([len(i) for i in ids], np.float64)}
