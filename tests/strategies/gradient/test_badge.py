"""BADGE against gradients written out in float64, and its law against the exact one."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import coreset
from coreset.numerics.gradients import LastLayerGradients
from coreset.strategies.gradient import badge
from coreset.strategies.gradient.badge import Badge, sample_d2
from coreset.testing import check_strategy


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def written_out(x, p, bias):
    """The hypothesised gradients as the paper has them, one row per example."""
    rows = []
    for h, q in zip(x.astype(np.float64), p.astype(np.float64), strict=True):
        r = q.copy()
        r[q.argmax()] -= 1
        rows.append(np.outer(r, np.append(h, 1.0) if bias else h).ravel())
    return np.array(rows)


def case(n=12, seed=0, d=3, c=4):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), softmax(2 * rng.normal(size=(n, c)))


@pytest.mark.parametrize("first", ["largest", "random"])
@pytest.mark.parametrize("bias", [False, True])
def test_contract(first, bias):
    check_strategy(Badge(first, bias))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("together", [5, 4096])
def test_scores_are_the_squared_distances_to_the_earlier_choices(
    together, bias, dtype, monkeypatch
):
    monkeypatch.setattr(
        badge, "_MOST", together
    )  # few proposals at a time: most are measured against picks that the distances miss
    x, p = case(60)
    x, p = x.astype(dtype), p.astype(dtype)
    g = written_out(x, p, bias)
    got = coreset.select("badge", 60, features=x, probs=p, options={"bias": bias}, seed=3)
    assert got.indices[0] == (g**2).sum(axis=1).argmax()
    for i in range(1, 60):
        nearest = ((g[got.indices[:i]] - g[got.indices[i]]) ** 2).sum(axis=1).min()
        assert got.scores[i] == pytest.approx(nearest, rel=1e-4 if dtype != np.float64 else 1e-9)


def test_the_law_of_every_pick_is_exact():
    x, p = case()
    g = written_out(x, p, False)
    n, draws = len(g), 3000
    square = ((g[:, None] - g[None]) ** 2).sum(axis=-1)
    first = int((g**2).sum(axis=1).argmax())
    # law[t]: chance of each row at pick t, by going through every history
    law = np.zeros((4, n))
    states = {(first,): 1.0}
    for t in range(1, 4):
        following = {}
        for history, chance in states.items():
            d = square[list(history)].min(axis=0)
            for j in np.flatnonzero(d > 0):
                law[t, j] += chance * d[j] / d.sum()
                following[(*history, j)] = chance * d[j] / d.sum()
        states = following
    factors = LastLayerGradients(
        torch.from_numpy(p - np.eye(4)[p.argmax(axis=1)]), torch.from_numpy(x), False
    )
    seen = np.zeros((4, n))
    order = np.random.default_rng(9).permutation(n)
    for seed in range(draws):
        picks, _ = sample_d2(factors, 4, first, order, np.random.default_rng(seed))
        seen[np.arange(4), picks] += 1
    for t in range(1, 4):
        expected = law[t] * draws
        ok = expected > 5
        chi2 = ((seen[t] - expected)[ok] ** 2 / expected[ok]).sum()
        assert chi2 < ok.sum() - 1 + 4 * np.sqrt(2 * ok.sum()), (t, chi2)
        assert seen[t][expected == 0].sum() == 0


@pytest.mark.parametrize(("together", "reach"), [(1, 1), (5, 3), (64, 4096)])
def test_a_proposal_is_kept_by_its_distance_now_over_the_one_it_was_drawn_by(
    together, reach, monkeypatch
):
    """Rejection one proposal at a time, from distances to the first pick alone: what the shortcuts
    must not change.
    """
    monkeypatch.setattr(badge, "_EARLY", ())
    monkeypatch.setattr(badge, "_LEAST", together)
    monkeypatch.setattr(badge, "_MOST", together)
    monkeypatch.setattr(badge, "_REACH", reach)
    x, p = case(1500, seed=5)
    g, order = written_out(x, p, False), np.random.default_rng(9).permutation(1500)
    factors = LastLayerGradients(
        torch.from_numpy(p - np.eye(4)[p.argmax(axis=1)]), torch.from_numpy(x), False
    )
    rejected = 0
    for seed in range(5):
        rng, picks, scores = np.random.default_rng(seed), [7], [np.inf]
        bound = ((g - g[7]) ** 2).sum(axis=1)
        edges = np.cumsum(bound[order])
        while len(picks) < 40:
            for place, luck in rng.random((together, 2)):
                row = order[np.searchsorted(edges, place * edges[-1], side="right")]
                now = ((g[picks] - g[row]) ** 2).sum(axis=1).min()
                if luck * bound[row] >= now:
                    rejected += 1
                elif len(picks) < 40:
                    picks.append(int(row))
                    scores.append(now)
        got = sample_d2(factors, 40, 7, order, np.random.default_rng(seed))
        assert got[0].tolist() == picks
        assert np.allclose(got[1], scores, rtol=1e-9)
    assert rejected > 50


def test_what_is_left_without_any_distance_follows_the_order():
    factors = LastLayerGradients(torch.ones(6, 2), torch.ones(6, 3), False)
    picks, scores = sample_d2(factors, 5, 2, np.array([3, 5, 2, 0, 4, 1]), np.random.default_rng(0))
    assert picks.tolist() == [2, 3, 5, 0, 4]
    assert scores.tolist() == [np.inf, 0, 0, 0, 0]


@pytest.mark.parametrize("early", [(), (8, 64)])
@pytest.mark.parametrize("reach", [5, 4096])
def test_distances_out_of_date_do_not_change_the_law(early, reach, monkeypatch):
    """Many rows: the proposals stay out of date for a while, so the potential of the choices must
    still be that of k-means++.
    """
    monkeypatch.setattr(badge, "_EARLY", early)
    monkeypatch.setattr(badge, "_REACH", reach)
    x, p = case(1500, seed=5)
    g = written_out(x, p, False)
    factors = LastLayerGradients(
        torch.from_numpy(p - np.eye(4)[p.argmax(axis=1)]), torch.from_numpy(x), False
    )
    first = int((g**2).sum(axis=1).argmax())

    def plain(seed):
        rng = np.random.default_rng(seed)
        picks, d = [first], ((g - g[first]) ** 2).sum(axis=1)
        while len(picks) < 40:
            picks.append(int(rng.choice(len(g), p=d / d.sum())))
            d = np.minimum(d, ((g - g[picks[-1]]) ** 2).sum(axis=1))
        return d.sum()

    def ours(seed):
        picks, _ = sample_d2(factors, 40, first, np.arange(len(g)), np.random.default_rng(seed))
        return np.min([((g - g[i]) ** 2).sum(axis=1) for i in picks], axis=0).sum()

    a, b = np.array([plain(s) for s in range(60)]), np.array([ours(1000 + s) for s in range(60)])
    assert abs(a.mean() - b.mean()) < 3.5 * np.sqrt(a.var() / 60 + b.var() / 60)


def test_large_gradients_first_even_when_all_picks_are_the_same_row():
    x = np.ones((5, 3), np.float32)
    p = np.full((5, 2), 0.5, np.float32)
    got = coreset.select("badge", 5, features=x, probs=p)
    assert sorted(got.indices) == [0, 1, 2, 3, 4]
    assert got.indices[0] == 0
    assert (got.scores[1:] == 0).all()


def test_duplicates_are_never_drawn_twice_while_others_remain():
    x, p = case(6, seed=2)
    x, p = (
        np.repeat(x, 50, axis=0).astype(np.float32) * 30,
        np.repeat(p, 50, axis=0).astype(np.float32),
    )
    for seed in range(10):
        got = coreset.select("badge", 6, features=x, probs=p, seed=seed).indices
        assert sorted(got // 50) == [0, 1, 2, 3, 4, 5]


def test_saturated_softmax_gives_zero_gradients_that_are_one_point():
    x = np.random.default_rng(0).normal(size=(8, 3))
    p = np.tile([1.0, 0.0, 0.0], (8, 1))
    p[5] = [0.4, 0.3, 0.3]
    got = coreset.select("badge", 3, features=x, probs=p).indices
    assert got[0] == 5
    assert len(set(got)) == 3
    saturated = coreset.select("badge", 8, features=x, probs=np.tile([1.0, 0.0, 0.0], (8, 1)))
    assert sorted(saturated.indices) == list(range(8))


@given(st.integers(1, 30), st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_any_size_and_prefix(n, seed):
    x, p = case(n, seed=seed % 97)
    every = coreset.select("badge", n, features=x, probs=p, seed=seed).indices
    assert sorted(every) == list(range(n))
    assert (
        every[: (n + 1) // 2].tolist()
        == coreset.select("badge", (n + 1) // 2, features=x, probs=p, seed=seed).indices.tolist()
    )


def test_unknown_first():
    with pytest.raises(ValueError, match="first: expected largest or random"):
        Badge("any")
