"""Against the greedy loop in float64 with dense matrices: spread, slopes, the largest product, add."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset import select
from coreset.core.batch import objects
from coreset.curation.operators.select import Select
from coreset.registry import strategy
from coreset.strategies.instruction.mig import label_graph
from coreset.testing import check_operator

LETTERS = list("abcdefgh")


def pool(seed, n=40, ties=False):
    rng = np.random.default_rng(seed)
    tags = [
        sorted(rng.choice(LETTERS, rng.integers(0, 4), replace=False).tolist()) for _ in range(n)
    ]
    quality = rng.integers(1, 4, n).astype(float) if ties else rng.uniform(0, 6, n)
    return {"tags": objects(tags), "quality": quality}


def released(tags, quality, k, weight=None, power=0.8, offset=1e-6):
    """The whole matrix, every step anew: rows of quality / number of tags, spread by column shares."""
    labels = sorted({t for own in tags for t in own})
    v = np.zeros((len(tags), len(labels)))
    for i, own in enumerate(tags):
        for t in set(own):
            v[i, labels.index(t)] = quality[i] / len(set(own))
    w = np.eye(len(labels)) if weight is None else weight
    v = v @ (w / w.sum(axis=0))
    held, left, out, gains = np.zeros(len(labels)), list(range(len(tags))), [], []
    for _ in range(k):
        gain = [float((v[i] * (power * (held + offset) ** (power - 1))).sum()) for i in left]
        best = max(range(len(left)), key=lambda j: (gain[j], -left[j]))
        gains.append(gain[best])
        out.append(left.pop(best))
        held = held + v[out[-1]]
    return out, gains


@given(seed=st.integers(0, 10**6), k=st.integers(1, 40), power=st.sampled_from([0.8, 0.3]))
@settings(max_examples=60, deadline=None)
def test_the_greedy_loop(seed, k, power):
    columns = pool(seed)
    want, gains = released(columns["tags"], columns["quality"], k, power=power)
    got = select("mig", k, options={"power": power}, **columns)
    real = sum(g > 0 for g in gains)
    assert got.indices[:real].tolist() == want[:real]
    np.testing.assert_allclose(got.scores, gains, rtol=1e-9)
    assert got.info["filled"] == k - real


def test_it_is_not_the_order_of_quality():
    columns = {
        "tags": objects([["a"], ["a"], ["a"], ["b"]]),
        "quality": np.array([4.0, 3.9, 3.8, 2.0]),
    }
    assert select("mig", 2, **columns).indices.tolist() == [0, 3]


def test_tags_that_are_alike_share_information(monkeypatch):
    angle = {"alpha": 0.0, "alphas": 10.0, "beta": 90.0}
    seen = []

    def encode(labels, model):
        seen.append((list(labels), model))
        return np.array(
            [[np.cos(np.radians(angle[t])), np.sin(np.radians(angle[t]))] for t in labels],
            np.float32,
        )

    monkeypatch.setattr("coreset.scorers.text.embedding.encode_texts", encode)
    columns = {
        "tags": objects([["alpha"], ["alphas"], ["beta"]]),
        "quality": np.array([3.0, 2.9, 2.0]),
    }
    assert select("mig", 2, **columns).indices.tolist() == [0, 1]  # three different tags
    got = select("mig", 2, options={"encoder": "minilm"}, **columns)
    assert got.indices.tolist() == [0, 2]  # two
    assert seen == [(["alpha", "alphas", "beta"], "minilm")]
    x = encode(sorted(angle), "")
    cosine = x.astype(np.float64) @ x.astype(np.float64).T
    weight = np.where(cosine >= 0.9, cosine, 0.0)
    np.testing.assert_allclose(label_graph(x).toarray(), weight / weight.sum(axis=0), atol=1e-6)
    want, gains = released(columns["tags"], columns["quality"], 3, weight)
    whole = select("mig", 3, options={"encoder": "minilm"}, **columns)
    assert whole.indices.tolist() == want
    np.testing.assert_allclose(whole.scores, gains, rtol=1e-6)


def test_spread_weighs_what_others_give():
    x = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    want = np.eye(4)
    want[:2, :2] = [[2 / 3, 1 / 3], [1 / 3, 2 / 3]]
    np.testing.assert_allclose(label_graph(x, 0.9, spread=0.5).toarray(), want, atol=1e-12)


def test_ties_and_rows_without_tags():
    columns = {"tags": objects([[], ["a"], ["a"], []]), "quality": np.ones(4)}
    got = select("mig", 4, ids=["d", "c", "b", "a"], **columns)
    assert got.indices.tolist() == [2, 1, 3, 0]
    assert (got.info["labels"], got.info["filled"]) == (1, 2)


@pytest.mark.parametrize(
    ("change", "options", "match"),
    [
        ({"quality": [-1.0, 1.0]}, {}, "quality: expected scores of at least 0, got -1"),
        (
            {"tags": objects(["a", ["b"]])},
            {},
            "tags: expected a list of texts, got 'a' at position 0",
        ),
        ({}, {"power": 1.0}, r"power, offset: expected a number in \(0, 1\)"),
        ({}, {"threshold": 0.0}, r"threshold, spread: expected a cosine in \(0, 1\]"),
    ],
)
def test_bad_input(change, options, match):
    columns = {"tags": objects([["a"], ["b"]]), "quality": np.ones(2)}
    with pytest.raises(ValueError, match=match):
        select("mig", 1, options=options, **{**columns, **change})


def test_in_a_pipeline():
    check_operator(Select(strategy("mig"), 0.3), pool(0))


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("mig", {"tags": [["a"]] * 6, "quality": [None] * 6}),
        ("mods", {"reward": [None] * 6, "response_reward": [1.0] * 6, "features": np.eye(6)}),
        ("qurating", {"rating": np.array(["1"] * 6)}),
    ],
)
def test_what_is_no_number_is_refused_by_name(name, columns):
    column = next(c for c in ("quality", "reward", "rating") if c in columns)
    with pytest.raises(ValueError, match=f"{column}: expected one number per example"):
        select(name, 2, **columns)
