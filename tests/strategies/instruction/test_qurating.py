"""Against the law of the draws: one after the other in proportion to exp(z / T) of what is left."""

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import chisquare

from coreset import select
from coreset.curation.operators.select import Select
from coreset.registry import strategy
from coreset.testing import check_operator

RATINGS = np.array([-3.0, 0.0, 4.0, 9.0])


def law(ratings, temperature, normalize, k):
    """Return the probability of every ordered draw of k."""
    z = (ratings - ratings.mean()) / ratings.std() if normalize else ratings
    weight = np.exp(z / temperature)
    out = {}
    for order in permutations(range(len(ratings)), k):
        p, left = 1.0, weight.sum()
        for i in order:
            p, left = p * weight[i] / left, left - weight[i]
        out[order] = p
    return out


@pytest.mark.parametrize(("temperature", "normalize"), [(2.0, True), (0.7, True), (4.0, False)])
def test_the_law_of_the_draws(temperature, normalize):
    want, draws = law(RATINGS, temperature, normalize, 2), 6000
    options = {"temperature": temperature, "normalize": normalize}
    counts = dict.fromkeys(want, 0)
    for seed in range(draws):
        counts[
            tuple(
                select("qurating", 2, rating=RATINGS, seed=seed, options=options).indices.tolist()
            )
        ] += 1
    expected = np.array(list(want.values())) * draws
    assert chisquare(list(counts.values()), expected).pvalue > 1e-4
    other = np.array(list(law(RATINGS, temperature * 1.5, normalize, 2).values())) * draws
    # the test can tell temperatures apart
    assert chisquare(list(counts.values()), other).pvalue < 1e-4


def test_a_shift_and_a_scale_of_the_ratings_change_nothing():
    rng = np.random.default_rng(0)
    ratings = rng.normal(size=50)
    one, two = (
        select("qurating", 20, rating=r, seed=4).indices.tolist()
        for r in (ratings, 7 * ratings - 3)
    )
    assert one == two


def test_no_temperature_takes_the_highest():
    got = select(
        "qurating", 3, rating=[1.0, 5.0, 5.0, 2.0], ids=list("dcba"), options={"temperature": 0.0}
    )
    assert got.indices.tolist() == [2, 1, 3]


def test_ratings_that_are_all_the_same_are_drawn_alike():
    firsts = [select("qurating", 1, rating=np.full(4, 3.0), seed=s).indices[0] for s in range(2000)]
    assert chisquare(np.bincount(firsts, minlength=4)).pvalue > 1e-4


def test_bad_input():
    with pytest.raises(ValueError, match=r"temperature: expected a number in \[0, inf\), got -1"):
        strategy("qurating", {"temperature": -1.0})
    with pytest.raises(ValueError, match="rating: expected one value per example"):
        select("qurating", 1, rating=np.ones((3, 2)))


def test_in_a_pipeline():
    rows = {"rating": np.random.default_rng(0).normal(size=30), "tokens": np.arange(1.0, 31.0)}
    check_operator(Select(strategy("qurating"), 0.3), rows)
    check_operator(Select(strategy("qurating"), 100, cost="tokens"), rows)
