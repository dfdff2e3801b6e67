"""Perplexity of a text under a causal language model: exp of the mean loss per token.

Long texts by a sliding window, as is common: windows of `window` tokens, a step of `stride` between
them; every token is scored once, in the first window that holds it, so after at least window -
stride tokens of context (from the second window on).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from coreset.core.pool import Array
from coreset.scorers.language.contexts import encode
from coreset.scorers.language.load import load_tokenizer
from coreset.scorers.language.scorer import LanguageScorer, texts, written
from coreset.scorers.language.spans import Span


def windows(
    tokens: tuple[int, ...], start: tuple[int, ...], window: int, stride: int
) -> list[Span]:
    """Return the spans that score every token of a text once; without a start token its first token
    has no loss.

    >>> [
    ...     (len(s.context), len(s.target))
    ...     for s in windows((1, 2, 3, 4, 5, 6, 7), (), window=4, stride=2)
    ... ]
    [(1, 3), (2, 2), (2, 1)]
    """
    whole = start + tokens
    spans, done = [], max(1, len(start))
    for begin in range(0, len(whole), stride):
        end = min(begin + window, len(whole))
        if end > done:
            spans.append(Span(whole[begin:done], whole[done:end]))
        done = max(done, end)
        if end == len(whole):
            break
    return spans


@dataclass(frozen=True)
class Perplexity(LanguageScorer):
    """Perplexity of a text. Gives `perplexity`, `perplexity_loss` (its logarithm, nats per token),
    `perplexity_tokens` (how many are scored) and `perplexity_status`.

    start_token: put before the text so that its first token is scored too: a token's text or
    number, auto = the tokenizer's own, None = none. A text with no scored token is undefined
    (empty_text, too_short). A low perplexity is no quality: text that repeats itself has the
    lowest. Keep a band.
    """

    column: str = "text"
    window: int = 1024
    stride: int = 512
    start_token: str | int | None = "auto"

    gives = frozenset({"perplexity", "perplexity_loss", "perplexity_tokens", "perplexity_status"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.stride < self.window:
            raise ValueError(
                f"stride: expected 1 to {self.window - 1} (the window less one), got {self.stride}"
            )

    @property
    def needs(self) -> frozenset[str]:
        """Return the column that is read."""
        return frozenset({self.column})

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Return the columns for every text."""
        self.fitting(self.window, "window")
        rows, start = texts(batch, self.column), self.start(self.start_token)
        tokens = encode(load_tokenizer(self.model), [t or "" for t in rows], False)
        spans = [
            windows(ids, start, self.window, self.stride) if ids and (t or "").strip() else []
            for t, ids in zip(rows, tokens, strict=True)
        ]
        status = [
            (
                "missing_field"
                if t is None
                else "ok"
                if s
                else "too_short"
                if t.strip()
                else "empty_text"
            )
            for t, s in zip(rows, spans, strict=True)
        ]
        sums, counts = self.likelihood().totals([span for row in spans for span in row])
        owner = np.repeat(np.arange(len(rows)), [len(row) for row in spans])
        n = np.bincount(owner, counts, len(rows)).astype(np.int64)
        mean = np.divide(
            np.bincount(owner, sums, len(rows)), n, out=np.full(len(rows), np.nan), where=n > 0
        )
        with np.errstate(over="ignore"):
            return written(
                {"perplexity": np.exp(mean), "perplexity_loss": mean, "perplexity_tokens": n},
                status,
                "perplexity",
            )
