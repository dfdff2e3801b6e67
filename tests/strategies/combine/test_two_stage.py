import numpy as np
import pytest

from coreset import Pool, Signals
from coreset.registry import strategy
from coreset.strategies.baseline.random import Random
from coreset.strategies.baseline.top_k import TopK
from coreset.strategies.combine.two_stage import TwoStage
from coreset.strategies.coverage.kcenter import KCenterGreedy
from coreset.testing import check_strategy


@pytest.mark.parametrize(
    ("k", "expand", "size"), [(5, 2.0, 10), (5, 1.0, 5), (5, 1.3, 7), (5, 100.0, 28), (1, 1.1, 2)]
)
def test_the_second_chooses_from_the_shortlist_alone(k, expand, size):
    rng = np.random.default_rng(0)
    s, x = rng.uniform(size=30), rng.normal(size=(30, 3))
    signals = Signals(30, s=s, features=x)
    chosen = TwoStage(TopK("s"), KCenterGreedy(), expand)(
        Pool(30, [0, 1]), signals, k, np.random.default_rng(0)
    )
    shortlist = sorted(range(2, 30), key=lambda i: -s[i])[:size]
    taken, want = [0, 1], []
    for _ in range(k):
        free = [i for i in sorted(shortlist) if i not in want]
        want.append(
            max(free, key=lambda i: (min(np.linalg.norm(x[i] - x[j]) for j in taken + want), -i))
        )
    assert chosen.indices.tolist() == want
    assert chosen.info["shortlist"] == size
    assert (np.diff(chosen.scores) <= 0).all()


def test_contract_and_refusals():
    check_strategy(strategy("two_stage"))
    check_strategy(TwoStage(Random(), TopK("loss"), 2.0))
    with pytest.raises(ValueError, match="expand"):
        TwoStage(expand=0.5)
