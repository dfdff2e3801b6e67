"""The measures of Gopher's quality rules: how many words, how long, how many symbols, bullets,
ellipses, stop words.

Rae et al., "Scaling Language Models: Methods, Analysis & Insights from Training Gopher", 2021,
appendix A.1.1 (arXiv:2112.11446). The paper leaves open what a word is; here it is a token of
`coreset.numerics.text.tokenize`, close to the tokenizer datatrove takes, and one without a letter
or digit is a symbol. Variants:

    gopher      stop words count in any case ("The" is "the")
    datatrove   stop words count in lower case only, as in huggingface/datatrove
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from coreset.numerics.text.tokenize import HAS_ALPHA, HAS_WORD, words
from coreset.scorers.text.base import TextScorer, Values, per_text

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
VARIANTS = ("gopher", "datatrove")


@dataclass(frozen=True)
class GopherQuality(TextScorer):
    """Measure one text column for `coreset.curation.operators.rules.GopherQualityFilter`.

    gopher_words: tokens with a letter or digit. gopher_mean_word_length: their mean length in
    characters. gopher_hashes, gopher_ellipses: '#' and '...' or '…' per token. gopher_bullet_lines,
    gopher_ellipsis_lines: share of lines that start with • or -, end with an ellipsis.
    gopher_alphabetic: share of tokens with a letter. gopher_stop_words: how many different ones of
    the eight.

    >>> GopherQuality()({"text": ["The cat and the dog."]})["gopher_stop_words"]
    array([2.])
    """

    columns = (
        "gopher_words",
        "gopher_mean_word_length",
        "gopher_hashes",
        "gopher_ellipses",
        "gopher_bullet_lines",
        "gopher_ellipsis_lines",
        "gopher_alphabetic",
        "gopher_stop_words",
    )
    status_column = "gopher_quality_status"

    column: str = "text"
    variant: str = "gopher"

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant: expected {' or '.join(VARIANTS)}, got {self.variant!r}")

    def measure(self, texts: Sequence[str], column: pa.Array) -> Values:
        """Return the measures; a text of symbols alone has no mean word length:
        it is "too_short".
        """
        w = words(column)
        tokens = np.diff(w.start).astype(np.float64)
        real = (w.kind & HAS_WORD) > 0
        count = per_text(w.start, real)
        with np.errstate(invalid="ignore"):
            mean = per_text(w.start, np.where(real, w.length, 0)) / count
        wanted = words(
            [
                *STOP_WORDS,
                *(
                    [s.capitalize() for s in STOP_WORDS] + [s.upper() for s in STOP_WORDS]
                    if self.variant == "gopher"
                    else []
                ),
            ]
        ).hash
        stop = np.zeros(len(texts))
        for i in range(len(STOP_WORDS)):
            stop += per_text(w.start, np.isin(w.hash, wanted[i :: len(STOP_WORDS)])) > 0
        lines = [t.splitlines() for t in texts]
        each = np.array([len(x) for x in lines], np.float64)
        bullets = [sum(s.lstrip().startswith(("•", "-")) for s in x) for x in lines]
        dots = [sum(s.rstrip().endswith(("...", "…")) for s in x) for x in lines]
        return {
            "gopher_words": count,
            "gopher_mean_word_length": mean,
            "gopher_hashes": np.array([t.count("#") for t in texts]) / tokens,
            "gopher_ellipses": np.array([t.count("...") + t.count("…") for t in texts]) / tokens,
            "gopher_bullet_lines": np.array(bullets) / each,
            "gopher_ellipsis_lines": np.array(dots) / each,
            "gopher_alphabetic": per_text(w.start, (w.kind & HAS_ALPHA) > 0) / tokens,
            "gopher_stop_words": stop,
            "gopher_quality_status": np.where(count > 0, "ok", "too_short").astype(object),
        }  # fmt: skip
