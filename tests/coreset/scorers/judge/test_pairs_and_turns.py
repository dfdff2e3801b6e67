"""Judges of conversations and of pairs, against the server of test_judge.py."""

import sys
from pathlib import Path

import numpy as np
import pytest

if (HERE := str(Path(__file__).parent)) not in sys.path:
    sys.path.append(HERE)

from test_judge import PRICES, judge, serve  # noqa: F401  the fixture

from coreset.core.batch import objects
from coreset.scorers.judge.pairs import PairJudge, pair_messages, preferred
from coreset.scorers.judge.rubrics import RUBRICS
from coreset.scorers.judge.turns import TurnJudge
from coreset.testing import check_scorer


def talk(*texts):
    return [
        {"role": "user" if i % 2 == 0 else "assistant", "content": t} for i, t in enumerate(texts)
    ]


def by_length(question, n):
    """Rate the instruction 1 + its number of question marks."""
    text = (
        question["messages"][-1]["content"].split("###Instruction:\n")[1].split("\n\n### Input")[0]
    )
    return str(1 + text.count("?"))


@pytest.mark.parametrize("rubric", ["evol_complexity", "evol_quality"])
def test_rubrics_of_deita(rubric):
    r = RUBRICS[rubric]
    assert [r.score(t) for t in ("1", "6\nBecause.", "7", "0", "3/6")] == [1, 6, None, None, 3]
    text = r.messages("Do it", "", "Done it")[1]["content"]
    assert ("Done it" in text) == (rubric == "evol_quality")
    assert "Do it" in text


def test_turns_are_asked_one_by_one_and_summed(serve, tmp_path):  # noqa: F811
    server = serve(by_length)
    chats = [talk("a?", "x", "b???", "y"), talk("c", "z"), None, talk("a?"), talk("d", " ")]
    one = TurnJudge(judge(server, tmp_path, rubric="evol_complexity", price_in=1.0, price_out=0.0))
    got = one({"messages": objects(chats)})
    assert got["complexity_status"].tolist() == [
        "ok",
        "ok",
        "missing_field",
        "missing_field",
        "empty_text",
    ]
    assert got["complexity_turns"].tolist() == [[2.0, 4.0], [1.0], None, None, None]
    assert got["complexity"][:2].tolist() == [6.0, 1.0]
    assert np.isnan(got["complexity"][2:]).all()
    assert len(server.asked) == 3
    assert got["complexity_cost"][0] == pytest.approx(2 * 100 / 1e6)
    one({"messages": objects(chats)})
    assert len(server.asked) == 3


def test_a_turn_that_cannot_be_read_takes_its_conversation_along(serve, tmp_path):  # noqa: F811
    server = serve(lambda q, n: "no idea" if "b???" in q["messages"][-1]["content"] else "3")
    got = TurnJudge(judge(server, tmp_path, rubric="evol_quality"), "quality")(
        {"messages": objects([talk("a?", "x", "b???", "y"), talk("c", "z")])}
    )
    assert got["quality_status"].tolist() == ["parse_error", "ok"]
    assert got["quality_turns"].tolist() == [None, [3.0]]


def test_the_contract_of_turns(serve, tmp_path):  # noqa: F811
    chats = [talk("a?", "x", "b???", "y"), talk("c", "z"), None, talk("d??", "z")]
    check_scorer(
        TurnJudge(judge(serve(by_length), tmp_path, rubric="evol_complexity")),
        {"messages": objects(chats)},
    )


def options(question):
    text = question["messages"][-1]["content"]
    first = text.split("[Option A]\n... ")[1].split(" ...")[0]
    second = text.split("[Option B]\n... ")[1].split(" ...")[0]
    return first, second


def longer(question, n):
    first, second = options(question)
    return "A" if len(first) >= len(second) else "Option B."


def test_pairs_in_both_orders(serve, tmp_path):  # noqa: F811
    server = serve(longer)
    share, why = PairJudge(judge(server, tmp_path)).shares(
        [("long text", "short"), ("x", "yy"), ("aa", "bb")]
    )
    assert share.tolist() == [1.0, 0.0, 0.5]  # of equal length the first is taken, in both orders
    assert (len(server.asked), dict(why)) == (6, {})
    PairJudge(judge(server, tmp_path)).shares([("short", "long text")])
    assert len(server.asked) == 6  # the same two orders
    PairJudge(judge(server, tmp_path), "writing_style").shares([("short", "long text")])
    assert len(server.asked) == 8


def test_a_judge_who_takes_the_first_says_nothing(serve, tmp_path):  # noqa: F811
    share, _ = PairJudge(judge(serve(lambda q, n: "A"), tmp_path)).shares(
        [("a", "bb"), ("cc", "d")]
    )
    assert share.tolist() == [0.5, 0.5]


def test_votes_of_a_pair(serve, tmp_path):  # noqa: F811
    def say(question, n):
        return ["A", "B", "both", "A"][question["seed"]] if options(question)[0] == "a" else "B"

    share, _ = PairJudge(judge(serve(say), tmp_path, votes=4, temperature=1.0)).shares([("a", "b")])
    assert share.tolist() == [pytest.approx((2 / 3 + 1) / 2)]


def test_pairs_that_are_not_decided(serve, tmp_path):  # noqa: F811
    def say(question, n):
        return (
            "neither"
            if "a" in options(question)
            else (500, {}, b"")
            if "c" in options(question)
            else "A"
        )

    share, why = PairJudge(judge(serve(say), tmp_path, retries=0)).shares(
        [("a", "b"), ("c", "d"), ("e", "f")]
    )
    assert np.isnan(share).tolist() == [True, True, False]
    assert dict(why) == {"parse_error": 1, "model_error": 1}


def test_the_budget_and_the_dry_run_of_pairs(serve, tmp_path):  # noqa: F811
    server = serve(longer)
    dry = PairJudge(judge(server, tmp_path, **PRICES, dry_run=True))
    asked, dollars = dry.cost([("one", "three")])
    assert (asked, dict(dry.shares([("one", "three")])[1]), server.asked) == (2, {"dry_run": 1}, [])
    poor = PairJudge(judge(server, tmp_path, **PRICES, budget=dollars / 2, concurrency=1))
    share, why = poor.shares([("one", "three"), ("four", "seven")])
    assert np.isnan(share).all()
    assert dict(why) == {"budget": 2}
    assert len(server.asked) == 1


def test_what_is_asked_of_a_pair():
    [system, user] = pair_messages("facts_and_trivia", "one {text}", "two")
    assert (system["role"], user["role"]) == ("system", "user")
    for part in (
        "more facts and trivia",
        "its length",
        "order of the two",
        "[Option A]\n... one {text} ...\n\n",
    ):
        assert part in user["content"]


@pytest.mark.parametrize(
    ("reply", "what"),
    [
        ("A", 0),
        (" b\n", 1),
        ("Option A", 0),
        ("**B**", 1),
        ("A.", 0),
        ("AB", None),
        ("", None),
        ("A B", None),
    ],
)
def test_replies_to_pairs_are_read_strictly(reply, what):
    assert preferred(reply) == what


def test_bad_options(tmp_path):
    with pytest.raises(ValueError, match="criterion: expected writing_style, .*, got 'x'"):
        PairJudge(judge(type("S", (), {"url": "http://127.0.0.1"}), tmp_path), "x")
    with pytest.raises(TypeError, match="judge: expected a coreset.scorers.judge.Judge"):
        PairJudge("m")
    with pytest.raises(TypeError, match="judge: expected a coreset.scorers.judge.Judge"):
        TurnJudge("m")
