"""The growing non-negative least squares against scipy, after every variable."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from coreset.strategies.gradient.least_squares import LeastSquares


def reference(a, target, ridge):
    """argmin ||a w - target||² + ridge ||w||², w >= 0, as a stacked least-squares problem."""
    n = a.shape[1]
    return nnls(np.vstack([a, np.sqrt(ridge) * np.eye(n)]), np.append(target, np.zeros(n)))[0]


@given(
    st.integers(1, 14),
    st.integers(2, 20),
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.1, 3.0]),
    st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_optimum_after_every_variable(n, d, seed, ridge, positive):
    rng = np.random.default_rng(seed)
    a, target = rng.normal(size=(d, n)) + positive, rng.normal(size=d)
    problem = LeastSquares(n, ridge)
    for t in range(n):
        problem.add(a[:, t] @ a[:, : t + 1], a[:, t] @ target)
        got, want = problem.weights, reference(a[:, : t + 1], target, ridge)
        assert (got >= 0).all()
        value = [np.sum((a[:, : t + 1] @ w - target) ** 2) + ridge * w @ w for w in (got, want)]
        assert value[0] == pytest.approx(value[1], rel=1e-7, abs=1e-9)
        if ridge:
            assert np.allclose(got, want, atol=1e-7)


def test_variables_that_leave_and_come_back():
    rng = np.random.default_rng(3)
    a = np.abs(rng.normal(size=(30, 60))) + 1  # strongly correlated: many leave
    target = a @ np.maximum(rng.normal(size=60), 0)
    problem = LeastSquares(60, 0.01)
    left = 0
    before = np.zeros(0)
    for t in range(60):
        problem.add(a[:, t] @ a[:, : t + 1], a[:, t] @ target)
        left += int(((before > 0) & (problem.weights[:t] == 0)).sum())
        before = problem.weights.copy()
    assert left > 3
    assert np.allclose(before, reference(a, target, 0.01), atol=1e-6)


def test_a_dependent_variable_changes_nothing():
    problem = LeastSquares(3)
    for row in ([4.0], [4.0, 4.0], [0.0, 0.0, 0.0]):
        problem.add(np.array(row), 8.0 if row[0] else 0.0)
    assert problem.weights.tolist() == [2.0, 0.0, 0.0]


def test_free_weights_and_their_nonnegative_end():
    rng = np.random.default_rng(5)
    a, target = rng.normal(size=(20, 9)), rng.normal(size=20)
    problem = LeastSquares(9, 0.1, positive=False)
    for t in range(9):
        problem.add(a[:, t] @ a[:, : t + 1], a[:, t] @ target)
        b = a[:, : t + 1]
        want = np.linalg.solve(b.T @ b + 0.1 * np.eye(t + 1), b.T @ target)
        assert np.allclose(problem.weights, want, atol=1e-10)
    assert (problem.weights < 0).any()
    assert np.allclose(problem.nonnegative(), reference(a, target, 0.1), atol=1e-8)
