import numpy as np
import pytest

from coreset import Pool, Signals, select
from coreset.registry import strategy
from coreset.strategies.baseline.top_k import TopK
from coreset.strategies.combine.stochastic_batch import StochasticBatch
from coreset.strategies.uncertainty.margin import Margin
from coreset.testing import check_strategy


def draws(kind, beta, values, k=2, times=1200):
    """How often each ordered pair was drawn."""
    batch, n = StochasticBatch(TopK("s"), kind, beta), len(values)
    pool, signals = Pool(n), Signals(n, s=values)
    counts = np.zeros((n, n))
    rng = np.random.default_rng(0)
    for _ in range(times):
        a, b = batch.select(pool, signals, k, rng).indices
        counts[a, b] += 1
    return counts / times


@pytest.mark.parametrize("kind", ["power", "softmax", "softrank"])
@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_the_law_of_each_kind(kind, beta):
    s = np.array([0.2, 1.0, 0.6])
    rank = np.array([3, 1, 2])
    w = {"power": s**beta, "softmax": np.exp(beta * s), "softrank": rank**-beta}[kind]
    want = np.array(
        [
            [0 if a == b else w[a] / w.sum() * w[b] / (w.sum() - w[a]) for b in range(3)]
            for a in range(3)
        ]
    )
    assert abs(draws(kind, beta, s) - want).max() < 0.055  # 4 sd


def test_the_direction_is_the_base_s():
    """The most uncertain example has the highest weight, also when the signal reads low =
    uncertain.
    """
    p = np.array([[0.99, 0.01], [0.5, 0.5], [0.9, 0.1]])
    first = [
        StochasticBatch(Margin())(
            Pool(3), Signals(3, probs=p), 1, np.random.default_rng(s)
        ).indices[0]
        for s in range(300)
    ]
    counts = np.bincount(first, minlength=3)
    assert counts[1] > counts[2] > counts[0]
    low = StochasticBatch(TopK("m", highest=False), "softmax", 50.0)
    assert low(Pool(2), Signals(2, m=[0.0, 5.0]), 1, np.random.default_rng(0)).indices[0] == 0


def test_zero_weight_fills_an_exact_budget():
    p = np.array(
        [[[0.5, 0.5]] * 2, [[0.9, 0.1], [0.1, 0.9]], [[0.7, 0.3]] * 2, [[0.8, 0.2], [0.3, 0.7]]]
    )
    for seed in range(10):
        chosen = select("power_bald", 3, member_probs=p, seed=seed)
        assert set(chosen.indices[:2].tolist()) == {1, 3}
        assert len(chosen) == 3
        assert chosen.info["variant"] == "power"


def test_a_cold_batch_is_the_plain_order():
    s = np.random.default_rng(0).uniform(0.1, 1, 30)
    for kind in ("power", "softmax", "softrank"):
        batch = StochasticBatch(TopK("s"), kind, 1e6)
        assert (
            batch(Pool(30), Signals(30, s=s), 30, np.random.default_rng(0)).indices.tolist()
            == np.argsort(-s).tolist()
        )


def test_contract_and_refusals():
    check_strategy(strategy("power_bald"))
    for kind in ("softmax", "softrank"):
        check_strategy(strategy("stochastic_batch", {"kind": kind}))
    check_strategy(StochasticBatch(TopK("el2n"), "power", 3.0))
    for bad in ({"kind": "linear"}, {"beta": 0.0}, {"beta": np.inf}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            StochasticBatch(**bad)
    with pytest.raises(ValueError, match="power: 1 scores are negative, lowest -2"):
        StochasticBatch(TopK("s"))(Pool(2), Signals(2, s=[-2.0, 1.0]), 1, np.random.default_rng(0))


def test_softrank_gives_equal_scores_equal_chances():
    """Averaged ranks: 1, then three rows that share (2 + 3 + 4) / 3, then 5."""
    values, times = np.array([0.1, 0.5, 0.9, 0.5, 0.5]), 4000
    w = 1 / np.array([5, 3, 1, 3, 3])
    first = draws("softrank", 1.0, values, k=2, times=times).sum(axis=1)
    assert np.abs(first - w / w.sum()).max() < 4 * np.sqrt(0.25 / times)
    spread = first[[1, 3, 4]]
    # 0.25, 0.18 and 0.14 by position
    assert spread.max() - spread.min() < 4 * np.sqrt(2 * 0.16 * 0.84 / times)
