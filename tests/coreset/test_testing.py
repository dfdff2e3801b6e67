"""The contract finds every way of breaking it: one small bad strategy a clause."""

import random
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from coreset import Selection, Strategy
from coreset.core.pool import Pool
from coreset.numerics.random import keyed_order
from coreset.score_based import ScoreBased
from coreset.testing import check_strategy, example_signals


@dataclass(frozen=True)
class Good(ScoreBased):
    """Highest value of a column, the base of all that is broken below."""

    needs = frozenset({"loss"})

    def score(self, pool, signals):
        return np.asarray(signals.column("loss"), np.float64)[pool.candidates]

    def check(self, pool, signals, k):
        super().check(pool, signals, k)
        if signals.column("loss").ndim != 1:
            raise ValueError("loss: expected shape (N,)")

    def order(self, pool, signals):
        return pool.candidates[np.argsort(-self.score(pool, signals), kind="stable")]

    def select(self, pool, signals, k, rng):
        return Selection(self.order(pool, signals)[:k])


def test_the_good_one_passes():
    check_strategy(Good())
    check_strategy(Good(), {"loss": np.linspace(0.1, 0.9, 24)})


class Twice(Good):
    def select(self, pool, signals, k, rng):
        return Selection(np.repeat(self.order(pool, signals), 2)[:k])


class TooFew(Good):
    def select(self, pool, signals, k, rng):
        return Selection(self.order(pool, signals)[: k - 1])


class Outside(Good):
    def select(self, pool, signals, k, rng):
        return Selection(np.argsort(-signals.column("loss"))[:k])


class SubsetPositions(Good):
    def select(self, pool, signals, k, rng):
        return Selection(np.argsort(-self.score(pool, signals))[:k])


class NumpyGlobal(Good):
    def select(self, pool, signals, k, rng):
        np.random.rand()  # noqa: NPY002
        return super().select(pool, signals, k, rng)


class TorchGlobal(Good):
    def select(self, pool, signals, k, rng):
        torch.rand(1)
        return super().select(pool, signals, k, rng)


class PythonGlobal(Good):
    def select(self, pool, signals, k, rng):
        random.random()
        return super().select(pool, signals, k, rng)


class LeavesErrorsRaised(Good):
    def select(self, pool, signals, k, rng):
        np.seterr(all="raise")
        return super().select(pool, signals, k, rng)


class NewDraw(Good):
    def select(self, pool, signals, k, rng):
        return Selection(np.random.default_rng().permutation(pool.candidates)[:k])


class ByThreads(Good):
    def select(self, pool, signals, k, rng):
        return Selection(np.roll(self.order(pool, signals), torch.get_num_threads() == 2)[:k])


class ByPosition(Good):
    random = True

    def select(self, pool, signals, k, rng):
        return Selection(rng.permutation(pool.candidates)[:k])


class FirstInPool(Good):
    def select(self, pool, signals, k, rng):
        return Selection(pool.candidates[:k])


class NoPrefix(Good):
    def select(self, pool, signals, k, rng):
        return Selection(self.order(pool, signals)[:k][::-1])


class WritesColumn(Good):
    def select(self, pool, signals, k, rng):
        signals.column("loss")[pool.candidates[0]] += 1e-3
        return super().select(pool, signals, k, rng)


class WritesPool(Good):
    def select(self, pool, signals, k, rng):
        out = super().select(pool, signals, k, rng)
        pool.candidates[:] = pool.candidates[::-1].copy()
        return out


class TakesNaN(Good):
    def check(self, pool, signals, k):
        signals.check("loss", pool.candidates)
        if signals.column("loss").ndim != 1:
            raise ValueError("loss: expected shape (N,)")


class TakesNaNOfTaken(TakesNaN):
    needs_selected = frozenset({"loss"})

    def check(self, pool, signals, k):
        super().check(pool, signals, k)
        loss = np.asarray(signals.column("loss"))[pool.candidates]
        if not np.isfinite(loss).all():
            raise ValueError(f"loss: {int((~np.isfinite(loss)).sum())} NaN")


class TakesAnyShape(Good):
    def check(self, pool, signals, k):
        ScoreBased.check(self, pool, signals, k)

    def score(self, pool, signals):
        return np.asarray(signals.column("loss")).reshape(len(pool.ids), -1)[pool.candidates, 0]


class NamesNothing(Good):
    def check(self, pool, signals, k):
        try:
            super().check(pool, signals, k)
        except ValueError:
            raise ValueError("bad input") from None


class NotAll(Good):
    def select(self, pool, signals, k, rng):
        if k == len(pool.candidates):
            raise ValueError("k too large")
        return super().select(pool, signals, k, rng)


