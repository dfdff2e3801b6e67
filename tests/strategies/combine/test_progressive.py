"""REFINE's rule, step by step, from what its members were shown and what they chose."""

from dataclasses import dataclass

import numpy as np
import pytest

from coreset import Pool, Selection, Signals, Strategy, select
from coreset.registry import strategy
from coreset.strategies.baseline.random import Random
from coreset.strategies.combine.progressive import Progressive
from coreset.strategies.uncertainty.entropy import Entropy
from coreset.strategies.uncertainty.margin import Margin
from coreset.testing import check_strategy

SHOWN = []


@dataclass(frozen=True)
class Watched(Strategy):
    """Another strategy, whose candidates, selected and answers are written down."""

    inner: Strategy
    name: str = ""

    @property
    def needs(self):
        return self.inner.needs

    def select(self, pool, signals, k, rng) -> Selection:
        answer = self.inner(pool, signals, k, rng)
        SHOWN.append(
            (self.name, pool.candidates.tolist(), pool.selected.tolist(), answer.indices.tolist())
        )
        return answer


def probabilities(n=200, classes=4, seed=0):
    e = np.exp(2 * np.random.default_rng(seed).normal(size=(n, classes)))
    return e / e.sum(axis=1, keepdims=True)


def test_steps_sizes_and_unions():
    SHOWN.clear()
    members = (Watched(Margin(), "a"), Watched(Entropy(), "b"), Watched(Random(), "c"))
    progressive = Progressive(
        members, Watched(Margin(), "final"), depth=4, batches=11, alpha=0.5, subset=120, most=40
    )
    pool = Pool(200, selected=[0, 7], ids=np.arange(200)[::-1] * 3)
    answer = progressive(pool, Signals(200, probs=probabilities()), 10, np.random.default_rng(3))
    left, size, pools, calls = set(pool.candidates.tolist()), 120, [], iter(SHOWN)
    for _ in range(4):
        union = set()
        for name in "abc":
            for _ in range(11 // 3):
                who, candidates, selected, chosen = next(calls)
                assert who == name
                assert selected == [0, 7]
                assert set(candidates) <= left
                assert len(candidates) == min(max(10, size), len(left))
                assert candidates == sorted(candidates)
                union |= set(chosen)
        pools.append(min(40, len(union)))
        # what stays is seen in the next step only: there and at the end it lies in the union
        left, size = union, int(0.5 * pools[-1])
    who, candidates, selected, chosen = next(calls)
    assert (who, selected) == ("final", [0, 7])
    assert set(candidates) <= left
    assert len(candidates) == pools[-1] == answer.info["pools"][-1]
    assert answer.info["pools"] == pools
    assert answer.indices.tolist() == chosen
    assert next(calls, None) is None


def test_without_random_parts_it_is_the_union_of_the_members_answers():
    p = probabilities()
    progressive = Progressive([Margin(), Entropy()], Entropy(), depth=1, batches=2)
    got = progressive(Pool(200), Signals(200, probs=p), 20, np.random.default_rng(0))
    two = np.sort(p, axis=1)
    margin = np.argsort(two[:, -1] - two[:, -2], kind="stable")[:20]
    entropy = (p * np.log(p)).sum(axis=1)  # minus the entropy
    union = np.union1d(margin, np.argsort(entropy, kind="stable")[:20])
    assert got.info["pools"] == [len(union)]
    assert got.indices.tolist() == union[np.argsort(entropy[union], kind="stable")][:20].tolist()
    deep = Progressive([Margin()], Entropy(), depth=3)(
        Pool(200), Signals(200, probs=p), 20, np.random.default_rng(0)
    )
    assert set(deep.indices.tolist()) == set(margin.tolist())
    flat = Progressive([Margin()], Entropy(), depth=0)(
        Pool(200), Signals(200, probs=p), 20, np.random.default_rng(0)
    )
    assert flat.indices.tolist() == np.argsort(entropy, kind="stable")[:20].tolist()
    assert flat.info["pools"] == []


def test_every_candidate_is_as_likely_in_a_part():
    SHOWN.clear()
    progressive = Progressive([Watched(Random())], Random(), depth=1, batches=600, subset=10)
    progressive(Pool(40), Signals(40), 2, np.random.default_rng(0))
    counts = np.bincount(
        np.concatenate([candidates for _, candidates, _, _ in SHOWN]), minlength=40
    )
    assert counts.sum() == 6000
    assert np.abs(counts - 150).max() < 5 * np.sqrt(150 * 0.75)


def test_contract_and_refusals():
    check_strategy(Progressive([Margin(), Random()], Margin(), depth=2, batches=4, subset=25))
    assert [type(m).__name__ for m in strategy("progressive").members] == [
        "Random", "Margin", "Badge", "Bait", "TypiClust", "AlfaMix", "DropQuery", "MaxHerding", "UHerding",
    ]  # fmt: skip
    for wrong, words in (
        ({"members": []}, "members: expected at least one"),
        ({"depth": -1}, "depth: expected a whole number from 0 on, got -1"),
        ({"batches": 0}, "batches: expected a whole number from 1 on, got 0"),
        ({"alpha": 0.0}, r"alpha: expected a share in \(0, 1\], got 0.0"),
        ({"subset": 1.5}, "subset: expected a whole number from 1 on, got 1.5"),
    ):
        with pytest.raises(ValueError, match=words):
            Progressive(**wrong)
    with pytest.raises(TypeError, match="expected strategies, got"):
        Progressive(members=[3])
    assert (
        len(
            select(
                "progressive",
                3,
                probs=probabilities(20),
                options={"members": [Margin()], "final": Margin()},
            )
        )
        == 3
    )
