import numpy as np
import pytest

from coreset import select
from coreset.registry import strategy
from coreset.testing import check_strategy


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_contract():
    check_strategy(strategy("ratio"))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("classes", [2, 10])
def test_values_and_order(dtype, classes):
    p = softmax(np.random.default_rng(0).normal(size=(200, classes)) * 3).astype(dtype)
    got = select("ratio", 50, probs=p)
    want = []
    for row in p:
        second, first = sorted(float(v) for v in row)[-2:]
        want.append(second / first)
    assert got.indices.tolist() == sorted(range(200), key=lambda i: (-want[i], i))[:50]
    np.testing.assert_allclose(got.scores, [want[i] for i in got.indices], rtol=1e-15)


def test_it_is_the_margin_of_log_probabilities_and_not_that_of_probabilities():
    p = softmax(np.random.default_rng(1).normal(size=(300, 5)) * 2)
    logs = np.sort(np.log(p), axis=1)
    order = np.argsort(logs[:, -1] - logs[:, -2], kind="stable").tolist()
    assert select("ratio", 300, probs=p).indices.tolist() == order
    assert select("margin", 300, probs=p).indices.tolist() != order
    # a small lead among small probabilities is a large ratio to lose
    pair = np.array([[0.30, 0.20, 0.20, 0.15, 0.15], [0.50, 0.35, 0.05, 0.05, 0.05]])
    assert select("margin", 1, probs=pair).indices.tolist() == [0]
    assert select("ratio", 1, probs=pair).indices.tolist() == [1]


def test_one_class_has_no_ratio():
    with pytest.raises(
        ValueError, match=r"probs: a ratio needs at least two classes, got shape \(\d+, 1\)"
    ):
        select("ratio", 1, probs=np.ones((3, 1)))
