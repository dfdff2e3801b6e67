import numpy as np
import pytest

from coreset import select
from coreset.registry import strategy
from coreset.strategies.uncertainty.cal import Cal
from coreset.testing import check_strategy


def example(n=40, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 4)), rng.dirichlet(np.ones(3), size=n)


@pytest.mark.parametrize(("neighbors", "taken"), [(10, 15), (3, 15), (10, 4), (1, 1)])
def test_mean_divergence_from_labeled_neighbors(neighbors, taken):
    x, p = example()
    selected = np.random.default_rng(1).permutation(40)[:taken]
    candidates = [i for i in range(40) if i not in selected]
    score = {}
    for i in candidates:
        near = sorted(selected, key=lambda j: (((x[i] - x[j]) ** 2).sum(), j))[:neighbors]
        score[i] = np.mean([(p[j] * np.log(p[j] / p[i])).sum() for j in near])
    chosen = select(
        "cal", 12, features=x, probs=p, selected=selected, options={"neighbors": neighbors}
    )
    order = sorted(candidates, key=lambda i: -score[i])[:12]
    assert chosen.indices.tolist() == order
    np.testing.assert_allclose(chosen.scores, [score[i] for i in order], atol=1e-12)


def test_saturated_predictions_are_finite():
    p = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.5, 0.5]], np.float16)
    chosen = select("cal", 3, features=np.zeros((4, 2), np.float16), probs=p, selected=[0])
    assert chosen.indices.tolist() == [1, 3, 2]
    np.testing.assert_allclose(chosen.scores, [-np.log(1e-12), np.log(2), 0], atol=1e-9)


def test_contract_and_refusals():
    check_strategy(strategy("cal"))
    check_strategy(Cal(neighbors=2))
    x, p = example()
    with pytest.raises(ValueError, match="selected: CAL compares"):
        select("cal", 1, features=x, probs=p)
    with pytest.raises(ValueError, match="neighbors"):
        Cal(0)
