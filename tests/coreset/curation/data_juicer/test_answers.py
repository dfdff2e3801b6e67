"""What an operator says about rows as stats: bad rows alone are rejected, and types do not depend
on the rows of a batch.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
from toys import Common, Fails, Near

from coreset.core.batch import objects
from coreset.curation.data_juicer.answers import at_once, row_wise
from coreset.curation.data_juicer.rows import STATS, joined, read
from coreset.curation.operators.base import Decision, Filter
from coreset.curation.operators.contract import run_in_memory
from coreset.curation.operators.dedup import ExactDuplicates
from coreset.curation.operators.select import Select
from coreset.curation.operators.threshold import Threshold
from coreset.registry import strategy
from coreset.scorers.length import Length


def rows(operator, texts, **columns):
    fields = {"id": [f"r{i}" for i in range(len(texts))], "text": list(texts), **columns}
    return read(fields, operator.needs | getattr(operator, "key_needs", frozenset()))


def test_scores_and_the_band_that_is_kept():
    stats = row_wise(
        Length(), Threshold("text_words", low=2), rows(Length(), ["one", "one two", " "])
    ).stats
    assert stats["id"] == ["r0", "r1", "r2"]
    assert stats["state"] == [
        "kept" if i == 1 else "rejected" if i == 2 else "dropped" for i in range(3)
    ]
    assert stats["reason"] == ["text_words below 2", "", "empty_text: 'text' is empty"]
    np.testing.assert_array_equal(stats["text_words"], [1.0, 2.0, np.nan])
    assert stats["text_words_status"] == ["ok", "ok", ""]
    assert all(type(v) in (str, float) for values in stats.values() for v in values)


def test_a_row_an_operator_fails_on_is_rejected_alone():
    stats = row_wise(Fails(), None, rows(Fails(), ["fine", "boom here", "", "fine too"])).stats
    assert stats["state"] == ["kept", "rejected", "rejected", "kept"]
    assert stats["reason"][1] == "operator_failed: ValueError: cannot read 'boom here'"
    assert stats["reason"][2].startswith("empty_text")


def test_an_operator_that_fails_on_a_whole_batch_stops_the_run():
    with pytest.raises(
        ValueError, match="Fails fails on a batch of 2 rows: ValueError: cannot read 'row 0'"
    ):
        row_wise(Fails("row"), None, rows(Fails("row"), ["row 0", "row 1"]))
    one = row_wise(Fails("row"), None, rows(Fails("row"), ["row 0"])).stats  # it may be the row
    assert one["state"] == ["rejected"]


@dataclass(frozen=True)
class InCompany(Filter):
    """Fail on several rows, never on one."""

    needs = frozenset({"text"})
    error: type = KeyError

    def decide(self, batch):
        if batch.rows > 1 or self.error in (OSError, MemoryError):
            raise self.error("text")
        return Decision([True], [""])


def test_a_fault_that_is_no_rows_stops_the_run():
    with pytest.raises(ValueError, match="InCompany fails on a batch of 2 rows: KeyError"):
        row_wise(InCompany(), None, rows(InCompany(), ["a", "b"]))
    for error in (OSError, MemoryError):  # a disk, a model that is not there: no fault of a row
        with pytest.raises(error):
            row_wise(InCompany(error), None, rows(InCompany(error), ["a"]))


@dataclass(frozen=True)
class Odd:
    """Give a number, a text and truth, which may be undefined; nothing is said about no rows."""

    needs = frozenset({"text"})
    gives = frozenset({"size", "label", "size_status"})

    def __call__(self, batch):
        texts = batch["text"].tolist()
        if not texts:
            raise IndexError("no rows")
        return {
            "size": objects([None if "?" in t else len(t) for t in texts]),
            "label": objects([None if "?" in t else t[:1] for t in texts]),
            "size_status": objects(["undefined" if "?" in t else "ok" for t in texts]),
        }


def types(answers):
    return {n: str(pa.array(v).type) for n, v in answers.stats.items()}


@pytest.mark.parametrize("texts", [["ab"], ["ab", "?"], ["ab", " "], ["ab"] * 3])
def test_types_do_not_depend_on_the_batch(texts):
    assert types(row_wise(Odd(), None, rows(Odd(), texts))) == types(
        row_wise(Odd(), None, rows(Odd(), ["x", "y"]))
    )


def test_types_of_a_batch_in_which_every_row_is_bad():
    for operator in (Length(), Common().finish({"a": 1})):
        good, bad = (row_wise(operator, None, rows(operator, [t, t])) for t in ("a b", " "))
        assert types(good) == types(bad)
    # even when it cannot say
    status = row_wise(Odd(), None, rows(Odd(), [" "])).stats["size_status"]
    assert status == [""]


def test_a_batch_in_which_a_number_is_always_missing():
    rule = Threshold("quality", low=1)
    whole = row_wise(rule, None, rows(rule, ["a", "b", "c"], quality=[None, None, 2.0])).stats
    parts = [
        row_wise(rule, None, rows(rule, ["a", "b"], quality=[None, None])).stats,
        row_wise(rule, None, rows(rule, ["c"], quality=[2.0])).stats,
    ]
    assert (
        whole["reason"]
        == [*parts[0]["reason"], *parts[1]["reason"]]
        == ["quality undefined"] * 2 + [""]
    )


TEXTS = ["one two", "one two", "a b c", "far cat", "far cat", "the red", " ", "one two"]


def test_a_fit_a_group_and_a_selection_are_what_they_are_in_memory():
    for operator in (
        Common(),
        Near(),
        ExactDuplicates(),
        Select(strategy("top_k", {"signal": "worth"}), 3),
    ):
        columns = {"worth": [float(3 * i % 7) for i in range(len(TEXTS))]}
        whole = rows(operator, TEXTS, **columns)
        want = {r["id"]: r for r in run_in_memory(operator, whole.batch).to_pylist()}
        for cut in ([8], [1] * 8, [3, 5]):
            starts = np.cumsum([0, *cut])
            parts = [
                read({"id": [f"r{i}" for i in range(a, b)], "text": TEXTS[a:b], "worth": columns["worth"][a:b]},
                     operator.needs | getattr(operator, "key_needs", frozenset()))
                for a, b in zip(starts, starts[1:], strict=False)
            ]  # fmt: skip
            stats = at_once(operator, joined(parts), None).stats
            assert stats["id"] == [f"r{i}" for i in range(8)]
            assert stats["state"][6] == "rejected"
            for i in {0, 1, 2, 3, 4, 5, 7}:
                row = want.get(f"r{i}", {"keep": True})  # in no group: kept unseen
                assert (stats["state"][i] == "kept") == row.get("keep", True)
                assert stats["reason"][i] == row.get("reason", "")
                assert (stats["duplicate_of"][i] or None) == row.get("duplicate_of")
                for name in operator.gives & set(row):
                    a, b = stats[name][i], row[name]
                    assert a == b or (a != a and b != b), (operator, name, i)


def test_rows_without_duplicates_are_kept():
    stats = at_once(ExactDuplicates(), rows(ExactDuplicates(), ["one", "two", "three"]), None).stats
    assert stats["state"] == ["kept"] * 3
    assert stats["duplicate_of"] == [""] * 3


def test_a_share_is_one_of_all_rows_read():
    pick = Select(strategy("top_k", {"signal": "worth"}), 0.25)
    given = rows(pick, TEXTS, worth=[float(i) for i in range(8)])
    assert at_once(pick, given, 16).stats["state"].count("kept") == 4
    assert at_once(pick, given, None).stats["state"].count("kept") == 2  # of these eight


def test_no_row_that_can_be_used():
    for operator in (
        Common(),
        ExactDuplicates(),
        Select(strategy("top_k", {"signal": "worth"}), 3),
    ):
        stats = at_once(operator, rows(operator, [" ", ""], worth=[1.0, 2.0]), None).stats
        assert stats["state"] == ["rejected"] * 2
        assert at_once(operator, joined([]), None).stats["id"] == []


def test_stats_carry_our_prefix():
    answers = row_wise(Length(), None, rows(Length(), ["one"]))
    assert answers.of(0) == {
        "coreset_id": "r0", "coreset_state": "kept", "coreset_reason": "", "coreset_duplicate_of": "",
        "coreset_text_words": 1.0, "coreset_text_words_status": "ok",
    }  # fmt: skip
    again = read({"id": ["r0"], "text": ["one"], STATS: [answers.of(0)]}, frozenset({"text_words"}))
    assert again.batch["text_words"].tolist() == [1.0]
