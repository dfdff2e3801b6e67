"""Texts as vectors of a causal language model: its last hidden states, pooled over the tokens.

weighted: the mean weighted by position, 1 .. L, as SGPT (Muennighoff, 2022, arXiv:2202.08904) and
RDS+ (Ivison et al., 2025, arXiv:2503.01807; its released code also weighs padding, unless a batch
is one row); mean: every token alike; last: the last token alone, as Deita (Liu et al., ICLR 2024,
arXiv:2312.15685). Padding never counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset.core.batch import objects
from coreset.core.pool import Array
from coreset.scorers.language.chat import render
from coreset.scorers.language.contexts import Tokens, encode
from coreset.scorers.language.load import LanguageModel, load_tokenizer
from coreset.scorers.language.nll import default_budget
from coreset.scorers.language.scorer import LanguageScorer, texts
from coreset.scorers.language.spans import plan

POOLINGS = ("weighted", "mean", "last")


def pool_weights(lengths: Sequence[int], pooling: str) -> Tensor:
    """Return the weight of each token (n, longest) float64, rows summing to 1, 0 for padding on the
    right.

    >>> pool_weights([2, 1], "weighted").tolist()
    [[0.3333333333333333, 0.6666666666666666], [1.0, 0.0]]
    """
    length = torch.tensor(lengths)[:, None]
    at = torch.arange(1, max(lengths) + 1, dtype=torch.float64)
    weight = {"weighted": at, "mean": torch.ones_like(at), "last": (at == length).double()}[
        pooling
    ] * (at <= length)
    return weight / weight.sum(dim=1, keepdim=True)


@torch.inference_mode()
def hidden_means(
    lm: LanguageModel, tokens: Sequence[Tokens], pooling: str, batch_tokens: int | None = None
) -> NDArray[np.float32]:
    """Return one vector of length 1 per row of tokens (n, D), none of them empty. Values do not
    depend on batch_tokens but for rounding.
    """
    out = np.empty((len(tokens), lm.net.config.get_text_config().hidden_size), np.float32)
    for batch in plan(
        [len(t) for t in tokens], [0] * len(tokens), batch_tokens or default_budget(lm), 1
    ):
        lengths = [len(tokens[i]) for i in batch]
        # what stands behind a row is never seen by it
        ids = np.zeros((len(batch), max(lengths)), np.int64)
        for row, i in zip(ids, batch, strict=True):
            row[: len(tokens[i])] = tokens[i]
        last = lm.net.base_model(
            torch.from_numpy(ids).to(lm.device), use_cache=False
        ).last_hidden_state
        mean = torch.einsum(
            "nl,nld->nd", pool_weights(lengths, pooling).to(lm.device), last.double()
        )
        out[batch] = torch.nn.functional.normalize(mean, dim=1).float().cpu().numpy()
    return out


@dataclass(frozen=True)
class HiddenEmbedding(LanguageScorer):
    """Embed one text column, or the conversation in `messages` as the model's chat template writes
    it: gives `<column>_embedding` (n, D) float32, length 1, and its status.

    pooling: weighted, mean or last, see above. longest: tokens beyond it are cut off. Undefined:
    missing_field, empty_text, template_error (turns the chat template refuses).
    """

    column: str = "text"
    pooling: str = "weighted"
    longest: int = 2048

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling: expected {', '.join(POOLINGS)}, got {self.pooling!r}")
        if self.longest < 1:
            raise ValueError(f"longest: expected at least 1 token, got {self.longest}")
        if self.cache is not None:
            raise ValueError("cache: embeddings are not kept by content; leave it out")

    @property
    def needs(self) -> frozenset[str]:
        """Return the column that is read."""
        return frozenset({self.column})

    @property
    def gives(self) -> frozenset[str]:
        """Return the vector and its status."""
        return frozenset({f"{self.column}_embedding", f"{self.column}_embedding_status"})

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Return the vectors."""
        lm, rows = self.fitting(self.longest, "longest"), texts(batch, self.column)
        chat = self.column == "messages"
        status = ["missing_field" if t is None else "ok" for t in rows]
        for i, turns in enumerate(rows if chat else ()):
            if turns is not None:
                try:
                    rows[i] = render(lm.tokenizer, [dict(m) for m in turns], False)
                except Exception:  # whatever a template's author lets it raise
                    status[i] = "template_error"
        tokens = encode(
            load_tokenizer(self.model),
            [t if s == "ok" else "" for t, s in zip(rows, status, strict=True)],
            not chat,
        )
        for i, text in enumerate(rows):
            if status[i] == "ok" and not (text.strip() and tokens[i]):
                status[i] = "empty_text"
        good = [i for i, s in enumerate(status) if s == "ok"]
        out = np.full((len(rows), lm.net.config.get_text_config().hidden_size), np.nan, np.float32)
        out[good] = hidden_means(
            lm, [tokens[i][: self.longest] for i in good], self.pooling, self.batch_tokens
        )
        return {f"{self.column}_embedding": out, f"{self.column}_embedding_status": objects(status)}
