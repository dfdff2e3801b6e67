from itertools import permutations

import numpy as np
import pytest

from coreset.numerics.gumbel import gumbel_order


def test_orders_have_the_law_of_drawing_one_after_the_other():
    weights = np.array([0.5, 0.3, 0.15, 0.05])
    draws = 5_000
    ids = np.arange(4)
    rng = np.random.default_rng(0)
    counts = dict.fromkeys(permutations(range(4)), 0)
    for _ in range(draws):
        counts[tuple(gumbel_order(rng, ids, np.log(weights))[0].tolist())] += 1
    for order, count in counts.items():
        left, p = 1.0, 1.0
        for i in order:
            p *= weights[i] / left if left > 1e-12 else 1.0
            left -= weights[i]
        assert abs(count / draws - p) < 5 * np.sqrt(p * (1 - p) / draws) + 1e-3, order


def test_weight_zero_comes_last_in_random_order():
    seen = set()
    for seed in range(20):
        order, _ = gumbel_order(
            np.random.default_rng(seed), np.arange(6), [-np.inf, 0, -np.inf, 0, -np.inf, 0]
        )
        assert set(order[:3].tolist()) == {1, 3, 5}
        seen.add(tuple(order[3:].tolist()))
    assert len(seen) > 3


def test_keyed_by_id_and_refusals():
    ids, weights = np.array([5, 9, 2, 7]), np.array([0.1, 0.4, 0.2, 0.3])
    a, _ = gumbel_order(np.random.default_rng(1), ids, np.log(weights))
    b, _ = gumbel_order(np.random.default_rng(1), ids[::-1], np.log(weights[::-1]))
    assert ids[a].tolist() == ids[::-1][b].tolist()
    with pytest.raises(ValueError, match="1 of 2 are NaN"):
        gumbel_order(np.random.default_rng(1), ids[:2], [0.0, np.nan])
    with pytest.raises(ValueError, match="1 of 2"):
        gumbel_order(np.random.default_rng(1), ids[:2], [0.0, np.inf])
