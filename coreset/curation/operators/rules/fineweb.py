"""FineWeb's own rules. Penedo et al., "The FineWeb Datasets", 2024,
section 3.6 (arXiv:2406.17557).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from coreset.curation.operators.rules.limits import Limit, Limits


@dataclass(frozen=True)
class FineWebFilter(Limits):
    r"""Keep pages of lines that end in punctuation, are not short, not repeated, and hold words;
    reads the columns of `coreset.scorers.text.fineweb.FineWeb`.

    >>> from coreset.core.batch import as_batch
    >>> from coreset.scorers.text.fineweb import FineWeb
    >>> FineWebFilter().decide(
    ...     as_batch(FineWeb()({"text": ["A list\nof short\nlines"]}))
    ... ).reason.tolist()
    ['lines ending in punctuation below 0.12; short lines above 0.67; line breaks per word above 0.3']
    """

    status_column = "fineweb_status"

    min_punctuated_lines: float | None = 0.12
    max_short_lines: float | None = 0.67
    max_duplicate_characters: float | None = 0.01
    max_breaks_per_word: float | None = 0.3

    def limits(self) -> Iterator[Limit]:
        """Yield the limits."""
        low = self.min_punctuated_lines
        yield Limit("fineweb_punctuated_lines", f"lines ending in punctuation below {low}", low=low)
        for column, phrase, high in (
            ("short_lines", "short lines", self.max_short_lines),
            (
                "duplicate_characters",
                "characters of duplicate lines",
                self.max_duplicate_characters,
            ),
            ("breaks_per_word", "line breaks per word", self.max_breaks_per_word),
        ):
            yield Limit(f"fineweb_{column}", f"{phrase} above {high}", high=high)
