"""What InternVL 2.5's heuristic rules look for in an answer: a sentence that does not end, and a
long row of zeros.

Chen et al., "Expanding Performance Boundaries of Open-Source Multimodal Models with Model, Data,
and Test-Time Scaling", 2024 (arXiv:2412.05271), names them and gives no numbers. The third,
duplicate lines, is `gopher_duplicate_lines`, and repetition is `coreset.scorers.text.repetition`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa

from coreset.numerics.text.characters import sentence_ends
from coreset.scorers.text.base import TextScorer, Values

_ZEROS = re.compile(r"0(?:[\s,;.]*0)*")


@lru_cache(1)
def _ends() -> re.Pattern[str]:
    return re.compile(rf"[{''.join(re.escape(c) for c in sentence_ends())}]|\n")


@dataclass(frozen=True)
class Abnormal(TextScorer):
    """Measure one text column: gives `longest_sentence`, the characters between two ends of
    sentences or lines, and `longest_zeros`, the zeros in a row.

    White space and , ; . between zeros do not break a row: "0, 0, 0" are three, "1000.00" five.

    >>> lengths = Abnormal()({"text": ["Two words. One", "0, 0, 0"]})
    >>> lengths["longest_sentence"], lengths["longest_zeros"]
    (array([9., 7.]), array([0., 3.]))
    """

    columns = ("longest_sentence", "longest_zeros")
    status_column = "abnormal_status"

    column: str = "text"

    def measure(self, texts: Sequence[str], column: pa.Array) -> Values:
        """Return both lengths of every text."""
        sentences = [max(len(part.strip()) for part in _ends().split(t)) for t in texts]
        zeros = [
            max((run.group().count("0") for run in _ZEROS.finditer(t)), default=0) for t in texts
        ]
        return {
            "longest_sentence": np.array(sentences, np.float64),
            "longest_zeros": np.array(zeros, np.float64),
        }
