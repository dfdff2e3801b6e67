"""Which language a text is in: naive Bayes over byte n-grams, 139 languages, the model inside the
package.

Lui & Baldwin, "langid.py: An Off-the-shelf Language Identification Tool", ACL 2012; py3langid
(BSD-3-Clause).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from typing import Any

import numpy as np
import pyarrow as pa

from coreset.core.batch import objects
from coreset.scorers.text.base import TextScorer, Values

INSTALL = "language identification needs py3langid: pip install 'coreset-lightning[text]'"


@lru_cache(1)
def identifier() -> Any:
    """Return the model; probabilities instead of log-likelihoods. Raises ImportError with the
    install line.
    """
    try:
        from py3langid import langid
    except ImportError as error:
        raise ImportError(INSTALL) from error
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)


@dataclass(frozen=True)
class Language(TextScorer):
    """Name the language of one text column: `language`, a two- or three-letter code, and
    `language_score`, its probability among all the model knows.

    A text with fewer than `least` letters says too little: it is "too_short". longest: characters
    looked at, from the front.

    >>> Language()({"text": ["Der Zug nach Berlin kommt heute leider viel zu spät an.", "42"]})["language"]
    array(['de', None], dtype=object)
    """

    columns = ("language", "language_score")
    status_column = "language_status"

    column: str = "text"
    least: int = 10
    longest: int = 10_000

    def resources(self) -> dict[str, str]:
        """Return what the answer depends on beside the fields."""
        return {"py3langid": metadata.version("py3langid")}

    def measure(self, texts: Sequence[str], column: pa.Array) -> Values:
        """Return the most probable language and its probability."""
        names: list[str | None] = []
        scores, status = np.full(len(texts), np.nan), objects(["too_short"] * len(texts))
        for i, text in enumerate(texts):
            text = text[: self.longest]
            if len(text) < self.least or sum(c.isalpha() for c in text) < self.least:
                names.append(None)
                continue
            name, scores[i] = identifier().classify(text)
            names.append(str(name))
            status[i] = "ok"
        return {"language": objects(names), "language_score": scores, "language_status": status}
