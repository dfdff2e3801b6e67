"""Weighted clique against its objective, summed over all pairs in plain float64."""

import itertools

import numpy as np
import pytest
import torch

from coreset import Pool, Signals, select
from coreset.registry import strategy
from coreset.strategies.baseline.top_k import TopK
from coreset.strategies.combine.weighted_clique import WeightedClique, weighted_clique
from coreset.testing import check_strategy


def objective(chosen, weights, x, group=None):
    """Equation 3 with a_ij = sigmoid(1 - cos) - 1, pair by pair."""
    total = sum(weights[i] for i in chosen)
    for i, j in itertools.combinations(chosen, 2):
        if group is not None and group[i] != group[j]:
            continue
        cosine = x[i] @ x[j] / (np.linalg.norm(x[i]) * np.linalg.norm(x[j]))
        total += 1 / (1 + np.exp(-(1 - cosine))) - 1
    return total


def greedy(weights, x, k, taken=(), group=None):
    """Grow S by the largest difference of two objectives, nothing kept between the steps."""
    have, picks, gains = list(taken), [], []
    for _ in range(k):
        now = objective(have, weights, x, group)
        gain = {
            i: objective([*have, i], weights, x, group) - now
            for i in range(len(x))
            if i not in have
        }
        best = max(gain, key=gain.get)
        have.append(best)
        picks.append(best)
        gains.append(gain[best])
    return picks, gains


@pytest.mark.parametrize("alpha", [0.0, 0.2, 1.0, 5.0])
@pytest.mark.parametrize("grouped", [False, True])
def test_the_greedy_choice(alpha, grouped):
    rng = np.random.default_rng(0)
    x, p = rng.normal(size=(30, 4)), rng.dirichlet(np.ones(3), 30)
    column = rng.integers(0, 3, 30)
    taken = [4, 9, 17]
    options = {"alpha": alpha, "column": "cluster" if grouped else None}
    chosen = select(
        "weighted_clique", 15, selected=taken, features=x, probs=p, cluster=column, options=options
    )
    entropy = -(p * np.log(p)).sum(axis=1)
    want, gains = greedy(alpha * entropy, x, 15, taken, column if grouped else None)
    assert chosen.indices.tolist() == want
    np.testing.assert_allclose(chosen.scores, gains, atol=1e-5)  # cosines rounded to 2^-19
    assert chosen.info["weight"] == pytest.approx(sum(gains), abs=1e-4)
    if alpha == 1.0:  # neither the scores nor the edges decide alone
        alone = np.setdiff1d(np.argsort(-entropy), taken, assume_unique=True)[:15]
        assert set(want) != set(alone.tolist())


def test_scores_without_edges_and_edges_without_scores():
    """Groups of one leave the scores; equal scores leave the edges."""
    rng = np.random.default_rng(1)
    x, s = rng.normal(size=(20, 3)), rng.uniform(size=20)
    columns = {"features": x, "score": s, "row": np.arange(20)}
    options = {"base": TopK(signal="score"), "column": "row"}
    chosen = select("weighted_clique", 20, **columns, options=options)
    assert chosen.indices.tolist() == np.argsort(-s).tolist()
    first = select("weighted_clique", 2, features=x, probs=np.full((20, 2), 0.5)).indices
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    assert first.tolist() == [0, int((unit @ unit[0]).argmin())]


def test_the_value_against_the_best_of_all_sets():
    """Scores large enough keep F monotone: greedy then reaches 1 - 1/e of the best."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        x, w = rng.normal(size=(9, 2)), rng.uniform(2, 4, 9)
        picks, gains = weighted_clique(w, torch.from_numpy(x), 4)
        best = max(objective(s, w, x) for s in itertools.combinations(range(9), 4))
        value = objective(picks.tolist(), w, x)
        assert gains.sum() == pytest.approx(value, abs=1e-4)
        assert (1 - np.exp(-1)) * best <= value <= best + 1e-9
        assert (np.diff(gains) <= 1e-12).all()  # submodular: gains fall


def test_duplicates_and_zero_features():
    same = select("weighted_clique", 5, features=np.ones((5, 2)), probs=np.full((5, 2), 0.5))
    assert same.indices.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(same.scores, np.log(2) - 0.5 * np.arange(5))  # a_ij = -1/2 at cos 1
    zero = select("weighted_clique", 2, features=np.zeros((2, 2)), probs=np.full((2, 2), 0.5))
    assert zero.scores[1] == pytest.approx(np.log(2) + 1 / (1 + np.exp(-1)) - 1)


def test_what_is_selected_counts():
    x, p = (
        np.array([[1.0, 0.0], [1.0, 0.01], [0.0, 1.0]]),
        np.array([[0.5, 0.5]] * 2 + [[0.6, 0.4]]),
    )
    assert select("weighted_clique", 1, features=x, probs=p).indices.tolist() == [0]
    assert select("weighted_clique", 1, selected=[0], features=x, probs=p).indices.tolist() == [2]
    with pytest.raises(ValueError, match="cluster: expected one value per example"):
        WeightedClique(column="cluster")(
            Pool(3), Signals(3, features=x, probs=p, cluster=x), 1, np.random.default_rng(0)
        )


def test_contract_and_refusals():
    check_strategy(strategy("weighted_clique"))
    check_strategy(WeightedClique(TopK(signal="score"), alpha=0.3, column="labels"))
    with pytest.raises(ValueError, match="alpha: expected a number of at least 0, got -1"):
        WeightedClique(alpha=-1)
