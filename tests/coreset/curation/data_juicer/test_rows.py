"""Rows of Data-Juicer as operators see them: names, numbers, texts, vectors, and what is wrong with
the bad ones.
"""

import numpy as np
import pyarrow as pa
import pytest

from coreset.curation.data_juicer.rows import STATS, joined, read, schema_of
from coreset.curation.io.formats import content_id

TEXT = frozenset({"text"})


def batch(*rows, stats=None):
    """Rows as Data-Juicer hands them over: a field that a row lacks is None there."""
    names = list(dict.fromkeys(n for r in rows for n in r))
    return {n: [r.get(n) for r in rows] for n in names} | ({} if stats is None else {STATS: stats})


def test_ids_are_the_rows_own_or_a_hash_of_the_content():
    own = read(batch({"id": "a", "text": "one"}, {"id": 7, "text": "two"}), TEXT)
    assert (own.ids, own.by_content) == (["a", "7"], False)
    rows = [{"text": "one", "n": 1}, {"text": "two", "n": None}]
    hashed = read(batch(*rows, stats=[{"x": 1.0}, {"x": 2.0}]), TEXT)
    assert (hashed.ids, hashed.by_content) == ([content_id(r) for r in rows], True)
    assert hashed.batch["id"].tolist() == hashed.ids
    tar = read(batch({"__key__": "k1", "text": "one"}), TEXT)
    assert tar.ids == ["k1"]


def test_a_row_keeps_the_name_an_operator_of_ours_gave_it():
    before = [{"coreset_id": "first-2"}, {"coreset_id": "b"}]
    assert read(batch({"text": "changed since"}, {"text": " "}, stats=before), TEXT).ids == [
        "first-2",
        "b",
    ]


def test_equal_content_is_numbered_and_an_id_carried_twice_is_refused():
    same = (
        read(batch({"text": "one"}, {"text": "two"}), TEXT),
        read(batch({"text": "one"}, {"text": "one"}), TEXT),
    )
    one, two = content_id({"text": "one"}), content_id({"text": "two"})
    rows = joined(same)
    assert rows.ids == [one, two, f"{one}-2", f"{one}-3"] == rows.batch["id"].tolist()
    twice = [read(batch({"id": "a", "text": t}), TEXT) for t in ("one", "two")]
    with pytest.raises(ValueError, match="two rows have the id 'a'; a row needs an id of its own"):
        joined(twice)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": ""}, "empty_text: 'text' is empty"),
        ({"text": " \n"}, "empty_text: 'text' is empty"),
        ({"text": None}, "missing_field: 'text' is missing"),
        ({"text": 3}, "wrong_type: 'text' is no text but int"),
        ({"text": "half \ud800"}, "wrong_encoding: "),
        ({"text": "nameless", "id": None}, "missing_field: 'id', the row's name, is missing"),
        ({"text": "x" * 5, "id": 0.5}, "missing_field: 'id', the row's name, is 0.5"),
    ],
)
def test_a_bad_row_is_set_apart_with_the_reason(row, reason):
    rows = read(
        batch({"id": "a", "text": "good"}, {"id": "b"} | row, {"id": "c", "text": "good too"}), TEXT
    )
    assert rows.good.tolist() == [0, 2]
    assert list(rows.bad) == [1]
    assert rows.bad[1].startswith(reason)
    assert rows.batch["id"].tolist() == ["a", "c"]
    assert rows.ids[1] == ("b" if row.get("id", "b") == "b" else content_id(row))


def test_bad_rows_keep_their_places_when_batches_are_joined():
    parts = [
        read(batch({"id": i, "text": t}), TEXT)
        for i, t in (("a", "x"), ("b", ""), ("c", ""), ("d", "y"))
    ]
    rows = joined(parts)
    assert rows.good.tolist() == [0, 3]
    assert sorted(rows.bad) == [1, 2]
    assert joined([]).batch.rows == joined(parts[1:2]).batch.rows == 0


