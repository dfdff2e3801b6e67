"""CLIPScore of vectors that are there already: of images and texts embedded elsewhere, by one model
for both.

CLIPScore = 2.5 max(cos, 0): Hessel et al., "CLIPScore", EMNLP 2021 (arXiv:2104.08718).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coreset.core.batch import objects
from coreset.core.pool import Array

WEIGHT = 2.5


def clip_score(
    images: ArrayLike, texts: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return cosine and CLIPScore, (n,) each, of vectors of images and of texts (n, D), of any
    length; NaN where one is zero or not finite.

    Raises ValueError for other shapes. Hessel et al., EMNLP 2021 (arXiv:2104.08718).

    >>> [
    ...     v.round(3).tolist()
    ...     for v in clip_score([[3.0, 4.0], [1.0, 0.0]], [[1.0, 0.0], [-2.0, 0.0]])
    ... ]
    [[0.6, -1.0], [1.5, 0.0]]
    """
    a, b = np.asarray(images, np.float64), np.asarray(texts, np.float64)
    if a.ndim != 2 or a.shape != b.shape:
        raise ValueError(
            f"images, texts: expected vectors (n, D) of one shape, got {a.shape} and {b.shape}"
        )
    cosine = np.full(len(a), np.nan)
    there = np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1) & a.any(axis=1) & b.any(axis=1)
    # no square overflows
    x, y = (v[there] / np.abs(v[there]).max(axis=1, keepdims=True, initial=0) for v in (a, b))
    cosine[there] = (
        (x * y).sum(axis=1) / (np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1))
    ).clip(-1, 1)
    return cosine, WEIGHT * np.maximum(cosine, 0)


@dataclass(frozen=True)
class VectorClipScore:
    """Compare images with their texts by columns of vectors: gives `clip_cosine` (-1 to 1),
    `clipscore` (0 to 2.5) and `clip_status`, as `ClipScore` does of pixels.

    image_vectors, text_vectors: names of columns (n, D), of the same model. Undefined, with the
    status: missing_field, non_finite, zero_vector, wrong_size.
    """

    image_vectors: str = "image_embedding"
    text_vectors: str = "text_embedding"

    gives = frozenset({"clip_cosine", "clipscore", "clip_status"})

    def __post_init__(self) -> None:
        if self.image_vectors == self.text_vectors:
            raise ValueError(
                f"image_vectors and text_vectors: expected two columns, got {self.text_vectors!r}"
                " twice"
            )

    @property
    def needs(self) -> frozenset[str]:
        """Return the two columns."""
        return frozenset({self.image_vectors, self.text_vectors})

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Return the scores of every pair."""
        images, texts = batch[self.image_vectors], batch[self.text_vectors]
        status = [_status(a, b) for a, b in zip(images, texts, strict=True)]
        cosine, score = np.full(len(status), np.nan), np.full(len(status), np.nan)
        for i, word in enumerate(status):
            if word == "ok":
                (cosine[i],), (score[i],) = clip_score([images[i]], [texts[i]])
        return {"clip_cosine": cosine, "clipscore": score, "clip_status": objects(status)}


def _status(image: object, text: object) -> str:
    """Return whether two vectors can be compared: a missing one is None, or NaN all over in a
    column of vectors.
    """
    if image is None or text is None:
        return "missing_field"
    a, b = np.asarray(image, np.float64), np.asarray(text, np.float64)
    if a.shape != b.shape or a.ndim != 1 or not a.size:
        return "wrong_size"
    if np.isnan(a).all() or np.isnan(b).all():
        return "missing_field"
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return "non_finite"
    return "ok" if a.any() and b.any() else "zero_vector"
