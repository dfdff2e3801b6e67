import numpy as np
import pytest
import torch

from coreset import select
from coreset.strategies.instruction.self_filter import hardest_apart


def plainly(difficulty, x, k, neighbors, gamma):
    """A dictionary of what is left, sorted anew each time."""
    left, picks = dict(enumerate(difficulty)), []
    for _ in range(k):
        pick = min(left, key=lambda i: (-left[i], i))
        hard = left.pop(pick)
        picks.append((pick, hard))
        cosine = {
            i: float(x[i] @ x[pick] / np.linalg.norm(x[i]) / np.linalg.norm(x[pick])) for i in left
        }
        for i in sorted(left, key=lambda i: (-cosine[i], i))[:neighbors]:
            left[i] -= gamma * hard * cosine[i] ** 2
    return picks


@pytest.mark.parametrize(("neighbors", "gamma"), [(10, 1.0), (3, 0.4), (0, 1.0), (50, 2.0)])
def test_against_the_plain_loop(neighbors, gamma):
    rng = np.random.default_rng(0)
    x, difficulty = rng.normal(size=(40, 5)), rng.normal(size=40)
    picks, now = hardest_apart(
        difficulty, torch.tensor(x), 40, neighbors, gamma
    )  # to the last: fewer than ten are left at the end
    want = plainly(difficulty, x, 40, neighbors, gamma)
    assert picks.tolist() == [i for i, _ in want]
    np.testing.assert_allclose(now, [h for _, h in want], atol=1e-9)


def test_gamma_0_is_the_order_of_difficulty():
    d = np.random.default_rng(2).random(30)
    chosen = select("self_filter", 9, features=np.eye(30), difficulty=d, options={"gamma": 0.0})
    assert chosen.indices.tolist() == np.argsort(-d)[:9].tolist()


def test_a_copy_of_what_is_taken_comes_last():
    x = np.array([[1.0, 0], [2.0, 0], [0, 1], [0, 0]])
    chosen = select("self_filter", 4, features=x, difficulty=np.array([5.0, 4.9, 1, 0.5]))
    assert chosen.indices.tolist() == [0, 2, 3, 1]


def test_refusals():
    with pytest.raises(
        ValueError, match="neighbors, gamma: expected numbers of at least 0, got -1"
    ):
        select(
            "self_filter", 1, features=np.eye(3), difficulty=np.ones(3), options={"neighbors": -1}
        )
    with pytest.raises(ValueError, match="difficulty: expected one number per example"):
        select("self_filter", 1, features=np.eye(3), difficulty=np.ones((3, 2)))
