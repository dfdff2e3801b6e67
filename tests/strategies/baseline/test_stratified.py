import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset import select
from coreset.registry import strategy
from coreset.testing import check_strategy


@pytest.mark.parametrize("balance", ["proportional", "equal"])
def test_contract(balance):
    check_strategy(strategy("stratified", {"balance": balance}))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-1, 5), min_size=1, max_size=60), st.data())
def test_shares_are_exact(labels, data):
    y = np.array(labels)
    k = data.draw(st.integers(1, len(y)))
    classes, counts = np.unique(y, return_counts=True)
    got = select("stratified", k, labels=y, seed=k).indices
    taken = np.array([(y[got] == c).sum() for c in classes])
    assert (np.abs(taken - counts * k / len(y)) < 1).all()
    got = select("stratified", k, labels=y, seed=k, options={"balance": "equal"}).indices
    taken = np.array([(y[got] == c).sum() for c in classes])
    below = taken[
        taken < counts
        # classes that are not exhausted differ by one at most, and none has less than an exhausted
        # one
    ]
    if len(below):
        assert below.max() - below.min() <= 1
        assert taken.max() <= below.min() + 1


def test_equal_gives_a_small_class_all_it_has():
    y = np.array([0] * 50 + [1] * 2 + [2] * 50)
    got = y[select("stratified", 20, labels=y, options={"balance": "equal"}).indices]
    assert np.bincount(got).tolist() == [9, 2, 9]


def test_classes_take_turns_and_early_choices_cover_them():
    y = np.repeat([0, 1, 2, 3], 25)
    got = y[select("stratified", 40, labels=y).indices]
    for start in range(0, 40, 4):
        assert sorted(got[start : start + 4]) == [0, 1, 2, 3]


def test_shares_of_different_size_are_spread_evenly():
    y = np.array([0] * 30 + [1] * 10)
    # at (i + 1/2) / share
    assert y[select("stratified", 8, labels=y).indices].tolist() == [0, 0, 1, 0, 0, 0, 1, 0]


def test_only_candidates_count():
    y = np.array([0] * 10 + [1] * 10)
    got = select("stratified", 4, labels=y, candidates=[0, 1, 10, 11, 12, 13, 14, 15]).indices
    assert np.bincount(y[got]).tolist() == [1, 3]


def test_choice_within_a_class_is_random():
    y = np.repeat([0, 1], 20)
    counts = np.zeros(40)
    for seed in range(400):
        counts[select("stratified", 10, labels=y, seed=seed).indices] += 1
    assert counts.sum() == 4000
    assert np.abs(counts - 100).max() < 5 * np.sqrt(400 * 0.25 * 0.75)


def test_tensors_and_any_whole_numbers():
    y = np.array([0, 1, 1, 0, 2, 2])
    want = select("stratified", 3, labels=y).indices.tolist()
    for column in (torch.tensor(y), y.astype(np.uint8), y.astype(np.int16), y.tolist()):
        assert select("stratified", 3, labels=column).indices.tolist() == want


def test_refusals():
    with pytest.raises(ValueError, match="balance: expected proportional or equal, got 'even'"):
        strategy("stratified", {"balance": "even"})
    for labels in (["a", "b"], [0.0, 1.0]):
        with pytest.raises(ValueError, match="labels: expected whole numbers"):
            select("stratified", 1, labels=labels)
