"""Perplexity of a text under an n-gram model: CCNet's measure of how much a page is like Wikipedia.

Wenzek et al., "CCNet: Extracting High Quality Monolingual Datasets from Web Crawl Data", LREC
2020 (arXiv:1911.00359): 10^(-log10 p / n) over all lines of a text, n their words (or pieces) and
one end a line. Heafield, "KenLM: Faster and Smaller Language Model Queries", WMT 2011.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from coreset.core.cache import sha256
from coreset.scorers.text.arpa import arpa_counts
from coreset.scorers.text.base import TextScorer, Values
from coreset.scorers.text.normal import ccnet_line

INSTALL = (
    "n-gram models need kenlm: pip install 'coreset-lightning[kenlm]' (builds with a C++ compiler)"
)
PIECES = "pieces needs sentencepiece: pip install sentencepiece"


@lru_cache(4)
def _model(path: str, _: int) -> Any:
    """Return a model. Raises ImportError with the install line, ValueError for a refused file."""
    try:
        import kenlm
    except ImportError as error:
        raise ImportError(INSTALL) from error
    config = kenlm.Config()
    config.show_progress = False
    config.arpa_complain = kenlm.ARPALoadComplain.NONE
    try:
        return kenlm.Model(path, config)
    except (OSError, RuntimeError, MemoryError, ValueError) as error:
        why = " ".join(str(error).split())
        raise ValueError(
            f"model: {path} is no n-gram model that KenLM reads: {why[:400]}"
        ) from error


@lru_cache(4)
def _cutter(path: str, _: int) -> Callable[[str], Sequence[str]]:
    """Return the function that cuts a line into pieces."""
    try:
        import sentencepiece
    except ImportError as error:
        raise ImportError(PIECES) from error
    try:
        cutter = sentencepiece.SentencePieceProcessor(model_file=path)
    except (OSError, RuntimeError) as error:
        raise ValueError(f"pieces: {path} is no SentencePartition model: {error}") from error
    return lambda line: list(cutter.encode(line, out_type=str))


def perplexity(log10: float, n: int) -> float:
    """Return 10^(-log10 / n): log10 is the logarithm of the probability of n words and line ends.

    >>> perplexity(-2.0, 2)
    10.0
    """
    return float(10.0 ** (-log10 / n))


@dataclass(frozen=True)
class Kenlm(TextScorer):
    """N-gram perplexity of one text column.

    Gives `kenlm`, `kenlm_tokens` (words and line ends) and `kenlm_status`.

    model: an ARPA file, or one of KenLM's binary files, which are mapped into memory as they are:
    only with trust=true, for a file of your own making or of a source you believe. normal: bring
    each line into CCNet's normal form; lower, accents, digits, punctuation: its steps. pieces: a
    SentencePartition model that cuts the lines (CCNet's models are of pieces), None = words between
    blanks. A line is a sentence with a start and an end. CCNet rounds to one digit; nothing is
    rounded here. A low perplexity is no quality: keep a band.
    """

    columns = ("kenlm", "kenlm_tokens")
    status_column = "kenlm_status"

    model: str
    column: str = "text"
    normal: bool = True
    lower: bool = True
    accents: bool = True
    digits: bool = True
    punctuation: bool = True
    pieces: str | None = None
    trust: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not self.model:
            raise ValueError(
                "model: expected the path of an ARPA file or of a binary file of KenLM"
            )

    def resources(self) -> dict[str, str]:
        """Return the hashes of the files."""
        files = {"model": self.model} | ({"pieces": self.pieces} if self.pieces else {})
        for name, path in files.items():
            if not Path(path).is_file():
                raise FileNotFoundError(f"{name}: there is no file {path}")
        return {name: sha256(Path(path)) for name, path in files.items()}

    def scored(self) -> Any:
        """Return the model, loaded once in a process. Raises ValueError for a file not to read."""
        if not arpa_counts(self.model) and not self.trust:
            raise ValueError(
                f"model: {self.model} is a binary file, which is mapped into memory unchecked; "
                "trust=true for one of a source you believe, or give the ARPA text"
            )
        return _model(self.model, Path(self.model).stat().st_mtime_ns)

    def lines(self, text: str) -> list[str]:
        """Return the lines of a text as the model reads them, words or pieces between blanks."""
        lines = text.split("\n")
        if self.normal:
            steps = (self.lower, self.accents, self.digits, self.punctuation)
            lines = [ccnet_line(line, *steps) for line in lines]
        if self.pieces is not None:
            if not Path(self.pieces).is_file():
                raise FileNotFoundError(f"pieces: there is no file {self.pieces}")
            cut = _cutter(self.pieces, Path(self.pieces).stat().st_mtime_ns)
            lines = [" ".join(cut(line)) for line in lines]
        return lines

    def measure(self, texts: Sequence[str], column: pa.Array) -> Values:
        """Return perplexities and numbers of tokens."""
        model = self.scored()
        values, counts = np.full(len(texts), np.nan), np.zeros(len(texts))
        for i, text in enumerate(texts):
            lines = self.lines(text)
            counts[i] = sum(len(line.split()) + 1 for line in lines)
            values[i] = perplexity(sum(model.score(line) for line in lines), int(counts[i]))
        return {"kenlm": values, "kenlm_tokens": counts}
