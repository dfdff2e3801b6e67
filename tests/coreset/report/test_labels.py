import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from coreset.report.labels import groups, spread

places = st.lists(st.floats(-1.0, 2.0), min_size=1, max_size=7)


@settings(max_examples=25, deadline=None)
@given(places, st.floats(0.01, 0.15))
def test_spread_is_the_least_squares_answer(wanted, gap):
    """Against a general constrained optimizer."""
    got = spread(wanted, gap, 0.0, 1.0)
    order = np.argsort(wanted, kind="stable")
    assert (np.diff(got[order]) >= gap - 1e-9).all()
    assert got.min() >= -1e-9
    assert got.max() <= 1 + 1e-9
    n = len(wanted)
    y = np.asarray(wanted)[order]
    rows = [{"type": "ineq", "fun": lambda x, i=i: x[i + 1] - x[i] - gap} for i in range(n - 1)]
    start = np.linspace(0, 1, n) if n > 1 else np.array([0.5])
    best = minimize(
        lambda x: ((x - y) ** 2).sum(), start, bounds=[(0, 1)] * n, constraints=rows, method="SLSQP"
    )
    assert ((got[order] - y) ** 2).sum() <= best.fun + 1e-5


def test_labels_that_fit_stay_and_too_many_share_the_room():
    np.testing.assert_allclose(spread([0.9, 0.1, 0.5], 0.1, 0, 1), [0.9, 0.1, 0.5])
    np.testing.assert_allclose(spread([0.5] * 5, 1.0, 0, 1), [0, 0.25, 0.5, 0.75, 1])
    assert len(spread([], 0.1, 0, 1)) == 0


def test_groups_chain_neighbors():
    assert groups([0.0, 0.04, 0.08, 0.5], 0.05) == [[0, 1, 2], [3]]
