"""Rows of every form, and every way a row can be wrong."""

import pytest

from coreset.curation.io.formats import (
    BadRow,
    Schema,
    content_id,
    kind_of,
    learn_schema,
    normal,
    type_of,
)

ALPACA, CHAT, TEXT = Schema("alpaca"), Schema("chat"), Schema("text")


def test_alpaca():
    got = normal(
        {
            "instruction": "Add.",
            "input": "1 2",
            "output": "3",
            "system": "Be brief.",
            "history": [["Hi", "Hello"]],
        },
        ALPACA,
    )
    assert {k: v for k, v in got.items() if k not in ("id", "messages")} == {
        "text": "Be brief.\nHi\nHello\nAdd.\n1 2\n3", "instruction": "Add.", "input": "1 2", "prompt": "Add.\n1 2", "response": "3", "system": "Be brief."
    }  # fmt: skip
    assert [(m["role"], m["content"]) for m in got["messages"]] == [
        ("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Add.\n1 2"), ("assistant", "3")
    ]  # fmt: skip
    short = normal({"instruction": "Add.", "output": "3", "input": None}, ALPACA)
    assert (short["prompt"], short["input"], short["system"]) == ("Add.", "", "")


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]},
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "H"}, {"text": "i"}]}, {"role": "model", "content": [{"type": "text", "value": "Hello"}]}]},
    ],
)  # fmt: skip
def test_chat(row):
    got = normal(row, CHAT)
    assert got["messages"] == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
    ]
    assert (got["prompt"], got["instruction"], got["response"], got["text"]) == (
        "Hi",
        "Hi",
        "Hello",
        "Hi\nHello",
    )


