"""A language model as a `Likelihood`: the same question is asked once, answers are kept by the
content of the question and of the model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset.scorers import cache
from coreset.scorers.language.load import LanguageModel
from coreset.scorers.language.nll import token_nll
from coreset.scorers.language.spans import Span


@dataclass(frozen=True)
class TokenLikelihood:
    """Scores spans with `lm` in batches of `batch_tokens`; store: an SQLite file of answers, used
    before the model and added to.
    """

    lm: LanguageModel
    batch_tokens: int | None = None
    store: str | None = None

    def totals(self, spans: Sequence[Span]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return, per span, the summed negative log-likelihood of its scored tokens, in nats, and
        how many they are; (n,) each.
        """
        keys = [self.key(span) for span in spans]
        known = cache.read(self.store, list(dict.fromkeys(keys))) if self.store else {}
        asked = {k: span for k, span in zip(keys, spans, strict=True) if k not in known}
        losses = token_nll(self.lm, list(asked.values()), self.batch_tokens)
        new = {
            k: json.dumps([float(values.sum()), len(values)])
            for k, values in zip(asked, losses, strict=True)
        }
        if self.store:
            cache.write(self.store, new)
        answers = [json.loads(known[k] if k in known else new[k]) for k in keys]
        return np.array([a[0] for a in answers], np.float64), np.array(
            [a[1] for a in answers], np.int64
        )

    def key(self, span: Span) -> str:
        """Return the hash of a question: the model's files, the type it computes in, the tokens of
        context and target.
        """
        tokens = np.array(span.context + span.target, np.int64).tobytes()
        return hashlib.sha256(
            f"nll {self.lm.hash} {self.lm.dtype} {len(span.context)} ".encode() + tokens
        ).hexdigest()
