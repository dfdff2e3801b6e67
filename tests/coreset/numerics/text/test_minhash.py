import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset.numerics.text.minhash import EMPTY, band_keys, signatures
from coreset.numerics.text.near_duplicates import jaccard, near_duplicates

WORDS = [
    a + b for a in "bdfgklmnprst" for b in ("a", "e", "ia", "or", "ux")
]  # no digits, no punctuation: folding leaves them alone


def grams(text, n):
    w = text.split()
    return {tuple(w[i : i + n]) for i in range(len(w) - n + 1)}


def true_jaccard(a, b, n):
    x, y = grams(a, n), grams(b, n)
    return len(x & y) / len(x | y) if x | y else np.nan


def pair(rng, size, changes):
    a = rng.choice(WORDS, size).tolist()
    b = list(a)
    for i in rng.choice(size, changes, replace=False):
        b[i] = "zz" + str(rng.choice(WORDS))
    return " ".join(a), " ".join(b)


def corpus(rng, groups, copies, size=60):
    texts = []
    for _ in range(groups):
        base = rng.choice(WORDS, size).tolist()
        for _ in range(copies):
            w = list(base)
            for i in rng.choice(size, int(rng.integers(0, 5)), replace=False):
                w[i] = str(rng.choice(WORDS))
            texts.append(" ".join(w))
    return texts


@pytest.mark.parametrize(("size", "changes"), [(6, 1), (20, 2), (60, 3), (400, 40)])
def test_the_estimate_is_unbiased_and_no_wider_than_with_permutations(size, changes):
    """Over many seeds the mean is the true Jaccard similarity, and the variance at most that of as
    many independent permutations, J (1 - J) / t.
    """
    a, b = pair(np.random.default_rng(size), size, changes)
    want = true_jaccard(a, b, 3)
    t, seeds = 64, 3000
    got = np.empty(seeds)
    for seed in range(seeds):
        s, _ = signatures([a, b], n=3, size=t, seed=seed)
        got[seed] = (s[0] == s[1]).mean()
    permutations = want * (1 - want) / t
    assert abs(got.mean() - want) < 4 * np.sqrt(permutations / seeds)
    assert got.var() < permutations * (1 + 4 * np.sqrt(2 / seeds))


def test_every_position_agrees_as_often_as_the_similarity():
    a, b = pair(np.random.default_rng(1), 40, 4)
    want = true_jaccard(a, b, 3)
    hits = np.zeros(32)
    for seed in range(2000):
        s, _ = signatures([a, b], n=3, size=32, seed=seed)
        hits += s[0] == s[1]
    assert np.abs(hits / 2000 - want).max() < 4.5 * np.sqrt(want * (1 - want) / 2000)


@pytest.mark.parametrize("s", [0.5, 0.7, 0.8, 0.9])
def test_recall_of_the_bands_is_that_of_permutations(s):
    """P(candidate) = 1 - (1 - J^r)^b, measured over seeds against the curve and against 112 true
    permutations.
    """
    rng = np.random.default_rng(int(10 * s))
    size = 300
    a = [f"{x}{y}" for x, y in zip(rng.choice(WORDS, size), rng.choice(WORDS, size), strict=True)]
    b = list(a)
    while true_jaccard(" ".join(a), " ".join(b), 1) > s:
        b[int(rng.integers(size))] = "zz" + "".join(rng.choice(WORDS, 2))
    want = true_jaccard(" ".join(a), " ".join(b), 1)
    trials = 1500
    hits = sum(
        bool(
            (k := band_keys([" ".join(a), " ".join(b)], 1, 14, 8, seed).keys)[0][k[0] == k[1]].any()
        )
        for seed in range(trials)
    )
    curve = 1 - (1 - want**8) ** 14
    shared, union = len(set(a) & set(b)), len(set(a) | set(b))
    # an independent permutation agrees with probability J
    agree = rng.random((trials, 14, 8)) < shared / union
    by_permutations = agree.all(axis=2).any(axis=1).mean()
    spread = np.sqrt(curve * (1 - curve) / trials)
    assert abs(hits / trials - curve) < 4 * spread + 0.02
    assert abs(hits / trials - by_permutations) < 6 * spread + 0.02


def test_a_signature_is_the_minimum_over_the_shingles():
    """So the signature of a union is the smaller of the two, position by position: what makes a
    state mergeable.
    """
    a, b = "one two three four five", "five six seven eight nine"
    sa, sb = signatures([a, b], n=1, size=64)[0]
    union, _ = signatures([a + " " + b], n=1, size=64)
    assert (union[0] == np.minimum(sa, sb)).all()


def test_order_and_repeats_of_the_text_do_not_matter_to_single_words():
    s, counts = signatures(["a b c", "c b a a", ""], n=1, size=32)
    assert (s[0] == s[1]).all()
    assert counts.tolist() == [3, 4, 0]
    assert (s[2] == EMPTY).all()


def test_jaccard_is_the_true_one():
    rng = np.random.default_rng(0)
    texts = [*corpus(rng, 3, 4), "a b", ""]
    pairs = np.array([(i, j) for i in range(len(texts)) for j in range(len(texts))])
    got = jaccard(texts, pairs, 5)
    want = [true_jaccard(texts[i], texts[j], 5) for i, j in pairs]
    np.testing.assert_allclose(got, want)


