"""Synthetic inputs of the benchmarks: clustered features with a falling spectrum, and the
probabilities of a linear model on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.floating[Any]]
Whole = NDArray[np.int64]

ALPHA = 0.5  # the i-th direction inside a cluster has standard deviation i ** -ALPHA


def _blocks(
    n: int, dim: int, clusters: int, seed: int, block: int = 65536
) -> Iterator[tuple[slice, NDArray[np.float32], Whole]]:
    rng = np.random.default_rng(seed)
    scale = np.arange(1, dim + 1, dtype=np.float32) ** np.float32(-ALPHA)
    centers = rng.standard_normal((clusters, dim), dtype=np.float32) * scale * 2
    for start in range(0, n, block):
        size = min(block, n - start)
        label = rng.integers(clusters, size=size)
        part = rng.standard_normal((size, dim), dtype=np.float32)
        part *= scale
        part += centers[label]
        yield slice(start, start + size), part, label


def mixture(
    n: int, dim: int, clusters: int = 100, seed: int = 0
) -> tuple[NDArray[np.float32], Whole]:
    """Return features (n, dim) float32 of a Gaussian mixture and the cluster of each row."""
    x, label = np.empty((n, dim), np.float32), np.empty(n, np.int64)
    for part, rows, cluster in _blocks(n, dim, clusters, seed):
        x[part], label[part] = rows, cluster
    return x, label


def mixture_on_disk(
    path: Path, n: int, dim: int, clusters: int, seed: int = 0
) -> tuple[NDArray[np.float32], Whole]:
    """Return the same as `mixture`, the features as a read-only memory map of `path`, which is
    written when it is not there.
    """
    label = np.empty(n, np.int64)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        out = np.memmap(partial, np.float32, "w+", shape=(n, dim))
        for part, rows, cluster in _blocks(n, dim, clusters, seed):
            out[part], label[part] = rows, cluster
        out.flush()
        partial.rename(path)
        np.save(path.with_suffix(".labels.npy"), label)
    return np.memmap(path, np.float32, "r", shape=(n, dim)), np.load(
        path.with_suffix(".labels.npy")
    )


class Model(NamedTuple):
    """What a trained model says: probs (n, C) float32, labels (n,)."""

    probs: NDArray[np.float32]
    labels: Whole


def _softmax_blocks(
    x: Float, classes: int, seed: int, sharpness: float
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    w = np.random.default_rng(seed).standard_normal((x.shape[1], classes)).astype(np.float32)
    scale = 0.0
    for start in range(0, len(x), 16384):
        part = slice(start, min(start + 16384, len(x)))
        z = x[part] @ w
        scale = scale or sharpness / float(z.std())
        z *= scale
        z -= z.max(axis=1, keepdims=True)
        np.exp(z, out=z)
        z /= z.sum(axis=1, keepdims=True)
        yield part, z.astype(np.float32, copy=False)


def linear_model(x: Float, classes: int, seed: int = 1, sharpness: float = 3.0) -> Model:
    """Return softmax probabilities of a random linear model, and labels drawn from them."""
    rng = np.random.default_rng(seed)
    probs, labels = np.empty((len(x), classes), np.float32), np.empty(len(x), np.int64)
    for part, z in _softmax_blocks(x, classes, seed, sharpness):
        probs[part] = z
        labels[part] = np.minimum(
            (z.cumsum(axis=1) < rng.random((len(z), 1))).sum(axis=1), classes - 1
        )
    return Model(probs, labels)


def linear_model_on_disk(
    path: Path, x: Float, classes: int, seed: int = 1, sharpness: float = 3.0
) -> NDArray[np.float32]:
    """Return the probabilities of `linear_model` as a read-only memory map of `path`, which is
    written when it is not there.
    """
    if not path.exists():
        partial = path.with_suffix(".partial")
        out = np.memmap(partial, np.float32, "w+", shape=(len(x), classes))
        for part, z in _softmax_blocks(x, classes, seed, sharpness):
            out[part] = z
        out.flush()
        partial.rename(path)
    return np.memmap(path, np.float32, "r", shape=(len(x), classes))


def cosine_similarity(x: Float) -> NDArray[np.float32]:
    """Return 1/2 + 1/2 cos, (n, n) float32, symmetric, rounded to multiples of 2^-20 so that no
    peer decides a tie by rounding.
    """
    y = x / np.linalg.norm(x, axis=1, keepdims=True)
    s = y @ y.T
    s = np.maximum(s, s.T)
    out: NDArray[np.float32] = np.clip(np.rint((0.5 + 0.5 * s) * 2**20) / 2**20, 0, 1).astype(
        np.float32
    )
    return out