def test_numbers_texts_and_vectors():
    rows = batch(
        {"text": "a", "n": 1, "e": [0.5, 1.0], "u": "x", "ok": True},
        {"text": "b", "n": None, "e": None, "u": None, "ok": False},
        {"text": "c", "n": 2.5, "e": [2.0, 3.0], "u": "z", "ok": True},
    )
    seen = read(rows, frozenset({"n", "e", "u", "ok"})).batch
    np.testing.assert_array_equal(seen["n"], [1, np.nan, 2.5])
    assert seen["n"].dtype == np.float64
    np.testing.assert_array_equal(seen["e"], [[0.5, 1], [np.nan, np.nan], [2, 3]])
    assert seen["e"].dtype == np.float32  # which holds these values exactly
    assert seen["u"].tolist() == ["x", None, "z"]
    assert seen["ok"].tolist() == [True, False, True]
    fine = read(batch({"text": "a", "e": [0.1, 1 / 3]}), frozenset({"e"})).batch["e"]
    np.testing.assert_array_equal(fine, np.array([[0.1, 1 / 3]]))
    ragged = read(
        batch({"text": "a", "e": [1.0]}, {"text": "b", "e": [1.0, 2.0]}), frozenset({"e"})
    ).batch["e"]
    assert ragged.tolist() == [[1.0], [1.0, 2.0]]


def test_vectors_of_several_batches_are_one_column_whatever_each_can_be_held_in():
    values = [[[0.5, 1.0]], [[0.1, 0.2]], [None]]
    parts = [
        read(batch({"id": str(i), "text": "x", "e": v[0]}), frozenset({"e"}))
        for i, v in enumerate(values)
    ]
    np.testing.assert_array_equal(
        joined(parts).batch["e"], [[0.5, 1.0], [0.1, 0.2], [np.nan, np.nan]]
    )


def test_a_column_is_looked_for_in_our_stats_then_the_row_then_its_stats():
    stats = [
        {
            "coreset_score": 1.0,
            "coreset_score_status": "ok",
            "text_len": 3,
            "both": 9.0,
            "coreset_mark": "",
        }
    ]
    seen = read(
        batch({"text": "abc", "both": 4.0, "score": 5.0}, stats=stats),
        frozenset({"score", "both", "text_len"}),
    )
    assert [float(seen.batch[n][0]) for n in ("score", "both", "text_len")] == [1.0, 4.0, 3.0]
    assert seen.batch["score_status"].tolist() == ["ok"]
    assert read(batch({"text": "abc"}, stats=stats), frozenset({"mark"})).batch[
        "mark"
    ].tolist() == [None]


def test_a_missing_column_is_named_with_those_there_are():
    stats = [{"coreset_score": 1.0, "coreset_id": "a", "coreset_state": "kept", "lang": "en"}]
    with pytest.raises(
        KeyError, match="column 'nope' is missing; the rows have lang, score, text, url"
    ):
        read(batch({"text": "abc", "url": "u"}, stats=stats), frozenset({"nope"}))
    with pytest.raises(
        KeyError,
        match=r"they have no field 'text'; their fields are body, id; say .* with text_keys",
    ):
        read(batch({"body": "abc", "id": "a"}), TEXT)
    assert read(batch({"body": "abc"}), TEXT, "body").batch["text"].tolist() == ["abc"]


def test_kinds_of_rows():
    alpaca = read(
        batch({"instruction": "add", "input": "1 2", "output": "3"}),
        frozenset({"prompt", "response"}),
    ).batch
    assert (alpaca["prompt"][0], alpaca["response"][0]) == ("add\n1 2", "3")
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    assert read(batch({"messages": turns}), frozenset({"response"})).batch["response"].tolist() == [
        "hello"
    ]
    shown = read(batch({"image": "a.png", "text": "a cat"}), frozenset({"image", "text"})).batch
    assert (shown["image"][0], shown["text"][0]) == ("a.png", "a cat")
    assert schema_of(["image", "text"], TEXT).kind == "text"  # nobody looks at the image


def test_a_block_without_rows_or_columns():
    rows = read({}, frozenset({"text", "score"}))
    assert (rows.ids, rows.batch.rows, rows.by_content) == ([], 0, True)
    rest = read(batch({"id": "a", "text": "x"}), TEXT)
    whole = joined([rows, rest, read({"id": [], "text": []}, TEXT)])
    assert (whole.ids, whole.by_content) == (["a"], False)
    assert whole.batch.table.schema.field("text").type == pa.string()
