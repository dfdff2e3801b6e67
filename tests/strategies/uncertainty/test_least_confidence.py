import numpy as np
import pytest

from coreset import select
from coreset.registry import strategy
from coreset.testing import check_strategy


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_contract():
    check_strategy(strategy("least_confidence"))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_values_and_order(dtype):
    p = softmax(np.random.default_rng(0).normal(size=(200, 7)) * 3).astype(dtype)
    got = select("least_confidence", 50, probs=p)
    want = [
        1.0 - max(float(v) for v in row) for row in p
    ]  # the column's own values: half precision is not normalized again
    assert got.indices.tolist() == sorted(range(200), key=lambda i: (-want[i], i))[:50]
    np.testing.assert_allclose(got.scores, [want[i] for i in got.indices], rtol=0, atol=1e-15)


def test_ties_and_sure_rows():
    p = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0], [0.5, 0.5]])
    got = select("least_confidence", 4, probs=p)
    assert got.indices.tolist() == [1, 3, 0, 2]
    assert got.scores.tolist() == [0.5, 0.5, 0, 0]


def test_one_class_is_no_doubt():
    assert select("least_confidence", 2, probs=np.ones((3, 1))).scores.tolist() == [0, 0]


def test_logits_handed_in_as_probabilities_are_refused():
    with pytest.raises(ValueError, match="probs: .* no probabilities"):
        select("least_confidence", 1, probs=np.random.default_rng(0).normal(size=(5, 3)))
