import itertools

import numpy as np
import pytest

from coreset import select
from coreset.registry import strategy
from coreset.strategies.uncertainty.batchbald import BatchBald
from coreset.testing import check_strategy


def members(n, t, c, seed=0, sharp=2.0):
    z = sharp * np.random.default_rng(seed).normal(size=(n, t, c))
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def information(p):
    """I(y_1 ... y_b; w) by enumeration; p (b, T, C)."""
    h = 0.0
    for labels in itertools.product(range(p.shape[2]), repeat=len(p)):
        q = np.mean(
            [np.prod([p[i, t, y] for i, y in enumerate(labels)]) for t in range(p.shape[1])]
        )
        h -= q * np.log(q)
    return h + (p * np.log(p)).sum(-1).mean(-1).sum()


def test_greedy_on_the_exact_joint():
    p = members(12, 4, 3)
    batch, gains = [], []
    for _ in range(4):
        free = [i for i in range(12) if i not in batch]
        joint = {i: information(p[[*batch, i]]) for i in free}
        best = max(free, key=lambda i: (joint[i], -i))
        gains.append(joint[best] - sum(gains))
        batch.append(best)
    chosen = select("batchbald", 4, member_probs=p)
    assert chosen.indices.tolist() == batch
    np.testing.assert_allclose(chosen.scores, gains, atol=1e-10)
    assert chosen.info["exact"] == 4


@pytest.mark.parametrize("k", [1, 5, 9])
@pytest.mark.parametrize("configurations", [1, 30, 1024])
def test_the_best_single_point_comes_first(k, configurations):
    p = members(40, 5, 4, seed=3)
    chosen = select("batchbald", k, member_probs=p, options={"configurations": configurations})
    assert chosen.indices[0] == select("bald", 1, member_probs=p).indices[0]
    assert len(chosen) == k


def test_beyond_the_limit_it_is_sampled_and_stays_near():
    p = members(30, 6, 3, seed=5)
    exact = select("batchbald", 6, member_probs=p, options={"configurations": 3**6})
    sampled = [
        select("batchbald", 6, member_probs=p, options={"configurations": 200}, seed=s)
        for s in range(3)
    ]
    assert exact.info["exact"] == 6
    for s in sampled:
        assert s.info["exact"] == 5  # 3^4 = 81 fit, 3^5 = 243 do not
        assert information(p[s.indices]) > 0.97 * information(p[exact.indices])


def test_as_many_configurations_as_there_are_are_enough():
    p = members(12, 4, 3)
    exact = select("batchbald", 4, member_probs=p, options={"configurations": 3**6})
    just, one_less = (
        select("batchbald", 4, member_probs=p, options={"configurations": m}) for m in (27, 26)
    )
    assert (just.info["exact"], one_less.info["exact"]) == (4, 3)
    assert just.indices.tolist() == exact.indices.tolist()
    np.testing.assert_allclose(just.scores, exact.scores)


def test_a_twin_is_not_taken_twice():
    p = members(10, 8, 3, seed=1)
    q = members(10, 8, 3, seed=1, sharp=4.0)
    duplicates = np.concatenate([q[:1], q[:1], p[1:5] * 0.5 + 1 / 6])
    assert select("bald", 2, member_probs=duplicates).indices.tolist() == [0, 1]
    chosen = select("batchbald", 2, member_probs=duplicates)
    assert chosen.indices[0] == 0
    assert chosen.scores[0] > chosen.scores[1]


def test_certain_members_ties_and_half_precision():
    certain = np.tile(np.eye(3)[[0, 1]][:, None], (2, 4, 1))
    assert select("batchbald", 4, member_probs=certain).indices.tolist() == [0, 1, 2, 3]
    p = members(20, 4, 10).astype(np.float16)
    assert len(select("batchbald", 20, member_probs=p, options={"configurations": 64})) == 20
    one = members(6, 1, 3)  # a single member tells nothing
    np.testing.assert_allclose(select("batchbald", 3, member_probs=one).scores, 0, atol=1e-12)


def test_contract_and_refusals():
    check_strategy(strategy("batchbald"))
    check_strategy(BatchBald(configurations=50))
    with pytest.raises(ValueError, match="configurations"):
        BatchBald(0)
