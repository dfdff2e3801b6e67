import math

import numpy as np
import pytest
import torch

from coreset import select
from coreset.registry import strategy
from coreset.strategies.uncertainty.bald import bald
from coreset.testing import check_strategy


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def entropy(row):
    return -math.fsum(p * math.log(p) for p in row if p > 0)


def reference(members):
    """H[mean p] - mean H[p] of one example (T, C) in float64."""
    members = members.astype(np.float64)
    mean = [math.fsum(column) / len(members) for column in members.T]
    return entropy(mean) - math.fsum(entropy(m) for m in members) / len(members)


def test_contract():
    check_strategy(strategy("bald"))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_values_and_order(dtype):
    p = softmax(np.random.default_rng(0).normal(size=(100, 6, 4)) * 2).astype(dtype)
    got = select("bald", 30, member_probs=p)
    want = [reference(m) for m in p]
    assert got.indices.tolist() == sorted(range(100), key=lambda i: (-want[i], i))[:30]
    np.testing.assert_allclose(got.scores, [want[i] for i in got.indices], rtol=1e-9, atol=1e-14)


def test_it_is_the_mutual_information_of_label_and_member():
    p = softmax(np.random.default_rng(1).normal(size=(5, 3)))[None]
    joint = p[0] / 5
    outer = joint.sum(0, keepdims=True) * joint.sum(1, keepdims=True)
    assert float(bald(torch.as_tensor(p))[0]) == pytest.approx(
        (joint * np.log(joint / outer)).sum()
    )


def test_bounds():
    sure_and_split = np.eye(4)[None]  # 4 members, each sure of another class
    agreed = np.full((1, 4, 4), 0.25)
    alone = softmax(np.random.default_rng(0).normal(size=(1, 1, 4)))
    got = [float(bald(torch.as_tensor(p))[0]) for p in (sure_and_split, agreed, alone)]
    np.testing.assert_allclose(got, [math.log(4), 0, 0], atol=1e-14)
    assert float(bald(torch.zeros(1, 2, 2).index_fill_(2, torch.tensor([0]), 1))[0]) == 0


def test_small_differences_are_not_lost_in_single_precision():
    """A difference of two entropies cancels: float32 arithmetic gets these wrong, float64 does not."""
    p = np.full((2, 2, 2), 0.5)
    p[0] += [[1e-5, -1e-5], [-1e-5, 1e-5]]
    p[1] += [[2e-5, -2e-5], [-2e-5, 2e-5]]
    got = select("bald", 2, member_probs=p)
    assert got.indices.tolist() == [1, 0]
    np.testing.assert_allclose(got.scores, [8e-10, 2e-10], rtol=1e-4)


def test_member_order_does_not_matter():
    p = softmax(np.random.default_rng(0).normal(size=(50, 6, 4)))
    np.testing.assert_allclose(
        bald(torch.as_tensor(p)), bald(torch.as_tensor(p[:, ::-1].copy())), atol=1e-14
    )


def test_shapes():
    with pytest.raises(ValueError, match=r"member_probs: expected shape \(N, T, C\), got \(3, 2\)"):
        select("bald", 1, member_probs=np.full((3, 2), 0.5))
