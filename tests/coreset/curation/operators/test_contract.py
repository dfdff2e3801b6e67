"""The contract accepts one good operator of each kind and finds every way of breaking it: one small
bad operator a clause.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset.core.batch import Batch, as_batch, objects
from coreset.curation.operators.base import (
    Decision,
    Estimator,
    Filter,
    GroupBy,
    Selector,
    describe,
    flatten,
    kind,
    short_name,
    unique_names,
)
from coreset.curation.operators.contract import run_in_memory
from coreset.curation.operators.select import Select
from coreset.curation.operators.threshold import Threshold
from coreset.numerics.random import keyed_uniform
from coreset.registry import strategy
from coreset.scorers.length import Length
from coreset.testing import check_operator, check_scorer

TEXTS = {"text": objects(["a b c", "a b c", "", "d e", "f", "d e", None, "g h i j"])}


@dataclass(frozen=True)
class Coin(Filter):
    """Drop half the rows, by id."""

    needs = frozenset({"id"})
    seed: int = 0

    def decide(self, batch):
        return Decision.where(keyed_uniform(self.seed, batch["id"]) < 0.5, "tails")


@dataclass(frozen=True)
class MeanLength(Estimator):
    """Drop rows longer than the mean, which is a ratio of whole numbers."""

    needs = frozenset({"text"})

    def fit(self, batch):
        return (sum(len(t or "") for t in batch["text"]), batch.rows)

    def merge(self, a, b):
        return (a[0] + b[0], a[1] + b[1])

    def finish(self, state):
        return LongerThan(state[0] / state[1])


@dataclass(frozen=True)
class LongerThan(Filter):
    needs = frozenset({"text"})
    bound: float

    def decide(self, batch):
        return Decision.where(
            np.array([len(t or "") <= self.bound for t in batch["text"]]), "longer than the mean"
        )


@dataclass(frozen=True)
class Exact(GroupBy):
    """Keep the first id of equal texts."""

    needs = frozenset({"id"})
    key_needs = frozenset({"text"})

    def key(self, batch):
        return batch["text"]

    def decide(self, rows):
        first = np.arange(rows.rows) == 0
        duplicate_of = objects([None, *[rows["id"][0]] * (rows.rows - 1)])
        return Decision.where(first, "duplicate", duplicate_of=duplicate_of)


LONGEST = Select(strategy("top_k", {"signal": "words"}), 2)
WORDS = {"words": np.array([3.0, 1.0, np.nan, 4.0, 4.0, 2.0])}


def test_the_five_kinds_keep_the_contract():
    check_scorer(Length(), TEXTS)
    check_operator(Coin(), TEXTS)
    check_operator(Threshold("words", low=2), WORDS)
    check_operator(MeanLength(), TEXTS)
    check_operator(Exact(), TEXTS)
    check_operator(LONGEST, WORDS)
    assert [kind(o) for o in (Length(), Coin(), MeanLength(), Exact(), LONGEST)] == [
        "score",
        "filter",
        "estimator",
        "group",
        "select",
    ]


def test_a_group_operator_without_any_group_says_nothing():
    table = run_in_memory(Exact(), as_batch({"id": ["a", "b"], "text": ["one", "two"]}))
    assert table.num_rows == 0
    assert table.column_names == ["id", "keep", "reason", "duplicate_of"]


def test_answers():
    table = run_in_memory(Exact(), as_batch({"id": list("abcdefgh"), **TEXTS}))
    # groups of one are not looked at, a missing text has no key
    assert table["id"].to_pylist() == ["a", "b", "d", "f"]
    assert table["duplicate_of"].to_pylist() == [None, "a", None, "d"]
    table = run_in_memory(LONGEST, as_batch({"id": list("fedcba"), **WORDS}))
    assert dict(zip(table["id"].to_pylist(), table["reason"].to_pylist(), strict=True)) == {
        "b": "", "c": "", "d": "words undefined", "a": "not among the 2 chosen", "e": "not among the 2 chosen", "f": "not among the 2 chosen"
    }  # fmt: skip
    assert (
        dict(zip(table["id"].to_pylist(), table["rank"].to_pylist(), strict=True))["b"] == 0
    )  # of two with 4 words the lower id


@given(st.lists(st.integers(0, 5), min_size=4, max_size=30), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_groups_are_connected_components(colors, random):
    """Rows share any of two keys; against components by repeated union of sets."""

    @dataclass(frozen=True)
    class Two(GroupBy):
        needs = key_needs = frozenset({"a", "b"})
        gives = frozenset({"size"})
        smallest = 1

        def key(self, batch):
            return np.stack(
                [batch["a"], np.where(batch["b"] > 0, batch["b"] + 100, 0)], axis=1
            ).astype(np.uint64)

        def decide(self, rows):
            return Decision(
                np.ones(rows.rows, bool),
                [""] * rows.rows,
                columns={"size": np.full(rows.rows, rows.rows)},
            )

    a = [random.randint(1, 9) for _ in colors]
    groups = [{i} for i in range(len(a))]
    for i in range(len(a)):
        for j in range(i):
            if a[i] == a[j] or colors[i] == colors[j] > 0:
                gi, gj = (next(g for g in groups if x in g) for x in (i, j))
                if gi is not gj:
                    groups.remove(gj)
                    gi |= gj
    rows = as_batch({"id": [f"{i:02d}" for i in range(len(a))], "a": a, "b": colors})
    assert run_in_memory(Two(), rows)["size"].to_pylist() == [
        len(next(g for g in groups if i in g)) for i in range(len(a))
    ]


@dataclass(frozen=True)
class Score:
    """A scorer from a function, to break."""

    how: object
    needs = frozenset({"text"})
    gives = frozenset({"s"})

    def __call__(self, batch):
        return {"s": np.array(self.how(batch), float)}


def by_position(batch):
    return range(batch.rows)


def of_batch(batch):
    return [batch.rows] * batch.rows


def nan(batch):
    return [np.nan if not t else 1.0 for t in batch["text"]]


def infinite(batch):
    return [np.inf] * batch.rows


def global_state(batch):
    return np.random.rand(batch.rows)  # noqa: NPY002


def too_few(batch):
    return [0.0] * (batch.rows - 1)


@dataclass(frozen=True)
class FloatSum(MeanLength):
    """Adds floating-point numbers in turn."""

    needs = frozenset({"v"})
    gives = frozenset({"scaled"})

    def fit(self, batch):
        return (float(np.add.reduce(batch["v"])), batch.rows)

    def finish(self, state):
        return Scaled(state[0])


@dataclass(frozen=True)
class Scaled:
    by: float
    needs = frozenset({"v"})
    gives = frozenset({"scaled"})

    def __call__(self, batch):
        return {"scaled": batch["v"] * self.by}


@dataclass(frozen=True)
class WrongTwin(Exact):
    def decide(self, rows):
        return Decision(
            [False] * rows.rows, ["duplicate"] * rows.rows, objects([rows["id"][0]] * rows.rows)
        )


@dataclass(frozen=True)
class Stream(Coin):
    """Draws from a stream instead of by id."""

    def decide(self, batch):
        return Decision.where(np.random.default_rng(0).random(batch.rows) < 0.5, "tails")


@dataclass(frozen=True)
class OtherName(Coin):
    gives = frozenset({"coin"})


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (Score(by_position), "'s' of"),
        (Score(of_batch), "one row at a time"),
        (Score(nan), "is NaN in row 2, where no status says why"),
        (Score(infinite), "is infinite"),
        (Score(global_state), "used numpy's global random state"),
        (Score(too_few), "column 's' has 7 entries for 8 rows"),
        (FloatSum(), "'scaled' of"),
        (WrongTwin(), "the duplicate_of ['row-0000'] is not a row that is kept"),
        (Stream(), "'keep' of"),
        (OtherName(), "says it gives ['coin'] but gave []"),
    ],
    ids=lambda v: type(v).__name__ + getattr(getattr(v, "how", None), "__name__", "") if not isinstance(v, str) else "",
)  # fmt: skip
def test_every_way_of_breaking_it_is_found(bad, words, monkeypatch):
    monkeypatch.setattr("coreset.curation.operators.contract.describe", lambda o: o)
    columns = {**TEXTS, "v": np.array([0.1, 0.2, 0.3, 1e9, 0.7, -1e9, 0.9, 0.4])}
    with pytest.raises((AssertionError, ValueError)) as caught:
        check_operator(bad, columns)
    assert words in str(caught.value)


def test_a_verdict_is_checked():
    for keep, reason, words in [
        ([True], ["late"], "row 0 is kept, but with the reason 'late'"),
        ([True, False], ["", ""], "row 1 is dropped without a reason"),
        ([True, False], [""], "reason: expected 2 entries, one per row, got 1"),
        ([1, 0], ["", "x"], "expected one truth value per row"),
    ]:
        with pytest.raises(ValueError, match=words):
            Decision(keep, reason)


def test_kinds_names_and_descriptions():
    with pytest.raises(TypeError, match="no frozenset 'needs'"):
        kind(partial(len))
    with pytest.raises(TypeError, match="it is a class, not made yet"):
        kind(Length)
    assert [short_name(o) for o in (Coin(), MeanLength(), Length("response"))] == [
        "coin",
        "mean_length",
        "response_words",
    ]
    assert unique_names([Coin(), Coin(1), Exact()]) == ["coin", "coin_2", "exact"]
    assert flatten([Coin(), [Exact(), [Coin(2)]]]) == [Coin(), Exact(), Coin(2)]
    about = describe(LONGEST)
    assert about["strategy"] == {
        "_target_": "coreset.strategies.baseline.top_k.TopK",
        "signal": "words",
        "highest": True,
    }
    with pytest.raises(TypeError, match="plain values"):
        describe(Score(len))
    with pytest.raises(AssertionError, match="is no frozen dataclass"):
        check_operator(type("Loose", (Selector,), {"needs": frozenset(), "decide": None})(), WORDS)


def test_a_batch_converts_what_is_read():
    table = pa.table({
        "id": ["a", "b"], "v": pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2, 3, 4]), 2), "tags": [["x"], []],
        "n": pa.array([1, 2], pa.int32()), "d": pa.array(["q", None]).dictionary_encode(),
    })  # fmt: skip
    batch = Batch(table)
    assert batch["v"].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert batch["tags"].tolist() == [["x"], []]
    assert batch["n"].dtype == np.int32
    assert batch["d"].tolist() == ["q", None]
    assert batch["id"] is batch["id"]
    with pytest.raises(KeyError, match="column 'x' is missing; present: d, id, n, tags, v"):
        batch["x"]
