import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset import select
from coreset.registry import strategy
from coreset.strategies.coverage.d2_sampling import inclusion, lightweight_share, systematic
from coreset.testing import check_strategy


def case(n=40, seed=0):
    return np.random.default_rng(seed).standard_t(3, size=(n, 3)).astype(np.float32)


@pytest.mark.parametrize(
    "options",
    [{}, {"normalize": True}, {"variant": "adaptive"}, {"variant": "adaptive", "normalize": True}],
)
def test_contract(options):
    check_strategy(strategy("d2_sampling", options))


def test_share_is_half_uniform_half_squared_distance():
    x = case()
    square = ((x.astype(float) - x.astype(float).mean(axis=0)) ** 2).sum(axis=1)
    q = lightweight_share(torch.from_numpy(x))
    assert np.allclose(q, 0.5 / 40 + 0.5 * square / square.sum())
    assert np.allclose(lightweight_share(torch.ones(4, 2)), 0.25)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 30), st.integers(0, 10**6))
def test_inclusion_sums_to_k_in_proportion(n, seed):
    rng = np.random.default_rng(seed)
    share, k = rng.pareto(1, n) + 1e-3, int(rng.integers(1, n + 1))
    p = inclusion(share / share.sum(), k)
    assert np.isclose(p.sum(), k)
    assert ((p > 0) & (p <= 1)).all()
    open_ = p < 1
    if open_.any():
        ratio = p[open_] / share[open_]
        assert np.allclose(ratio, ratio[0])
        # only those that would exceed 1 are certain
        assert (share[~open_] * ratio[0] >= 1 - 1e-9).all()
    picks = systematic(p, k, rng.random())
    assert len(set(picks.tolist())) == k


def test_weighted_sums_are_unbiased():
    x = case()
    value = x[:, 0].astype(float) ** 2 + 1
    sums, counts, often = [], [], np.zeros(40)
    for seed in range(1500):
        got = select("d2_sampling", 8, features=x, seed=seed)
        sums.append((got.weights * value[got.indices]).sum())
        counts.append(got.weights.sum())
        often[got.indices] += 1
    assert abs(np.mean(sums) - value.sum()) < 4 * np.std(sums) / np.sqrt(1500)
    assert abs(np.mean(counts) - 40) < 4 * np.std(counts) / np.sqrt(1500)
    p = inclusion(lightweight_share(torch.from_numpy(x)), 8)
    assert np.allclose(often / 1500, p, atol=0.06)


def test_scores_and_weights_belong_together():
    got = select("d2_sampling", 10, features=case())
    assert np.allclose(got.weights * got.scores, 1)
    assert (got.weights >= 1).all()


def test_adaptive_scores_are_distances_to_what_was_there():
    x = case().astype(float)
    got = select("d2_sampling", 12, features=x, selected=[0, 1], options={"variant": "adaptive"})
    assert got.weights is None
    there = [0, 1]
    for pick, score in zip(got.indices, got.scores, strict=True):
        assert np.isclose(score, ((x[there] - x[pick]) ** 2).sum(axis=1).min())
        there.append(pick)


def test_adaptive_favors_the_far():
    x = np.concatenate([np.zeros((50, 1)), np.ones((1, 1))])
    first = [
        int(
            select(
                "d2_sampling", 1, features=x, selected=[0], seed=s, options={"variant": "adaptive"}
            ).indices[0]
        )
        for s in range(10)
    ]
    assert first == [50] * 10


def test_wrong_variant():
    with pytest.raises(ValueError, match="variant: expected lightweight or adaptive"):
        strategy("d2_sampling", {"variant": "d2"})


def test_normalize_is_unit_length_first():
    x = case() * np.random.default_rng(3).uniform(0.1, 9, (40, 1))
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    one, other = (
        select(
            "d2_sampling",
            9,
            features=f,
            selected=[0, 5],
            options={"normalize": n, "variant": "adaptive"},
        )
        for f, n in ((x, True), (unit, False))
    )
    assert one.indices.tolist() == other.indices.tolist()
