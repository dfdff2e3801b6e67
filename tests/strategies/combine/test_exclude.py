import numpy as np
import pytest
import torch

from coreset import Pool, Signals, select
from coreset.registry import strategy
from coreset.strategies.baseline.top_k import TopK
from coreset.strategies.combine.exclude import Exclude
from coreset.testing import check_strategy

S = np.array([5.0, 9.0, 7.0, 1.0, 8.0])


def test_the_three_lists_add_up():
    signals = Signals(5, s=S, bad=np.array([False, True, False, False, False]))
    exclude = Exclude(TopK("s"), column="bad", ids=["e", "elsewhere"], positions=[3])
    chosen = exclude(Pool(5, ids=np.array(list("abcde"))), signals, 2, np.random.default_rng(0))
    assert chosen.indices.tolist() == [2, 0]
    assert chosen.scores.tolist() == [7.0, 5.0]
    assert chosen.info["excluded"] == 3
    with pytest.raises(
        ValueError, match="3 of 5 candidates are excluded, which leaves 2, fewer than the 3"
    ):
        exclude(Pool(5, ids=np.array(list("abcde"))), signals, 3, np.random.default_rng(0))


def test_whole_number_ids_and_tensors():
    chosen = select(Exclude(TopK("s"), ids=[101]), 1, s=S, ids=np.arange(100, 105))
    assert chosen.indices.tolist() == [4]
    mask = torch.tensor([False, True, False, False, True])
    assert select(Exclude(TopK("s"), column="bad"), 1, s=S, bad=mask).indices.tolist() == [2]


def test_contract_and_refusals():
    check_strategy(strategy("exclude"))
    columns = {"s": np.random.default_rng(0).permutation(48) / 48.0, "bad": np.zeros(48, bool)}
    check_strategy(Exclude(TopK("s"), column="bad"), columns)
    with pytest.raises(ValueError, match="bad: expected a boolean column"):
        select(Exclude(TopK("s"), column="bad"), 1, s=S, bad=np.zeros(5))
    with pytest.raises(ValueError, match="positions: 1 positions lie outside"):
        select(Exclude(TopK("s"), positions=[5]), 1, s=S)