def test_chat_with_history_tools_and_a_system():
    row = {
        "system": "S",
        "conversations": [
            {"from": "human", "value": "a"}, {"from": "function_call", "value": "f()"}, {"from": "observation", "value": "1"},
            {"from": "gpt", "value": "b"}, {"from": "human", "value": "c"}, {"from": "gpt", "value": "d"},
        ],
    }  # fmt: skip
    got = normal(row, CHAT)
    assert (got["prompt"], got["response"], got["system"]) == ("c", "d", "S")
    assert [m["role"] for m in got["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
        "assistant",
    ]


def test_other_names():
    schema = Schema("alpaca", {"instruction": "question", "output": "answer"})
    assert normal({"question": "q", "answer": "a"}, schema)["response"] == "a"
    assert normal({"body": "x"}, Schema("text", {"text": "body"}))["text"] == "x"
    assert (
        normal(
            {"dialog": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
            Schema("chat", {"messages": "dialog"}),
        )["prompt"]
        == "q"
    )


def turns(*pairs):
    return {"messages": [{"role": r, "content": c} for r, c in pairs]}


@pytest.mark.parametrize(
    ("row", "schema", "reason", "words"),
    [
        ([1], TEXT, "not_an_object", "expected an object with fields, got list"),
        ({"text": ""}, TEXT, "empty_text", "'text' is empty"),
        ({"text": " \n"}, TEXT, "empty_text", "'text' is empty"),
        ({"text": 3}, TEXT, "wrong_type", "'text' is no text but int"),
        ({"text": None}, TEXT, "missing_field", "'text' is missing"),
        ({"body": "x"}, TEXT, "missing_field", "no field 'text'"),
        ({"instruction": "i", "output": "o"}, TEXT, "mixed_schema", "a row of kind alpaca among rows of kind text"),
        ({"text": "t"}, ALPACA, "mixed_schema", "a row of kind text among rows of kind alpaca"),
        ({"instruction": "i"}, ALPACA, "missing_field", "no field 'output'"),
        ({"x": 1}, ALPACA, "missing_field", "no field 'instruction' and 'output'"),
        ({"instruction": "i", "output": " "}, ALPACA, "empty_answer", "'output' is empty"),
        ({"instruction": "", "output": "o"}, ALPACA, "empty_prompt", "'instruction' is empty"),
        ({"instruction": "i", "output": ["o"]}, ALPACA, "wrong_type", "'output' is no text but list"),
        ({"instruction": "i", "output": "o", "history": [["a"]]}, ALPACA, "wrong_type", "'history' is no list of pairs"),
        ({"messages": "hello"}, CHAT, "wrong_type", "'messages' is no list of turns but str"),
        ({"messages": []}, CHAT, "empty_answer", "'messages' is empty"),
        ({"messages": ["hi"]}, CHAT, "wrong_type", "turn 1 in 'messages' is no object but str"),
        (turns(("user", "q"), ("narrator", "a")), CHAT, "wrong_type", "turn 2 in 'messages' has the role 'narrator'"),
        (turns(("user", "q"), ("assistant", None)), CHAT, "missing_field", "the content of turn 2 in 'messages' is missing"),
        (turns(("user", "q"), ("assistant", [{"type": "image"}])), CHAT, "wrong_type", "is no text but list"),
        (turns(("user", "q")), CHAT, "empty_answer", "does not end with an answer"),
        (turns(("user", "q"), ("assistant", "a"), ("user", "r")), CHAT, "empty_answer", "does not end with an answer"),
        (turns(("assistant", "a")), CHAT, "empty_prompt", "no question before its last answer"),
        (turns(("user", "q"), ("assistant", "")), CHAT, "empty_answer", "the last answer in 'messages' is empty"),
        ({"text": "123456"}, Schema("text", max_characters=5), "too_long", "6 characters, more than 5"),
        ({"text": "t"}, Schema("text", id="uid"), "missing_field", "'uid', the row's name, is missing"),
        ({"text": "t", "uid": 1.5}, Schema("text", id="uid"), "missing_field", "the row's name, is 1.5"),
        ({"text": "t", "url": 3}, Schema("text", extra={"url": "text"}), "mixed_schema", "'url' is number here, text in the first rows"),
        ({"text": "t", "v": [1.0]}, Schema("text", extra={"v": "vector[2]"}), "mixed_schema", "'v' is vector[1] here"),
    ],
)  # fmt: skip
def test_bad_rows(row, schema, reason, words):
    with pytest.raises(BadRow) as caught:
        normal(row, schema)
    assert caught.value.reason == reason
    assert words in str(caught.value)


def test_schema_is_that_of_most_rows():
    rows = [
        {"text": "x"},
        *[
            {
                "instruction": "i",
                "output": "o",
                "text": "t",
                "id": 1,
                "score": 2,
                "v": [1, 2],
                "w": [1],
                "tags": ["a"],
                "more": {"x": 1},
            }
        ]
        * 3,
    ]
    schema = learn_schema(rows, {"score", "v", "text", "gone", "tags", "more"})
    assert schema == Schema(
        "alpaca", {}, "id", {"score": "number", "v": "vector[2]", "tags": "texts", "more": "other"}
    )
    assert learn_schema(rows, set(), kind="text").kind == "text"
    assert learn_schema([{"text": "x", "v": [1]}, {"text": "x", "v": [1, 2]}], {"v"}).extra == {
        "v": "numbers"
    }
    row = {"text": "x", "v": [1, 2], "tags": [], "more": {"b": 1, "a": None}, "n": 3, "id": 7}
    got = normal(
        row,
        Schema(
            "text",
            {},
            "id",
            {"v": "numbers", "tags": "texts", "more": "other", "n": "number", "gone": "text"},
        ),
    )
    assert got == {
        "id": "7",
        "text": "x",
        "v": [1, 2],
        "tags": [],
        "more": '{"a":null,"b":1}',
        "n": 3.0,
        "gone": None,
    }
    for wrong, words in [
        ({"fields": {"body": "text"}}, "fields: expected names of ours"),
        ({"kind": "sft"}, "kind: expected auto, alpaca, chat, images, text, got 'sft'"),
    ]:
        with pytest.raises(ValueError, match=words):
            learn_schema(rows, set(), **wrong)
    with pytest.raises(
        ValueError, match=r"neither Alpaca .* their fields are body; say what is what with fields="
    ):
        learn_schema([{"body": "x"}], set())
    with pytest.raises(KeyError, match="the rows have no field 'uid'; their fields are"):
        learn_schema(rows, set(), id_field="uid")


def test_small_things():
    assert kind_of({"conversations": "no list"}, {}) is None
    assert type_of([]) == "texts"
    assert (
        content_id({"a": [{"b": None, "c": 1}]})
        == content_id({"a": [{"c": 1}]})
        != content_id({"a": [{"c": 2}]})
    )
    assert content_id({"text": "null"}) != content_id({"text": "nul"})
    assert content_id({"text": "\ud800"})