class ShakyWeights(Good):
    def select(self, pool, signals, k, rng):
        picks = self.order(pool, signals)[:k]
        return Selection(picks, 1.0 + picks)  # weights by position


class SaysNotRandom(Good):
    def select(self, pool, signals, k, rng):
        return Selection(pool.candidates[keyed_order(rng, pool.ids[pool.candidates])[:k]])


class CountsNothing(Good):
    def check(self, pool, signals, k):
        try:
            super().check(pool, signals, k)
        except ValueError:
            raise ValueError("loss: NaN somewhere") from None


class TakesInfinity(Good):
    def check(self, pool, signals, k):
        signals.check("loss", pool.candidates)
        loss = np.asarray(signals.column("loss"))
        if loss.ndim != 1 or np.isnan(loss[pool.candidates]).any():
            raise ValueError(f"loss: {int(np.isnan(loss[pool.candidates]).sum())} NaN")


class IndexErrorOnTies(Good):
    def select(self, pool, signals, k, rng):
        s = self.score(pool, signals)
        order = [int(np.flatnonzero(s == v)[0]) for v in np.unique(s)[::-1]]
        return Selection(pool.candidates[[order[i] for i in range(k)]])


class ShortOnNegative(Good):
    def select(self, pool, signals, k, rng):
        return Selection(
            [i for i in self.order(pool, signals) if signals.column("loss")[i] >= 0][:k]
        )


class NegativeInNoWords(Good):
    def select(self, pool, signals, k, rng):
        if (signals.column("loss") < 0).any():
            raise ValueError("bad input")
        return super().select(pool, signals, k, rng)


@dataclass(frozen=True)
class OfProbs(ScoreBased):
    """Highest first probability; the base of what is broken about probabilities and classes."""

    needs = frozenset({"probs"})

    def score(self, pool, signals):
        return np.asarray(signals.column("probs"), np.float64)[pool.candidates, 0]


class SoftmaxAgain(OfProbs):
    def score(self, pool, signals):
        p = signals.column("probs")
        if p.dtype == np.float16:  # "they do not sum to one"
            p = np.exp(p.astype(np.float64) * np.linspace(0, 9, len(p))[:, None])
            p /= p.sum(axis=1, keepdims=True)
        return np.asarray(p, np.float64)[pool.candidates, 0]


class TakesHalves(OfProbs):
    def check(self, pool, signals, k):
        p = np.asarray(signals.check("probs", pool.candidates))
        if p.ndim != 2 or not np.isfinite(p[pool.candidates]).all():
            raise ValueError(
                f"probs: {int((~np.isfinite(p).all(axis=1)).sum()) if p.ndim == 2 else p.shape}"
            )
        if (p[pool.candidates] < 0).any():
            raise ValueError(f"probs: {int((p < 0).any(axis=1).sum())} negative")


class TakesNegative(OfProbs):
    def check(self, pool, signals, k):
        p = np.asarray(signals.check("probs", pool.candidates))
        if p.ndim != 2 or (np.abs(np.abs(p.sum(axis=1)) - 1) > 1e-2).any() or np.isnan(p).any():
            wrong = (
                int((~(np.abs(np.abs(p.sum(axis=1)) - 1) < 1e-2)).sum()) if p.ndim == 2 else p.shape
            )
            raise ValueError(f"probs: {wrong} wrong")


class DividesByDoubt(OfProbs):
    def score(self, pool, signals):
        s = 1 / float(1 - np.asarray(signals.column("probs"))[pool.candidates[0]].max())
        return super().score(pool, signals) * s


class SecondClass(OfProbs):
    def score(self, pool, signals):
        return np.asarray(signals.column("probs"), np.float64)[pool.candidates, 1]


@dataclass(frozen=True)
class SecondFeature(ScoreBased):
    needs = frozenset({"features"})

    def score(self, pool, signals):
        return np.asarray(signals.column("features"), np.float64)[pool.candidates, 1]


@dataclass(frozen=True)
class CountsLabels(Good):
    needs = frozenset({"loss", "labels"})

    def score(self, pool, signals):
        y = np.asarray(signals.column("labels"))
        if len(y.shape) != 1:
            raise ValueError("labels: expected shape (N,)")
        return super().score(pool, signals) / np.bincount(y)[y[pool.candidates]]


