import numpy as np
import pytest
from scipy.stats import beta

from coreset import Pool, Signals, select
from coreset.registry import strategy
from coreset.strategies.dynamics.dual_beta import DualBeta, beta_log_weights
from coreset.testing import check_strategy


def columns(n=40, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 2, n), rng.uniform(0, 1, n)


@pytest.mark.parametrize("pruned", [0.0, 0.3, 0.7, 0.95])
def test_weights_are_pdf_times_score(pruned):
    score, mean_prob = columns()
    anchor = np.mean([mean_prob[i] for i in sorted(range(40), key=lambda i: -score[i])[:10]])
    b = 15 * (1 - anchor) * (1 - pruned**4.0)
    want = beta.pdf(mean_prob, 16 - b, b) * score
    got = np.exp(beta_log_weights(score, mean_prob, pruned, 4.0))
    np.testing.assert_allclose(got / got.sum(), want / want.sum(), rtol=1e-9)


def test_a_smaller_budget_prefers_easier_examples():
    score, mean_prob = np.ones(400), np.linspace(0.01, 0.99, 400)
    first = {
        k: [
            select("dual_beta", k, dual=score, mean_prob=mean_prob, seed=s).indices[:10]
            for s in range(5)
        ]
        for k in (10, 100, 300)
    }
    means = [np.mean([mean_prob[i].mean() for i in first[k]]) for k in first]
    assert means[0] > means[1] > means[2]


def test_zero_scores_fill_the_budget_and_poles_do_no_harm():
    score, mean_prob = np.array([0.0, 0.0, 1.0, 0.5]), np.array([1.0, 0.0, 1.0, 0.0])
    assert set(select("dual_beta", 2, dual=score, mean_prob=mean_prob).indices.tolist()) == {2, 3}
    assert len(select("dual_beta", 4, dual=score, mean_prob=mean_prob)) == 4
    assert len(select("dual_beta", 1, dual=np.ones(3), mean_prob=np.ones(3))) == 1


def test_contract_and_refusals():
    check_strategy(strategy("dual_beta"))
    check_strategy(strategy("dual_beta", {"c_d": 11.0}))
    with pytest.raises(ValueError, match="c_d"):
        DualBeta(c_d=0)
    for dual, mean_prob in (
        ([1.0, 1.0], [1.5, 0.5]),
        ([1.0, 1.0], [0.5, -0.5]),
        ([-1.0, 1.0], [0.5, 0.5]),
    ):
        with pytest.raises(ValueError, match="dual and mean_prob: expected scores of at least 0"):
            DualBeta()(
                Pool(2), Signals(2, dual=dual, mean_prob=mean_prob), 1, np.random.default_rng(0)
            )
