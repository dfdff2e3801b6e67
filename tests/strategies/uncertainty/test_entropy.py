import math

import numpy as np
import pytest
import torch

from coreset import select
from coreset.registry import strategy
from coreset.strategies.uncertainty.entropy import entropy
from coreset.testing import check_strategy


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def reference(row):
    return -math.fsum(p * math.log(p) for p in map(float, row) if p > 0)


def test_contract():
    check_strategy(strategy("entropy"))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_values_and_order(dtype):
    p = softmax(np.random.default_rng(0).normal(size=(200, 7)) * 3).astype(dtype)
    got = select("entropy", 50, probs=p)
    want = [reference(row) for row in p]
    assert got.indices.tolist() == sorted(range(200), key=lambda i: (-want[i], i))[:50]
    np.testing.assert_allclose(got.scores, [want[i] for i in got.indices], rtol=1e-12)


def test_zeros_tiny_values_and_bounds():
    p = np.array([[1.0, 0.0, 0.0], [1 / 3] * 3, [1 - 1e-300, 1e-300, 0.0]])
    got = entropy(torch.as_tensor(p))
    assert got.dtype == torch.float64
    np.testing.assert_allclose(got, [0, math.log(3), 1e-300 * 300 * math.log(10)], rtol=1e-12)
    assert select("entropy", 3, probs=p[[0, 1, 0]]).indices.tolist() == [1, 0, 2]


def test_any_leading_axes():
    p = softmax(np.random.default_rng(0).normal(size=(4, 3, 5)))
    np.testing.assert_allclose(
        entropy(torch.as_tensor(p)), [[reference(r) for r in rows] for rows in p], rtol=1e-12
    )
