import numpy as np
import pytest
from scipy import stats

from coreset.report.pairwise import cells, wins, wins_html
from coreset.runs.curve import Curve, Point

RNG = np.random.default_rng(0)
LABELS, SEEDS = (10, 20, 40, 80), 5
VALUES = {
    name: 0.5 + gain + 0.02 * RNG.normal(size=(SEEDS, len(LABELS)))
    for name, gain in (("a", 0.0), ("b", 0.03), ("c", np.array([0.0, 0.0, 0.06, 0.06])))
}


def curves(values):
    return [
        Curve(name, s, [Point(n, n / 100, float(v)) for n, v in zip(LABELS, row, strict=True)])
        for name, rows in values.items()
        for s, row in enumerate(rows)
    ]


def test_the_matrix_is_the_published_one():
    """Reference: Ash et al., one over the budgets for each at which t > 2.776 (5 seeds, 5 %)."""
    names, matrix = wins(curves(VALUES))
    critical = stats.t.ppf(0.975, SEEDS - 1)
    assert critical == pytest.approx(2.776, abs=1e-3)
    for i, one in enumerate(names):
        for j, other in enumerate(names):
            if i == j:
                assert np.isnan(matrix[i, j])
                continue
            d = VALUES[one] - VALUES[other]
            t = np.sqrt(SEEDS) * d.mean(axis=0) / d.std(axis=0, ddof=1)
            assert matrix[i, j] == pytest.approx(np.sum(t > critical) / len(LABELS))
    losses = np.nanmean(matrix, axis=0)
    assert losses.tolist() == sorted(losses)
    assert np.nansum(matrix) > 0.5
    assert cells(names, matrix)[-1][0] == "loses"


def test_one_seed_has_no_matrix():
    one = {name: rows[:1] for name, rows in VALUES.items()}
    assert np.isnan(wins(curves(one))[1]).all()
    assert wins_html(curves(one)) == ""
    assert "row beats column" in wins_html(curves(VALUES))
