"""Places on the map and nearest neighbors, from the vectors of rows or from what they hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coreset.numerics.pca import plane

PROJECTIONS = ("auto", "tsne", "umap", "pca")
_TSNE = 2_000  # rows up to which `auto` takes t-SNE: a few seconds
_EXACT = 60_000  # rows up to which neighbors are exact
_BUCKETS, _AXES, _AXES_FROM = 2**14, 32, 20_000


def text_vectors(texts: Sequence[str | None] | pa.ChunkedArray) -> NDArray[np.float32]:
    """Return vectors (N, <= 32) of texts: words and pairs of them hashed, weighed by how rare they
    are, on their main axes. What the map is drawn from where a run has no embedding.

    Rarity and axes are those of every k-th text, of at most 40,000; the rest is read in parts.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    hashed = HashingVectorizer(
        n_features=_BUCKETS, ngram_range=(1, 2), alternate_sign=False, norm=None
    )

    def counts(part: Sequence[str | None] | pa.ChunkedArray) -> Any:
        plain = part.to_pylist() if isinstance(part, pa.ChunkedArray) else part
        return hashed.transform(t or "" for t in plain)

    size = len(texts)
    step = max(1, size // _AXES_FROM)
    few = counts(texts.take(pa.array(np.arange(0, size, step))) if isinstance(texts, pa.ChunkedArray) else texts[::step])  # fmt: skip
    weights = TfidfTransformer(sublinear_tf=True).fit(few)
    few = weights.transform(few)
    axes = min(_AXES, few.shape[0] - 1, few.shape[1] - 1)
    if axes < 2:
        return np.asarray(few[:, :2].toarray(), np.float32)
    svd = TruncatedSVD(axes, random_state=0).fit(few)
    out = np.empty((size, axes), np.float32)
    for start in range(0, size, _AXES_FROM):
        part = counts(texts[start : start + _AXES_FROM])
        out[start : start + _AXES_FROM] = svd.transform(weights.transform(part))
    norms = np.linalg.norm(out, axis=1, keepdims=True)
    return np.asarray(out / np.maximum(norms, 1e-12), np.float32)


def image_vectors(thumbnails: Sequence[bytes | None]) -> NDArray[np.float32]:
    """Return vectors (N, 192) of thumbnails: 8 × 8 pixels in color; NaN where there is none."""
    from PIL import Image

    from coreset.scorers.image.files import open_image

    out = np.full((len(thumbnails), 192), np.nan, np.float32)
    for i, data in enumerate(thumbnails):
        if data is not None:
            with open_image(data) as image:
                small = image.convert("RGB").resize((8, 8), Image.Resampling.BOX)
            out[i] = np.asarray(small, np.float32).ravel() / 255
    return out


def places(x: NDArray[Any], projection: str = "auto") -> tuple[NDArray[np.float64], str]:
    """Return the place of every row (N, 2), NaN where its vector is not finite, and how it was
    made: `tsne`, `umap` (both seed 0) or `pca`; `auto` is t-SNE up to 2,000 rows, else PCA.

    Raises ValueError for another projection, ImportError for `umap` without umap-learn.
    """
    if projection not in PROJECTIONS:
        raise ValueError(f"projection: expected {', '.join(PROJECTIONS)}, got {projection!r}")
    known = np.isfinite(x).all(axis=1)
    n = int(known.sum())
    if projection == "auto":
        projection = "tsne" if 10 <= n <= _TSNE else "pca"
    how = projection if n >= 10 else "pca"
    out = np.full((len(x), 2), np.nan)
    out[known] = _METHODS[how](np.asarray(x[known], np.float32)) if n else 0
    return out, how


def _tsne(x: NDArray[np.float32]) -> NDArray[Any]:
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(x) - 1) / 3)
    return np.asarray(TSNE(perplexity=perplexity, max_iter=300, random_state=0).fit_transform(x))


def _umap(x: NDArray[np.float32]) -> NDArray[Any]:
    try:
        import umap
    except ImportError as error:
        raise ImportError(
            "projection=umap needs umap-learn: pip install 'coreset-lightning[explore]'"
        ) from error
    import warnings

    with warnings.catch_warnings(action="ignore"):
        reducer = umap.UMAP(n_neighbors=min(15, len(x) - 1), random_state=0, n_jobs=1)
        return np.asarray(reducer.fit_transform(x))


_METHODS: dict[str, Callable[[NDArray[np.float32]], NDArray[Any]]] = {
    "tsne": _tsne,
    "umap": _umap,
    "pca": plane,
}


def neighbors(x: NDArray[Any], k: int = 8) -> list[dict[str, list[Any]] | None] | None:
    """Return the `k` nearest rows of every row, {ids, distances}, None where its vector is not
    finite; None where there are more than 60,000 rows, or too few.
    """
    import torch

    from coreset.numerics.neighbors.nearest import knn

    known = np.flatnonzero(np.isfinite(x).all(axis=1))
    k = min(k, len(known) - 1)
    if k < 1 or len(known) > _EXACT:
        return None
    distance, index = knn(torch.from_numpy(np.ascontiguousarray(x[known], np.float32)), k)
    ids, far = known[index.numpy()].tolist(), distance.numpy().tolist()
    out: list[dict[str, list[Any]] | None] = [None] * len(x)
    for row, near, away in zip(known.tolist(), ids, far, strict=True):
        out[row] = {"ids": near, "distances": away}
    return out
