"""How well a text fits its image without any model trained on pairs: ConSE.

Norouzi et al., "Zero-Shot Learning by Convex Combination of Semantic Embeddings", ICLR 2014
(arXiv:1312.5650): an image is the mean of the word vectors of its most probable ImageNet classes,
weighted by their probabilities; here the vectors are those of a sentence encoder for "a picture of
a <class>", and the score is the cosine with that of the caption. It is no CLIP, and its numbers
cannot be compared with CLIPScore's; it needs nothing that has to be downloaded from a model hub.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from coreset.core.pool import Array
from coreset.core.ranges import check_range
from coreset.scorers.device import OnDevice
from coreset.scorers.image.backbone import LITE0
from coreset.scorers.image.classifier import probabilities
from coreset.scorers.image_text.clip import pair_status
from coreset.scorers.language.load import model_hash
from coreset.scorers.text.embedding import encode_texts


@lru_cache(maxsize=2)
def class_vectors(encoder: str, device: str) -> NDArray[np.float32]:
    """Return the vectors (1000, D) of ImageNet's classes, each by its first name."""
    from timm.data import ImageNetInfo

    names = [n.split(",")[0].strip() for n in ImageNetInfo().label_descriptions()]
    return encode_texts([f"a picture of a {n}" for n in names], encoder, device=device)


def combine(
    probs: NDArray[np.floating], vectors: NDArray[np.floating], top: int
) -> NDArray[np.float32]:
    """Return unit vectors (n, D): the sum of the `top` most probable classes' vectors, weighted by
    their probabilities; ties go to the first class.

    >>> combine(np.array([[0.6, 0.4, 0.0]]), np.eye(3), 2).round(3).tolist()
    [[0.8320000171661377, 0.5550000071525574, 0.0]]
    """
    order = np.argsort(-probs, axis=1, kind="stable")[:, :top]
    weight = np.take_along_axis(probs, order, axis=1).astype(np.float64)
    mean = np.einsum("nt,ntd->nd", weight, vectors[order].astype(np.float64))
    return np.asarray(mean / np.linalg.norm(mean, axis=1, keepdims=True), np.float32)


@dataclass(frozen=True)
class Conse(OnDevice):
    """Compare images with their texts by way of ImageNet's classes, inside `Images`: gives `conse`
    (-1 to 1), its status and `conse_certainty`, the largest class probability.

    Where no class is likely there is little to compare: read the score with its certainty.
    classifier: a model of timm with ImageNet's 1,000 classes; encoder: a sentence encoder. top:
    classes that count.
    """

    classifier: str = LITE0
    encoder: str = "minilm"
    column: str = "text"
    top: int = 10
    size: int = 224
    batch: int = 32
    device: str = "auto"

    gives = frozenset({"conse", "conse_status", "conse_certainty"})

    def __post_init__(self) -> None:
        check_range("a number of classes in [1, 1000]", top=self.top)

    @property
    def needs(self) -> frozenset[str]:
        """Return the pixels and the text."""
        return frozenset({"pixels", self.column})

    def resources(self) -> dict[str, str]:
        """Return the hash of the encoder."""
        return {"encoder": model_hash(self.encoder)}

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Return the scores of every pair."""
        images, texts = batch["pixels"], batch[self.column]
        status = pair_status(batch, self.column)
        there = np.flatnonzero(status == "ok")
        score, sure = (
            np.full(len(texts), np.nan, np.float32),
            np.full(len(texts), np.nan, np.float32),
        )
        if len(there):
            rows = there.tolist()
            probs = probabilities(
                [images[i] for i in rows], self.classifier, self.size, self.batch, self.device
            )
            vectors = class_vectors(self.encoder, self.device)
            if probs.shape[1] != len(vectors):
                raise ValueError(
                    f"classifier: {self.classifier} has {probs.shape[1]} classes, expected"
                    f" ImageNet's {len(vectors)}"
                )
            read = encode_texts([str(texts[i]) for i in rows], self.encoder, device=self.device)
            score[there] = (combine(probs, vectors, self.top) * read).sum(axis=1)
            sure[there] = probs.max(axis=1)
        return {"conse": score, "conse_status": status, "conse_certainty": sure}
