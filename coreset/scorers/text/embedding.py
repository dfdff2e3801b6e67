"""Texts as vectors: the mean of a sentence encoder's last layer, at unit length.

Reimers & Gurevych, "Sentence-BERT", EMNLP 2019 (arXiv:1908.10084). What stands for a text is the
mean over its tokens; padding does not count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from coreset.core.batch import objects
from coreset.core.pool import Array
from coreset.numerics.text.characters import whole_characters
from coreset.scorers.device import OnDevice, torch_device
from coreset.scorers.language.load import model_hash, read_part


@lru_cache(maxsize=2)
def _load(model: str, device: str) -> tuple[Any, Any, torch.device]:
    place = torch_device(device)
    net = read_part("weights", model, "AutoModel")
    return (
        read_part("tokenizer", model, "AutoTokenizer"),
        net.eval().requires_grad_(False).to(place),
        place,
    )


def encode_texts(
    texts: Sequence[str], model: str, longest: int = 256, batch: int = 64, device: str = "auto"
) -> NDArray[np.float32]:
    """Return one vector of length 1 per text (n, D), NaN for one that has no token. model: a
    folder, an asset or a name; longest: tokens beyond it are cut off.

    Texts of like length go through the model together, so that little padding does; the answer does
    not depend on it but for rounding.
    """
    tokenizer, net, place = _load(model, device)
    clean = whole_characters(texts)
    tokens = (
        tokenizer(clean, truncation=True, max_length=longest)["input_ids"] if len(texts) else []
    )
    order = [i for i in np.argsort([-len(t) for t in tokens], kind="stable").tolist() if tokens[i]]
    out = np.full((len(texts), net.config.hidden_size), np.nan, np.float32)
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        padded = tokenizer.pad({"input_ids": [tokens[i] for i in rows]}, return_tensors="pt").to(
            place
        )
        with torch.inference_mode():
            last = net(**padded).last_hidden_state.float()
        mask = padded["attention_mask"][:, :, None].float()
        mean = (last * mask).sum(dim=1) / mask.sum(dim=1)
        out[rows] = torch.nn.functional.normalize(mean, dim=1).cpu().numpy()
    return out


@dataclass(frozen=True)
class SentenceEmbedding(OnDevice):
    """Embed one text column: gives `<column>_embedding` (n, D) float32, unit length, and its
    status.

    model: a folder, an asset (`minilm`) or a name that transformers knows. prefix: put before every
    text, as some encoders want ("query: "). Missing and blank texts have no vector: NaN, nor have
    those the tokenizer has no token for (too_short).
    """

    model: str = "minilm"
    column: str = "text"
    prefix: str = ""
    longest: int = 256
    batch: int = 64
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.longest < 1 or self.batch < 1:
            raise ValueError(
                f"longest and batch: expected at least 1, got {self.longest} and {self.batch}"
            )

    @property
    def needs(self) -> frozenset[str]:
        """Return the column that is read."""
        return frozenset({self.column})

    @property
    def gives(self) -> frozenset[str]:
        """Return the vector and its status."""
        return frozenset({f"{self.column}_embedding", f"{self.column}_embedding_status"})

    def resources(self) -> dict[str, str]:
        """Return the hash of the model."""
        return {"model": model_hash(self.model)}

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Return the vectors."""
        texts = list(batch[self.column])
        status = objects(
            ["missing_field" if t is None else "ok" if t.strip() else "empty_text" for t in texts]
        )
        there = np.flatnonzero(status == "ok")
        vectors = encode_texts(
            [self.prefix + texts[i] for i in there.tolist()],
            self.model,
            self.longest,
            self.batch,
            self.device,
        )
        out = np.full((len(texts), vectors.shape[1]), np.nan, np.float32)
        out[there] = vectors
        status[there[np.isnan(vectors).any(axis=1)]] = "too_short"
        return {f"{self.column}_embedding": out, f"{self.column}_embedding_status": status}
