import hashlib
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset.numerics.neighbors.leader_clustering import leaders
from coreset.numerics.neighbors.semantic import unit_rows
from coreset.numerics.text.hashed import dsir_buckets, spark_buckets


def murmur(data, seed):
    """MurmurHash3, 32 bits, straight from its definition."""
    mask = 0xFFFFFFFF

    def rotate(x, r):
        return ((x << r) | (x >> (32 - r))) & mask

    h = seed
    for i in range(0, len(data) // 4 * 4, 4):
        k = (
            rotate(int.from_bytes(data[i : i + 4], "little") * 0xCC9E2D51 & mask, 15) * 0x1B873593
            & mask
        )
        h = (rotate(h ^ k, 13) * 5 + 0xE6546B64) & mask
    tail = data[len(data) // 4 * 4 :]
    if tail:
        h ^= rotate(int.from_bytes(tail, "little") * 0xCC9E2D51 & mask, 15) * 0x1B873593 & mask
    h ^= len(data)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        h = ((h ^ (h >> shift)) * factor) & mask
    return h


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=9), max_size=6).map(
        " ".join
    )
)
def test_spark(text):
    signed = [
        h - 2**32 if h >= 2**31 else h
        for h in (murmur(t.encode(), 42) for t in text.lower().split())
    ]
    # Spark's non-negative remainder
    assert spark_buckets(text).tolist() == [h % 2**18 for h in signed]


def test_the_published_buckets_of_dsir():
    assert dsir_buckets("alice").tolist() == [6720]
    assert dsir_buckets("Alice went")[2] == 114


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("aB ,.!é字\n"), max_size=25))
def test_dsir(text):
    words = re.findall(r"\w+|[^\w\s]+", text.lower())
    terms = words + [f"{a} {b}" for a, b in zip(words, words[1:], strict=False)]
    assert dsir_buckets(text, 997).tolist() == [
        int(hashlib.sha256(t.encode()).hexdigest(), 16) % 997 for t in terms
    ]


@pytest.mark.parametrize("similarity", [0.3, 0.9, 0.99])
def test_leaders_are_the_plain_pass(similarity):
    rng = np.random.default_rng(0)
    x = unit_rows(
        rng.normal(size=(40, 8))[rng.integers(0, 40, 700)] + 0.1 * rng.normal(size=(700, 8))
    )
    c = x.astype(np.float64)
    c /= np.linalg.norm(c, axis=1, keepdims=True)
    firsts, own = [], []
    for i in range(len(c)):
        near = [k for k in firsts if c[i] @ c[k] >= similarity]
        own.append(near[0] if near else i)
        if not near:
            firsts.append(i)
    assert leaders(x, similarity).tolist() == own
    assert 1 < len(firsts) < 700
    with pytest.raises(ValueError, match="expected a cosine"):
        leaders(x, 2)
