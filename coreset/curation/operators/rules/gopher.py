"""Gopher's rules for web pages: quality, and repetition.

Rae et al., "Scaling Language Models: Methods, Analysis & Insights from Training Gopher", 2021,
appendix A.1.1, table A1 (arXiv:2112.11446). The thresholds are made for pages: a caption or a short
answer is always too short.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from coreset.curation.operators.rules.limits import Limit, Limits


@dataclass(frozen=True)
class GopherQualityFilter(Limits):
    """Keep what passes all of Gopher's quality rules; reads the columns of
    `coreset.scorers.text.gopher_quality.GopherQuality`. None switches a rule off.

    >>> from coreset.core.batch import as_batch
    >>> from coreset.scorers.text.gopher_quality import GopherQuality
    >>> GopherQualityFilter().decide(
    ...     as_batch(GopherQuality()({"text": ["Too short, this."]}))
    ... ).reason.tolist()
    ['fewer than 50 words; words with a letter below 0.8; fewer than 2 stop words']
    """

    status_column = "gopher_quality_status"

    min_words: int | None = 50
    max_words: int | None = 100_000
    min_mean_word_length: float | None = 3
    max_mean_word_length: float | None = 10
    max_symbols_per_word: float | None = 0.1
    max_bullet_lines: float | None = 0.9
    max_ellipsis_lines: float | None = 0.3
    min_alphabetic: float | None = 0.8
    min_stop_words: int | None = 2

    def limits(self) -> Iterator[Limit]:
        """Yield the limits."""
        low, high = self.min_words, self.max_words
        yield Limit("gopher_words", f"fewer than {low} words", low=low)
        yield Limit("gopher_words", f"more than {high} words", high=high)
        low_mean, high_mean = self.min_mean_word_length, self.max_mean_word_length
        yield Limit("gopher_mean_word_length", f"mean word length below {low_mean}", low=low_mean)
        yield Limit(
            "gopher_mean_word_length", f"mean word length above {high_mean}", high=high_mean
        )
        symbols = self.max_symbols_per_word
        yield Limit("gopher_hashes", f"more than {symbols} hash signs per word", high=symbols)
        yield Limit("gopher_ellipses", f"more than {symbols} ellipses per word", high=symbols)
        yield Limit(
            "gopher_bullet_lines",
            f"more than {self.max_bullet_lines} bullet lines",
            high=self.max_bullet_lines,
        )
        yield Limit(
            "gopher_ellipsis_lines",
            f"more than {self.max_ellipsis_lines} lines end in an ellipsis",
            high=self.max_ellipsis_lines,
        )
        yield Limit(
            "gopher_alphabetic",
            f"words with a letter below {self.min_alphabetic}",
            low=self.min_alphabetic,
        )
        yield Limit(
            "gopher_stop_words",
            f"fewer than {self.min_stop_words} stop words",
            low=self.min_stop_words,
        )


@dataclass(frozen=True)
class GopherRepetitionFilter(Limits):
    r"""Keep what repeats itself less than table A1 allows; reads the columns of
    `coreset.scorers.text.gopher_repetition.GopherRepetition`. None switches a rule off.

    top: most characters allowed in the most frequent 2-, 3- and 4-gram; duplicate: in repeated 5-
    to 10-grams.

    >>> from coreset.core.batch import as_batch
    >>> from coreset.scorers.text.gopher_repetition import GopherRepetition
    >>> text = "one line of text that is there twice\n" * 2
    >>> GopherRepetitionFilter(duplicate=None).decide(
    ...     as_batch(GopherRepetition()({"text": [text]}))
    ... ).reason.tolist()
    ['duplicate lines above 0.3; characters of duplicate lines above 0.2; top 2-gram above 0.2; top 3-gram above 0.18; top 4-gram above 0.16']
    """

    status_column = "gopher_repetition_status"

    max_lines: float | None = 0.3
    max_paragraphs: float | None = 0.3
    max_line_characters: float | None = 0.2
    max_paragraph_characters: float | None = 0.2
    top: tuple[float, float, float] | None = (0.20, 0.18, 0.16)
    duplicate: tuple[float, float, float, float, float, float] | None = (
        0.15,
        0.14,
        0.13,
        0.12,
        0.11,
        0.10,
    )

    def __post_init__(self) -> None:
        for name, size in (("top", 3), ("duplicate", 6)):
            given = getattr(self, name)
            if given is not None and len(given) != size:
                raise ValueError(f"{name}: expected {size} shares, got {list(given)}")

    def limits(self) -> Iterator[Limit]:
        """Yield the limits."""
        for column, phrase, high in (
            ("duplicate_paragraphs", "duplicate paragraphs", self.max_paragraphs),
            (
                "duplicate_paragraph_characters",
                "characters of duplicate paragraphs",
                self.max_paragraph_characters,
            ),
            ("duplicate_lines", "duplicate lines", self.max_lines),
            (
                "duplicate_line_characters",
                "characters of duplicate lines",
                self.max_line_characters,
            ),
        ):
            yield Limit(f"gopher_{column}", f"{phrase} above {high}", high=high)
        for n, share in zip(range(2, 5), self.top or (), strict=False):
            yield Limit(f"gopher_top_{n}", f"top {n}-gram above {share}", high=share)
        for n, share in zip(range(5, 11), self.duplicate or (), strict=False):
            yield Limit(f"gopher_duplicate_{n}", f"duplicate {n}-grams above {share}", high=share)
