"""Keep texts in some languages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from coreset.core.batch import Batch
from coreset.curation.operators.base import Decision, Filter


@dataclass(frozen=True)
class LanguageFilter(Filter):
    """Keep rows whose `language` is one of `languages` with a score of at least `min_score`; reads
    the columns of `coreset.scorers.text.language.Language`.

    min_score: FineWeb's 0.65, which was set for another model's probabilities.

    >>> from coreset.core.batch import as_batch
    >>> rows = {
    ...     "language": ["en", "de", None],
    ...     "language_score": [0.9, 0.9, np.nan],
    ...     "language_status": ["ok", "ok", "too_short"],
    ... }
    >>> LanguageFilter(languages=("en",)).decide(as_batch(rows)).reason.tolist()
    ['', 'another language', 'language: too_short']
    """

    needs = frozenset({"language", "language_score", "language_status"})

    languages: tuple[str, ...] = ("en",)
    min_score: float = 0.65

    def __post_init__(self) -> None:
        given: Any = self.languages
        if isinstance(given, str) or not given:
            raise ValueError(f"languages: expected a list of codes such as [en, de], got {given!r}")

    def decide(self, batch: Batch) -> Decision:
        """Return the decision."""
        wanted = set(self.languages)
        reason = np.full(batch.rows, "", object)
        for i, (name, score, status) in enumerate(
            zip(
                batch["language"],
                batch["language_score"].astype(float),
                batch["language_status"],
                strict=True,
            )
        ):
            if status != "ok":
                reason[i] = f"language: {status}"
            elif name not in wanted:
                reason[i] = "another language"
            elif not score >= self.min_score:
                reason[i] = f"language score below {self.min_score}"
        return Decision(reason == "", reason)
