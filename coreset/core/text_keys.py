"""64-bit keys of texts: equal texts have equal keys, in every process and on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def text_keys(texts: Iterable[str]) -> NDArray[np.uint64]:
    """Return the BLAKE2b hash of every text (n,) uint64. Two of a billion different texts share a
    key with a chance of 3 %: whoever reads equality from it compares the texts too.

    >>> a, b, c = text_keys(["row 1", "row 2", "row 1"])
    >>> bool(a == c), bool(a == b)
    (True, False)
    """
    digests = [
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        for text in texts
    ]
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)