@dataclass(frozen=True)
class TwoPerClass(Good):
    needs = frozenset({"loss", "labels"})
    greedy = False

    def select(self, pool, signals, k, rng):
        if k == len(pool.candidates):
            return Selection(pool.candidates)
        y = signals.column("labels")[pool.candidates]
        rows = [
            pool.candidates[y == c][np.argsort(-self.score(pool, signals)[y == c])]
            for c in range(4)
        ]
        return Selection(np.array([r[i] for i in range(k // 4 + 1) for r in rows])[:k])


@pytest.mark.parametrize(
    ("broken", "error", "words"),
    [
        (Twice, AssertionError, "Twice returned an example twice"),
        (TooFew, AssertionError, "returned 12 examples instead of 13"),
        (Outside, AssertionError, "an example that is no candidate"),
        (SubsetPositions, AssertionError, "no candidate|under a permutation"),
        (NumpyGlobal, AssertionError, "numpy's global random state"),
        (TorchGlobal, AssertionError, "torch's global random state"),
        (PythonGlobal, AssertionError, "Python's global random state"),
        (LeavesErrorsRaised, AssertionError, "changed a global switch of numpy or torch"),
        (NewDraw, AssertionError, "a second call with the same seed"),
        (ByThreads, AssertionError, "on . threads"),
        (ByPosition, AssertionError, "under a permutation of the pool"),
        (FirstInPool, AssertionError, "under a permutation of the pool"),
        (NoPrefix, AssertionError, "a budget of 1"),
        (WritesColumn, AssertionError, "changed the column 'loss'"),
        (WritesPool, AssertionError, "changed the pool's candidates"),
        (TakesNaN, AssertionError, "NaN in 'loss' was not refused with ValueError"),
        (TakesNaNOfTaken, AssertionError, "NaN in 'loss' was not refused with ValueError"),
        (TakesAnyShape, AssertionError, "a wrong shape in 'loss' was not refused"),
        (NamesNothing, AssertionError, "the message does not name it: bad input"),
        (NotAll, ValueError, "k too large"),
        (ShakyWeights, AssertionError, "the weights changed"),
        (SaysNotRandom, AssertionError, "another seed, although `random` is False"),
        (
            CountsNothing,
            AssertionError,
            "NaN in 2 rows of 'loss': the message does not count them: loss: NaN somewhere",
        ),
        (
            TakesInfinity,
            AssertionError,
            "NaN in 2 rows of 'loss': the message does not count them: loss: 1 NaN",
        ),
        (IndexErrorOnTies, AssertionError, "a pool of duplicates: IndexError"),
        (
            ShortOnNegative,
            AssertionError,
            "negative scores: AssertionError: ShortOnNegative returned 0 examples",
        ),
        (
            NegativeInNoWords,
            AssertionError,
            r"negative scores: the message names no column: ValueError\('bad input'\)",
        ),
        (SoftmaxAgain, AssertionError, "half precision against the same numbers in single"),
        (TakesHalves, AssertionError, "no probabilities in 'probs' was not refused"),
        (TakesNegative, AssertionError, "no probabilities in 'probs' was not refused"),
        (DividesByDoubt, AssertionError, "saturated probabilities: ZeroDivisionError"),
        (TwoPerClass, AssertionError, "a class of one: IndexError"),
        (SecondClass, AssertionError, "one class in all: IndexError"),
        (SecondFeature, AssertionError, "one feature: IndexError"),
        (CountsLabels, AssertionError, "unknown labels: the message names no column"),
    ],
)
def test_a_broken_strategy_is_found(broken, error, words):
    with np.errstate(), pytest.raises(error, match=words):
        check_strategy(broken())


def test_random_by_id_passes_and_threads_are_put_back():
    @dataclass(frozen=True)
    class Keyed(Strategy):
        needs = frozenset()
        random = True

        def select(self, pool: Pool, signals, k, rng):
            return Selection(pool.candidates[keyed_order(rng, pool.ids[pool.candidates])[:k]])

    before = torch.get_num_threads()
    check_strategy(Keyed())
    assert torch.get_num_threads() == before


def test_example_signals_fit_their_meaning():
    names = frozenset({"features", "logits", "probs", "member_probs", "labels", "loss"})
    signals = example_signals(40, names)
    assert {n: v.shape for n, v in signals.items()} == {
        "features": (40, 6), "logits": (40, 4), "probs": (40, 4), "member_probs": (40, 5, 4), "labels": (40,), "loss": (40,),
    }  # fmt: skip
    assert np.bincount(signals["labels"]).tolist() == [10] * 4
    np.testing.assert_allclose(signals["member_probs"].sum(-1), 1)
    np.testing.assert_allclose(
        np.exp(signals["logits"]) / np.exp(signals["logits"]).sum(1, keepdims=True),
        signals["probs"],
    )