def plain_groups(texts, n, bands, rows, threshold):
    """All pairs that share a key, verified by Python sets, joined one by one."""
    keys = band_keys(texts, n, bands, rows).keys
    label = list(range(len(texts)))
    for i in range(len(texts)):
        for j in range(i):
            if (
                keys[i].any()
                and (keys[i] == keys[j]).any()
                and true_jaccard(texts[i], texts[j], n) >= threshold
            ):
                old, new = max(label[i], label[j]), min(label[i], label[j])
                label = [new if x == old else x for x in label]
    return label


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.9])
def test_groups_are_the_plain_ones(threshold):
    rng = np.random.default_rng(3)
    texts = corpus(rng, 12, 5)
    texts = [texts[i] for i in rng.permutation(len(texts))]
    texts += ["x y", "", "x y", texts[0]]
    got = near_duplicates(texts, 5, 14, 8, threshold)
    assert got.tolist() == plain_groups(texts, 5, 14, 8, threshold)
    assert 10 < len(set(got.tolist())) < len(texts)
    assert got[-1] == got[0]
    assert got[60:63].tolist() == [60, 61, 62]  # too short for a 5-gram: duplicates of nothing


def test_verification_takes_what_the_bands_let_through():
    rng = np.random.default_rng(5)
    texts = corpus(rng, 8, 4)
    loose = near_duplicates(texts, 5, 60, 1, 0.999)  # nearly every pair is a candidate
    assert loose.tolist() == [
        next(j for j in range(i + 1) if grams(texts[j], 5) == grams(t, 5))
        for i, t in enumerate(texts)
    ]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_the_texts_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    texts = corpus(rng, 5, 4, 30)
    order = rng.permutation(len(texts))
    a, b = near_duplicates(texts, 3), near_duplicates([texts[i] for i in order], 3)
    together = a[:, None] == a
    assert ((b[:, None] == b) == together[np.ix_(order, order)]).all()


def test_case_accents_punctuation_and_numbers_are_no_difference():
    a = "The Café opened in 1999, and it served 1,200 guests. Nobody complained!"
    b = "the cafe opened in 2024 and it served 7 guests nobody complained"
    assert near_duplicates([a, b], threshold=1.0, numbers="fold").tolist() == [0, 0]
    assert near_duplicates([a, b], threshold=1.0).tolist() == [0, 1]
    assert near_duplicates(
        [a, a.upper().replace("É", "e").replace(".", " ")], threshold=1.0
    ).tolist() == [0, 0]


def numbered_grams(text, n):
    w = re.findall(r"[a-z0-9.,]*[a-z0-9]", text.lower())
    return {tuple(w[i : i + n]) for i in range(len(w) - n + 1)}


def test_a_similarity_with_numbers_is_the_true_one():
    """Pairs whose numbers differ, or are all they share: plain sets of n-grams of the words as they
    are written.
    """
    rng = np.random.default_rng(2)
    texts = []
    for _ in range(30):
        words = [
            str(rng.choice(WORDS)) if rng.random() < 0.5 else str(rng.integers(0, 3000))
            for _ in range(12)
        ]
        texts += [" ".join(words), " ".join(w if rng.random() < 0.8 else "1,5" for w in words)]
    pairs = np.array([(i, j) for i in range(60) for j in range(i)])
    want = []
    for i, j in pairs:
        a, b = numbered_grams(texts[i], 2), numbered_grams(texts[j], 2)
        want.append(len(a & b) / len(a | b))
    np.testing.assert_allclose(jaccard(texts, pairs, 2), want)
    assert np.max(np.abs(jaccard(texts, pairs, 2, numbers="fold") - want)) > 0.3


def test_invoices_and_sums_are_texts_of_their_own():
    invoices = [
        f"Invoice number {1000 + i}: please pay {17 * i + 3}.50 euros for {i + 2} items by the"
        f" {i % 28 + 1}th of May."
        for i in range(100)
    ]
    sums = [
        f"What is {i * 7} plus {i * 3 + 1}, and what is {i} times {i + 12}?" for i in range(100)
    ]
    for texts in (invoices, sums):
        assert len(set(near_duplicates(texts).tolist())) == 100
        assert len(set(near_duplicates(texts, numbers="fold").tolist())) == 1


def test_chinese_text_has_shingles_without_spaces():
    a = "今天天气很好我们一起去公园散步吧然后回家吃饭"
    assert near_duplicates(
        [a, a[:-1] + "水", "完全不同的一句话没有任何相同的内容在里面"], threshold=0.6
    ).tolist() == [
        0,
        0,
        2,
    ]


def test_sliced_arrow_columns_and_missing_texts():
    texts = ["p q r s t u", None, "a b c d e f", "a b c d e f"]
    assert near_duplicates(pa.array(texts)).tolist() == [0, 1, 2, 2]
    assert near_duplicates(pa.array(["x", *texts])[1:]).tolist() == [0, 1, 2, 2]
    assert near_duplicates(pa.array([], pa.string())).tolist() == []


def test_many_copies_of_one_text_take_no_quadratic_time():
    assert len(set(near_duplicates(["one two three four five six seven"] * 20_000).tolist())) == 1


def test_wrong_parameters():
    with pytest.raises(ValueError, match=r"expected a Jaccard similarity in \(0, 1\], got 0"):
        near_duplicates(["a"], threshold=0)
    with pytest.raises(ValueError, match="numbers: expected keep or fold, got 'drop'"):
        near_duplicates(["a"], numbers="drop")
    with pytest.raises(ValueError, match="bands x rows at most 16384, got 5, 0, 8"):
        band_keys(["a"], bands=0)
