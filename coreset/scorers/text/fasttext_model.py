"""The file of a compressed fastText classifier such as lid.176.ftz: version 12, product quantized.

Joulin et al., "FastText.zip: Compressing text classification models", 2016 (arXiv:1612.03651). All
numbers are little-endian. In order: the settings; the vocabulary, words before labels, by falling
count; which hashed n-grams were kept; a code per pair of columns of each row and one for its norm;
the weights of the labels' tree.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.numerics.text.fasttext_predict import (
    BUCKETS,
    DIM,
    END,
    LABEL,
    LEAST,
    MOST,
    UNSEEN,
    Classifier,
    classifier,
)

_MAGIC, _VERSION = 793712314, 12
_SUPERVISED, _HIERARCHICAL = 3, 1
_CENTROIDS = 256  # of a quantizer


class _Stream:
    """The bytes of a file, read from the front."""

    def __init__(self, path: Path) -> None:
        self.path, self.data, self.at = path, path.read_bytes(), 0

    def wrong(self, why: str) -> ValueError:
        return ValueError(f"{self.path} is no model that can be read: {why}")

    def numbers(self, form: str) -> tuple[Any, ...]:
        """Return numbers of the types `form`, as `struct` spells them."""
        size = struct.calcsize(f"<{form}")
        if self.at + size > len(self.data):
            raise self.wrong(f"it ends after {len(self.data)} bytes")
        self.at += size
        return struct.unpack_from(f"<{form}", self.data, self.at - size)

    def array(self, kind: str, *shape: int) -> NDArray[Any]:
        """Return an array of the type `kind`, as NumPy spells it."""
        size = math.prod(shape) * np.dtype(kind).itemsize
        if min(shape) < 0 or self.at + size > len(self.data):
            raise self.wrong(f"it ends after {len(self.data)} bytes")
        self.at += size
        return np.frombuffer(self.data[self.at - size : self.at], kind).reshape(shape)

    def word(self) -> bytes:
        """Return the bytes up to the next zero."""
        start, end = self.at, self.data.find(b"\0", self.at)
        if end < 0:
            raise self.wrong(f"it ends after {len(self.data)} bytes")
        self.at = end + 1
        return self.data[start:end]

    def expect(self, what: str, got: object, expected: object) -> None:
        """Raise ValueError where the file has something else."""
        if got != expected:
            raise self.wrong(f"{what} {got}, expected {expected}")


def read_model(path: str | Path) -> tuple[Classifier, list[str]]:
    """Return the classifier in a file and its labels, without the mark "__label__".

    Raises FileNotFoundError where there is no file, and ValueError for one that is no such model,
    is cut short or needs more than lid.176.ftz does: other settings, a whole matrix.
    """
    file = _Stream(Path(path))
    file.expect("mark", file.numbers("i")[0], _MAGIC)
    file.expect("version", file.numbers("i")[0], _VERSION)
    dim, _, _, _, _, grams, loss, kind, buckets, least, most, _, _ = file.numbers("12id")
    file.expect("kind of model", kind, _SUPERVISED)
    file.expect("loss", loss, _HIERARCHICAL)
    file.expect("columns", dim, DIM)
    file.expect("words of an n-gram", grams, 1)
    file.expect("characters of an n-gram", (least, most), (LEAST, MOST))
    file.expect("buckets", buckets, BUCKETS)
    entries, counts, kept = _vocabulary(file)
    words = len(entries) - len(counts)
    rows = _quantized(file, words + len(kept))
    file.expect("quantized output", file.numbers("?")[0], False)
    file.expect("shape of the output", file.numbers("2q"), (len(counts), DIM))
    output = file.array("<f4", len(counts), DIM)
    file.expect("bytes", len(file.data), file.at)
    if not (np.isfinite(rows).all() and np.isfinite(output).all()):
        raise file.wrong("a weight is no finite number")
    gram = np.full(BUCKETS, -1, np.int32)
    if kept.size:
        for what, values, end in (("bucket", kept[:, 0], BUCKETS), ("row", kept[:, 1], len(kept))):
            if values.min() < 0 or values.max() >= end:
                raise file.wrong(f"the {what} of an n-gram is none of {end}")
        gram[kept[:, 0]] = words + kept[:, 1]
    try:
        model = classifier(entries, counts, gram, rows, output)
    except ValueError as error:
        raise file.wrong(str(error)) from None
    return model, [e[len(LABEL) :].decode("utf-8", "replace") for e in entries[words:]]


def _vocabulary(file: _Stream) -> tuple[list[bytes], NDArray[np.int64], NDArray[np.int32]]:
    """Return all entries, words before labels, the counts of the labels and the n-grams that were
    kept (n, 2): bucket, row after the words'.
    """
    size, words, labels, _, pruned = file.numbers("3i2q")
    if words < 1 or labels < 1 or size != words + labels:
        raise file.wrong(f"{size} entries of {words} words and {labels} labels")
    if pruned < 0:
        raise file.wrong("no n-gram is pruned")
    entries, counts = [], []
    for i in range(size):
        entries.append(file.word())
        count, kind = file.numbers("qb")
        counts.append(count)
        if kind != (i >= words) or entries[i].startswith(LABEL) != (i >= words):
            raise file.wrong(f"entry {entries[i]!r} stands among the wrong ones")
    file.expect("first word", entries[0], END)
    if min(counts[words:]) < 1 or sum(counts[words:]) >= UNSEEN:
        raise file.wrong(f"labels that occurred {counts[words:]} times")
    return entries, np.array(counts[words:], np.int64), file.array("<i4", pruned, 2)


def _quantized(file: _Stream, expected: int) -> NDArray[np.float32]:
    """Return a quantized matrix (expected, DIM): norm times centroids, each product rounded."""
    file.expect("quantized input", file.numbers("?")[0], True)
    file.expect("quantized norms", file.numbers("?")[0], True)
    rows, columns, size = file.numbers("qqi")
    file.expect("shape of the input", (rows, columns), (expected, DIM))
    parts = size // rows
    file.expect("codes", size, parts * rows)
    codes = file.array("u1", rows, parts)
    centroids = _centroids(file, DIM, parts)
    norms = file.array("u1", rows)
    norm = _centroids(file, 1, 1)[0, norms]
    whole: NDArray[np.float32] = centroids[np.arange(parts), codes].reshape(rows, DIM) * norm
    return whole


def _centroids(file: _Stream, dim: int, parts: int) -> NDArray[np.float32]:
    """Return the centroids of a quantizer (parts, 256, dim / parts)."""
    if parts < 1 or dim % parts:
        raise file.wrong(f"{parts} codes of {dim} columns")
    part = dim // parts
    file.expect("quantizer", file.numbers("4i"), (dim, parts, part, part))
    return file.array("<f4", parts, _CENTROIDS, part)
