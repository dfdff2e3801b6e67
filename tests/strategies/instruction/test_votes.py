import numpy as np
import pytest

from coreset import select
from coreset.strategies.instruction.votes import count_votes


def percentile(values, q):
    """Linear interpolation between the two nearest ranks."""
    ordered = sorted(values)
    at = q / 100 * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])


@pytest.mark.parametrize("q", [0, 37.5, 80, 100])
def test_a_vote_is_a_place_at_or_above_the_percentile(q):
    x = np.random.default_rng(0).normal(size=(53, 7)).round(1)  # with ties
    bounds = [percentile(x[:, t].tolist(), q) for t in range(7)]
    want = [sum(x[i, t] >= bounds[t] - 1e-12 for t in range(7)) for i in range(53)]
    assert count_votes(x, q).tolist() == want


def test_the_most_votes_and_of_equal_votes_the_lowest_id():
    x = np.random.default_rng(1).normal(size=(40, 5))
    votes = count_votes(x)
    order = sorted(range(40), key=lambda i: (-votes[i], i))
    chosen = select("votes", 12, influence=x)
    assert chosen.indices.tolist() == order[:12]
    assert chosen.scores.tolist() == votes[order[:12]].tolist()
    assert len(set(votes[order[:12]])) < 12
    names = np.array([f"{39 - i:02d}" for i in range(40)])
    order = sorted(range(40), key=lambda i: (-votes[i], -i))
    assert select("votes", 12, influence=x, ids=names).indices.tolist() == order[:12]


def test_one_task_is_its_own_order_of_two_halves():
    chosen = select(
        "votes", 2, influence=np.array([[1.0], [9], [5], [7]]), options={"percentile": 50}
    )
    assert chosen.indices.tolist() == [1, 3]


def test_refusals():
    with pytest.raises(ValueError, match=r"percentile: expected a number in \[0, 100\], got 120"):
        select("votes", 1, influence=np.ones((3, 2)), options={"percentile": 120})
    with pytest.raises(ValueError, match=r"influence: expected shape \(N, T\), got \(3,\)"):
        select("votes", 1, influence=np.ones(3))
