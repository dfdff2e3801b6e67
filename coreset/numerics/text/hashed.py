"""Texts as hashed counts: the features of GPT-3's quality classifier and of DSIR, bucket by bucket
as published.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from coreset.numerics.text.characters import whole_characters

Whole = NDArray[np.int64]
_WORD_PUNCT = re.compile(r"\w+|[^\w\s]+")


def _whole(text: str) -> str:
    return str(whole_characters([text])[0])


@lru_cache(2**18)
def _spark(term: str, buckets: int) -> int:
    from sklearn.utils import murmurhash3_32

    return int(murmurhash3_32(term, seed=42)) % buckets


def spark_buckets(text: str, buckets: int = 2**18) -> Whole:
    """Return the bucket of every term as Spark's Tokenizer and HashingTF give them: lower case, cut
    at white space, MurmurHash3 (32 bits, seed 42).

    >>> spark_buckets("To be to").tolist() == spark_buckets("to BE to").tolist()
    True
    """
    return np.array([_spark(t, buckets) for t in _whole(text).lower().split()], np.int64)


def _sha(term: str, buckets: int) -> int:
    return int.from_bytes(hashlib.sha256(term.encode("utf-8")).digest(), "big") % buckets


_sha_word = lru_cache(2**18)(_sha)


def dsir_buckets(text: str, buckets: int = 10_000) -> Whole:
    """Return the bucket of every word and of every two words in a row as DSIR has them: lower case,
    words and runs of signs, SHA-256 modulo `buckets`.

    n words give 2 n - 1 entries, first the words, then the pairs.

    >>> dsir_buckets("Alice went").tolist()[::2]
    [6720, 114]
    """
    words = _WORD_PUNCT.findall(_whole(text).lower())
    single = [_sha_word(w, buckets) for w in words]
    return np.array(
        single + [_sha(f"{a} {b}", buckets) for a, b in zip(words, words[1:], strict=False)],
        np.int64,
    )
