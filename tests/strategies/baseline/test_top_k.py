import numpy as np
import pytest
import torch

from coreset import select
from coreset.registry import strategy
from coreset.strategies.baseline.top_k import TopK
from coreset.testing import check_strategy


@pytest.mark.parametrize("highest", [True, False])
@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int64, np.uint8, bool])
def test_order_with_ties(highest, dtype):
    values = np.random.default_rng(0).integers(0, 6, 50).astype(dtype)
    got = select("top_k", 30, blur=values, options={"signal": "blur", "highest": highest})
    sign = -1 if highest else 1
    assert (
        got.indices.tolist() == sorted(range(50), key=lambda i: (sign * float(values[i]), i))[:30]
    )
    assert got.scores.tolist() == [-sign * float(values[i]) for i in got.indices]


@pytest.mark.parametrize("options", [{}, {"highest": False}, {"signal": "blur"}])
def test_contract(options):
    check_strategy(strategy("top_k", options))


def test_needs_the_named_column():
    assert TopK("blur").needs == {"blur"}
    assert TopK().parameters() == {"signal": "el2n", "highest": True}
    with pytest.raises(KeyError, match="signal 'blur' is missing; present: loss"):
        select(TopK("blur"), 1, loss=[1.0])


def test_tensors():
    assert select(
        TopK("loss"), 2, loss=torch.tensor([0.5, 2.0, 1.0]).bfloat16()
    ).indices.tolist() == [1, 2]


@pytest.mark.parametrize(
    "values",
    [np.ones((3, 2)), np.array(["a", "b", "c"]), np.array([1, 2, 3], object), np.ones(3, "M8[s]")],
)
def test_what_is_no_number_per_example_is_refused(values):
    with pytest.raises(
        ValueError,
        match=r"loss: expected (one number per example, shape \(N,\), got .* with shape \(3|numbers, got datetime64)",
    ):
        select(TopK("loss"), 1, loss=values)
