"""What the scorers of a language model have in common: the model, how it computes, and where its
answers are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.batch import objects
from coreset.scorers.device import OnDevice
from coreset.scorers.language.contexts import Tokens, encode
from coreset.scorers.language.likelihood import TokenLikelihood
from coreset.scorers.language.load import (
    DTYPES,
    LanguageModel,
    load,
    load_tokenizer,
    model_hash,
    tokenizer_hash,
)

OVER_LONG = ("undefined", "truncate")


@dataclass(frozen=True)
class LanguageScorer(OnDevice):
    """A score of a causal language model.

    model: a folder (safetensors), a GGUF file, an asset (scripts/fetch_assets.py) or a name that
    transformers knows. dtype: float32 is the reference; bfloat16 is about twice as fast on
    processors that have it and moves the loss of a short text by up to a few tenths. device: auto =
    the GPU when there is one. batch_tokens: tokens of a padded batch, None = 1,024 on a CPU and
    16,384 on a GPU. cache: an SQLite file of losses by content and model, or None. Values do not
    depend on batches but for rounding (about 1e-6), and are written as float32.
    """

    model: str
    dtype: str = "float32"
    device: str = "auto"
    batch_tokens: int | None = None
    cache: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not self.model:
            raise ValueError(
                "model: expected the folder, GGUF file or name of a language model (model=...)"
            )
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype: expected {', '.join(DTYPES)}, got {self.dtype!r}")
        if self.batch_tokens is not None and self.batch_tokens < 1:
            raise ValueError(f"batch_tokens: expected at least 1, got {self.batch_tokens}")

    def resources(self) -> dict[str, str]:
        """Return the hashes of what the score is made of besides its parameters."""
        return {"model": model_hash(self.model), "tokenizer": tokenizer_hash(self.model)}

    def likelihood(self) -> TokenLikelihood:
        """Return the model as it is asked; loaded when first used in a process."""
        return TokenLikelihood(
            load(self.model, self.dtype, self.device), self.batch_tokens, self.cache
        )

    def fitting(self, length: int, what: str) -> LanguageModel:
        """Return the model after checking that it takes `length` tokens."""
        lm = load(self.model, self.dtype, self.device)
        if length > lm.longest:
            raise ValueError(f"{what}: {length} tokens, but {self.model} takes {lm.longest}")
        return lm

    def start(self, token: str | int | None) -> Tokens:
        """Return the start token: of this text or number, or (auto) the one the tokenizer names,
        else its end token; () for None.

        Raises ValueError for a text that is not one token and a number that the tokenizer has no
        token for, and TypeError for what is neither.
        """
        if token is None:
            return ()
        tokenizer = load_tokenizer(self.model)
        if isinstance(token, int) and not isinstance(token, bool):  # 0 is a token like any other
            if not 0 <= token < len(tokenizer):
                raise ValueError(
                    f"start_token: expected a token of {self.model}, 0 to {len(tokenizer) - 1}, got"
                    f" {token}"
                )
            return (token,)
        if not isinstance(token, str):
            raise TypeError(
                f"start_token: expected a token's text or number, auto or null, got {token!r}"
            )
        if token == "auto":
            number = (
                tokenizer.bos_token_id
                if tokenizer.bos_token_id is not None
                else tokenizer.eos_token_id
            )
            if number is None:
                raise ValueError(f"start_token: {self.model} names none; give one")
            return (int(number),)
        ids = encode(tokenizer, [token], False)[0]
        if len(ids) != 1:
            raise ValueError(
                f"start_token: {token!r} is {len(ids)} tokens of {self.model}, expected one"
            )
        return ids


def texts(batch: Mapping[str, Any], name: str) -> list[Any]:
    """Return a column as a list, None where a value is missing."""
    return [
        None if v is None or (isinstance(v, float) and np.isnan(v)) else v
        for v in list(batch[name])
    ]


def written(
    columns: Mapping[str, NDArray[Any]], status: Sequence[str], name: str
) -> dict[str, Any]:
    """Return the columns of a score: numbers as float32 (counts as they are), NaN where there is
    none, and the status, which says so.

    >>> written({"loss": np.array([1.0, np.nan])}, ["ok", "ok"], "loss")["loss_status"].tolist()
    ['ok', 'non_finite']
    """
    with np.errstate(over="ignore"):
        out: dict[str, Any] = {
            n: v if v.dtype.kind in "iu" else v.astype(np.float32) for n, v in columns.items()
        }
    words = [
        "non_finite" if s == "ok" and not np.isfinite(v) else s
        for s, v in zip(status, out[name], strict=True)
    ]
    for n, v in out.items():
        if v.dtype.kind == "f":
            out[n] = np.where(np.isfinite(v), v, np.float32(np.nan))
    return out | {f"{name}_status": objects(words)}
