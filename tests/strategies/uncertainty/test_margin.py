import numpy as np
import pytest

from coreset import select
from coreset.registry import strategy
from coreset.testing import check_strategy


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_contract():
    check_strategy(strategy("margin"))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("classes", [2, 10])
def test_values_and_order(dtype, classes):
    p = softmax(np.random.default_rng(0).normal(size=(200, classes)) * 3).astype(dtype)
    got = select("margin", 50, probs=p)
    want = []
    for row in p:
        second, first = sorted(float(v) for v in row)[-2:]
        want.append(1 - (first - second))
    assert got.indices.tolist() == sorted(range(200), key=lambda i: (-want[i], i))[:50]
    np.testing.assert_allclose(got.scores, [want[i] for i in got.indices], rtol=0, atol=1e-15)


def test_a_tie_of_the_two_likeliest_comes_first_and_ties_go_by_position():
    p = np.array([[0.6, 0.4, 0.0], [0.4, 0.4, 0.2], [1.0, 0.0, 0.0], [0.3, 0.35, 0.35]])
    got = select("margin", 4, probs=p)
    assert got.indices.tolist() == [1, 3, 0, 2]
    np.testing.assert_allclose(got.scores, [1, 1, 0.8, 0], atol=1e-15)


def test_margin_and_least_confidence_differ_where_the_books_say():
    p = np.array(
        [[0.5, 0.5 - 1e-3, 1e-3], [0.4, 0.3, 0.3]]
    )  # Settles' example: the most confident in no class is not the closest call
    assert select("margin", 1, probs=p).indices.tolist() == [0]
    assert select("least_confidence", 1, probs=p).indices.tolist() == [1]


def test_one_class_has_no_margin():
    with pytest.raises(
        ValueError, match=r"probs: a margin needs at least two classes, got shape \(\d+, 1\)"
    ):
        select("margin", 1, probs=np.ones((3, 1)))
