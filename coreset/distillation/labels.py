"""Labels of a distilled set: their kinds, their checks, logits as probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = ("hard", "probs", "logits", "crops", "online")


def soften(logits: NDArray[Any], temperature: float) -> NDArray[np.float32]:
    """Return probabilities of logits (..., classes) at a temperature.

    >>> soften(np.array([[0.0, 4.0 * np.log(3)]]), 4.0).tolist()
    [[0.25, 0.75]]
    """
    z = logits.astype(np.float64) / temperature
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True), np.float32)


def check_labels(
    labels: NDArray[Any], kind: str, images: int, decode: int, classes: tuple[str, ...]
) -> NDArray[Any]:
    """Return labels as int64 or as floats, after checking shape and range: see `Synthetic`."""
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise ValueError(f"classes: expected at least two different names, got {list(classes)}")
    if kind in ("hard", "online"):
        if labels.shape != (images,) or labels.dtype.kind not in "iu":
            raise ValueError(
                f"labels: expected {images} whole numbers, one per image, got {labels.dtype} of"
                f" shape {labels.shape}"
            )
        if labels.min() < 0 or labels.max() >= len(classes):
            raise ValueError(
                f"labels: expected 0 .. {len(classes) - 1}, got {labels.min()} .. {labels.max()}"
            )
        return labels.astype(np.int64)
    cells = images * decode**2
    if kind == "crops":
        fits = labels.ndim == 3 and len(labels) and labels.shape[1:] == (cells, len(classes))
        wanted = f"(crops, {cells}, {len(classes)})"
    else:
        fits = labels.shape in ((images, len(classes)), (cells, len(classes)))
        wanted = f"({images}, {len(classes)})" + (
            f" or ({cells}, {len(classes)})" if decode > 1 else ""
        )
    if not fits or labels.dtype.kind != "f":
        raise ValueError(
            f"labels: expected floats of shape {wanted}, got {labels.dtype} of shape {labels.shape}"
        )
    if not np.isfinite(labels).all():
        raise ValueError("labels: some are NaN or infinite")
    if kind == "probs" and (
        (labels < 0).any() or (np.abs(labels.sum(axis=1, dtype=np.float64) - 1) > 1e-2).any()
    ):
        raise ValueError(
            "labels: expected probabilities, non-negative and summing to 1; logits are"
            " kind='logits'"
        )
    return labels if labels.dtype.name in ("float16", "float32") else labels.astype(np.float32)
