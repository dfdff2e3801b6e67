"""The judge against a server on this machine that counts what it is asked and misbehaves on order."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from coreset.scorers import cache
from coreset.scorers.judge import Judge
from coreset.scorers.judge.endpoint import Endpoint, Failed, Refused
from coreset.scorers.judge.replies import read_score
from coreset.scorers.judge.rubrics import RUBRICS
from coreset.testing import check_scorer


class Stub(ThreadingHTTPServer):
    """say(question, n) -> text, or (code, headers, body), for the n-th request about this question."""

    def __init__(self, say):
        self.asked, self.keys, self.say, self.lock = [], [], say, threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = question["messages"][-1]["content"]
        with self.server.lock:
            self.server.asked.append((text, question))
            self.server.keys.append(self.headers.get("Authorization"))
            n = sum(t == text for t, _ in self.server.asked)
        reply = self.server.say(question, n)
        code, headers, body = (200, {}, completion(reply)) if isinstance(reply, str) else reply
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def completion(text, used=True):
    answer = {
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]
    }
    return json.dumps(
        answer | ({"usage": {"prompt_tokens": 100, "completion_tokens": 10}} if used else {})
    ).encode()


@pytest.fixture
def serve():
    servers = []

    def start(say):
        server = Stub(say)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def rows(n=5):
    return {
        "instruction": [f"Task {i}?" for i in range(n)],
        "input": [""] * n,
        "response": [f"Answer {i}" for i in range(n)],
    }


def by_row(question, n):
    return str(int(question["messages"][-1]["content"].split("Answer ")[1][0]) % 6) + "\nBecause."


def judge(server, folder, **more):
    return Judge("m", server.url, **{"store": str(folder), "pause": 0.001, "timeout": 5.0} | more)


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("4.5", 4.5), ("5\nVery good.", 5.0), ("\n  3  \nBecause 2", 3.0), ("Score: 5", 5.0), ("**Score:** 4", 4.0), ("5/5", 5.0), ("4.", 4.0), ("0", 0.0),
        ("10", None), ("5/10", None), ("-1", None), ("I would give 4", None), ("4 out of 5, or 3", None), ("", None), ("four", None), ("4 5", None), ("nan", None),
        ("1e1", None),
        ("**4.5**", 4.5), ("4.5 (helpful)", 4.5), ("Rating: 4.0 out of 5", 4.0), ("Rating: 4.5/5.0", 4.5), ("**Score: 4.5/5**", 4.5), ("### Score: 4", 4.0),
        ("**Score:** **4.5**\nBecause of 2 errors", 4.5), ("[[4]]", 4.0), ("`3.5`", 3.5), ("Score:\n4.5", 4.5), ("```\n4\n```", 4.0), ("The score is 3.", 3.0), ("4.5 out of 5.0", 4.5),
        ("Score (0-5): 4", 4.0), ("Rating (out of 5): 4", 4.0), ("4 (out of 5)", 4.0), ("Accuracy score: 2.5 points", 2.5), ("_4_ / 5", 4.0), ("Score = 4", 4.0), ("4.5 (a good answer).", 4.5),
        ("Score: -1", None), ("Score - 4", None), ("4.5 (or 4)", None), ("4.5 (or four)", None), ("4 (not five)", None), ("4.5/10.0", None), ("4 out of 10", None), ("Score (0-10): 4", None),
        ("Score (1-5): 4", None), ("90%", None), ("4%", None), ("4, maybe 5", None), ("4-5", None), ("4 to 5", None), ("~4 or so", None), ("5.5", None), ("4.5.1", None), ("Score:\nI do not know", None),
        ("Score: four", None), ("Rating: 4.0 out of", None), ("4..5", None), ("4,5", None), ("Score 1: 4", None), ("(4)", 4.0), ("**(4.5)**", 4.5), ("4 (3)", None), ("Score: 4 (out of 10)", None),
    ],
)  # fmt: skip
def test_replies_are_read_strictly(reply, score):
    assert RUBRICS["alpagasus"].score(reply) == score


def test_a_long_reply_of_signs_takes_no_time():
    for reply in (
        "*" * 100_000 + " 4 x",
        "4" * 100_000,
        "score " * 20_000,
        "(" * 100_000,
        "4 (" + "so " * 30_000 + ")",
    ):
        began = time.monotonic()
        assert RUBRICS["alpagasus"].score(reply) in (None, 4.0)
        assert time.monotonic() - began < 2


def test_scores_and_that_no_row_is_asked_twice(serve, tmp_path):
    server = serve(by_row)
    data = rows()
    data["response"][1], data["response"][2] = None, " "
    got = judge(server, tmp_path, price_in=1.0, price_out=2.0)(data)
    assert got["judge"].tolist()[0] == 0
    assert got["judge"].tolist()[3:] == [3, 4]
    assert np.isnan(got["judge"][1:3]).all()
    assert got["judge_status"].tolist() == ["ok", "missing_field", "empty_text", "ok", "ok"]
    assert got["judge_raw"][3] == "3\nBecause."
    assert got["judge_cost"][3] == pytest.approx((100 + 2 * 10) / 1e6)
    assert len(server.asked) == 3
    again = judge(server, tmp_path, price_in=1.0, price_out=2.0)(data)
    assert len(server.asked) == 3
    assert all(np.array_equal(again[n], got[n], equal_nan=got[n].dtype.kind == "f") for n in got)
    judge(server, tmp_path, rubric="quality")(data)
    assert len(server.asked) == 6  # another rubric is another question


def test_one_question_for_rows_that_are_the_same(serve, tmp_path):
    server = serve(by_row)
    data = {n: v * 3 for n, v in rows(1).items()}
    assert judge(server, tmp_path)(data)["judge"].tolist() == [0, 0, 0]
    assert len(server.asked) == 1


def test_what_is_asked(serve, tmp_path, monkeypatch):
    monkeypatch.setenv("A_KEY", "sesame")
    server = serve(by_row)
    judge(server, tmp_path, key_variable="A_KEY", max_tokens=7)(
        {n: v[:1] for n, v in rows().items()}
    )
    [(text, question)] = server.asked
    assert {k: question[k] for k in ("model", "temperature", "max_tokens", "seed")} == {
        "model": "m",
        "temperature": 0.0,
        "max_tokens": 7,
        "seed": 0,
    }
    assert text.startswith(
        "###Instruction:\nTask 0?\n\n### Input:\n\n\n### Response:\nAnswer 0\n\n"
    )
    assert server.keys == ["Bearer sesame"]
    assert b"sesame" not in (tmp_path / "judge.sqlite").read_bytes()


def test_a_reply_that_is_no_score_is_kept_as_an_error(serve, tmp_path):
    server = serve(lambda question, n: "I cannot rate that.")
    for _ in range(2):
        got = judge(server, tmp_path)(rows(2))
        assert got["judge_status"].tolist() == ["parse_error"] * 2
        assert np.isnan(got["judge"]).all()
        assert got["judge_raw"][0] == "I cannot rate that."
    assert len(server.asked) == 2


def test_stored_replies_are_read_anew_and_not_asked_for_again(serve, tmp_path, monkeypatch):
    """Replies that an older reading refused, and those that a pattern of the user's finds a score
    in.
    """
    replies = ["**4.5**", "4.5 (helpful)", "I would give it a 3, no more."]
    server = serve(
        lambda question, n: replies[int(question["messages"][-1]["content"].split("Answer ")[1][0])]
    )
    with monkeypatch.context() as older:
        older.setattr("coreset.scorers.judge.rubrics.read_score", lambda reply, low, high: None)
        assert judge(server, tmp_path)(rows(3))["judge_status"].tolist() == ["parse_error"] * 3
    got = judge(server, tmp_path, dry_run=True)(rows(3))
    assert got["judge_status"].tolist() == ["ok", "ok", "parse_error"]
    assert got["judge"].tolist()[:2] == [4.5, 4.5]
    got = judge(server, tmp_path, pattern=r"(?:give it a |^\W*)(\d(?:\.\d)?)")(rows(3))
    assert got["judge"].tolist() == [4.5, 4.5, 3.0]
    assert got["judge_raw"].tolist() == replies
    assert len(server.asked) == 3
    assert judge(server, tmp_path).resources()["reading"]


def test_a_pattern_gives_one_score_inside_the_scale_or_none(serve, tmp_path):
    one = judge(serve(by_row), tmp_path, pattern=r"(\d+|x)")
    assert [one.read(t) for t in ("a 3 b", "3 and 3", "3 and 4", "7", "x", "")] == [
        3.0,
        3.0,
        None,
        None,
        None,
        None,
    ]


@pytest.mark.parametrize(
    "trouble",
    [
        (429, {"Retry-After": "0"}, b"slow"), (500, {}, b""), (503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, b""), (200, {}, b"{half"),
        (200, {}, b'{"choices": []}'), (200, {}, b'{"choices": [{"message": {"content": null}}]}'),
    ],
)  # fmt: skip
def test_trouble_that_passes(serve, tmp_path, trouble):
    server = serve(lambda question, n: trouble if n < 3 else by_row(question, n))
    got = judge(server, tmp_path, retries=2)(rows(2))
    assert got["judge"].tolist() == [0, 1]
    assert len(server.asked) == 6


def test_trouble_that_stays_is_an_error_of_the_row_and_asked_again_next_time(serve, tmp_path):
    broken = [True]
    server = serve(
        lambda question, n: (
            (500, {}, b"")
            if broken and "Answer 1" in question["messages"][-1]["content"]
            else by_row(question, n)
        )
    )
    got = judge(server, tmp_path, retries=1)(rows(3))
    assert got["judge_status"].tolist() == ["ok", "model_error", "ok"]
    assert len(server.asked) == 4
    broken.clear()
    assert judge(server, tmp_path, retries=1)(rows(3))["judge_status"].tolist() == ["ok"] * 3
    assert len(server.asked) == 5


def test_a_question_the_server_does_not_take_is_not_repeated(serve, tmp_path):
    server = serve(lambda question, n: (400, {}, b"too long"))
    assert judge(server, tmp_path)(rows(1))["judge_status"].tolist() == ["model_error"]
    assert len(server.asked) == 1


@pytest.mark.parametrize("code", [401, 403, 404])
def test_a_wrong_key_or_address_stops_everything(serve, tmp_path, code):
    server = serve(lambda question, n: (code, {}, b"no such thing"))
    with pytest.raises(
        ValueError, match=f"judge: http://127.0.0.1:.* answers {code} .*no such thing"
    ):
        judge(server, tmp_path, concurrency=2)(rows(40))
    assert len(server.asked) <= 2


def test_nobody_there(tmp_path):
    with pytest.raises(Failed, match="2 times: ConnectError"):
        Endpoint("http://127.0.0.1:9", retries=1, pause=0.001).ask({})


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "127.0.0.1:8000/v1", "http://[::1"])
def test_an_address_of_no_endpoint_is_refused_at_once(url, monkeypatch):
    monkeypatch.setattr("coreset.scorers.judge.endpoint.time.sleep", lambda seconds: 1 / 0)
    with pytest.raises(Refused, match="is no address of an endpoint"):
        Endpoint(url, retries=3).ask({})


def test_pauses_grow_and_obey_the_server(serve, monkeypatch):
    slept = []
    monkeypatch.setattr("coreset.scorers.judge.endpoint.time.sleep", slept.append)
    server = serve(lambda question, n: (503, {"Retry-After": "7"} if n == 2 else {}, b""))
    with pytest.raises(Failed, match="5 times: 503"):
        Endpoint(server.url, retries=4, pause=1.0).ask({"messages": [{"content": "x"}]})
    assert slept == [1.0, 7.0, 4.0, 8.0]


def test_no_more_than_so_many_a_minute(monkeypatch):
    now, slept = [100.0], []
    monkeypatch.setattr("coreset.scorers.judge.endpoint.time.monotonic", lambda: now[0])
    monkeypatch.setattr("coreset.scorers.judge.endpoint.time.sleep", slept.append)
    endpoint = Endpoint("http://127.0.0.1", per_minute=30)
    for _ in range(3):
        endpoint._wait_for_turn()
    assert slept == [0, 2, 4]


PRICES = {"price_in": 1000.0, "price_out": 1000.0, "max_tokens": 20}


def test_dry_run_asks_nothing_and_says_what_it_would_cost_at_most(serve, tmp_path):
    server = serve(by_row)
    plain = judge(server, tmp_path, **PRICES)
    before = plain.estimate(rows())
    assert (before.rows, before.known, before.requests, before.tokens_out) == (5, 0, 5, 100)
    assert before.cost == pytest.approx((before.tokens_in + 100) * 1000 / 1e6)
    dry = judge(server, tmp_path, **PRICES, dry_run=True)(rows())
    assert dry["judge_status"].tolist() == ["dry_run"] * 5
    assert dry["judge_cost"].sum() == pytest.approx(before.cost)
    assert server.asked == []
    plain(rows(2))
    after = plain.estimate(rows())
    assert (after.known, after.requests) == (2, 3)
    assert judge(server, tmp_path, **PRICES, dry_run=True)(rows())["judge_status"].tolist() == [
        "ok",
        "ok",
        *["dry_run"] * 3,
    ]


def test_the_budget_holds_over_several_runs(serve, tmp_path):
    server = serve(by_row)
    most = judge(server, tmp_path, **PRICES).estimate(rows(1)).cost
    paid = (100 + 10) * 1000 / 1e6
    budget = most + 2 * paid  # the third question still fits at its worst, the fourth does not
    for _ in range(2):
        got = judge(server, tmp_path, **PRICES, budget=budget, concurrency=1)(rows())
        asked = len(server.asked)
        assert got["judge_status"].tolist() == ["ok"] * asked + ["budget"] * (5 - asked)
        assert got["judge_cost"].sum() == pytest.approx(asked * paid)
        assert cache.total(tmp_path / "judge.sqlite", "judge ") <= budget
    assert 0 < asked < 5
    more = judge(server, tmp_path, **PRICES, budget=100.0)(rows())
    assert more["judge_status"].tolist() == ["ok"] * 5
    assert len(server.asked) == 5
    nothing = judge(server, tmp_path / "new", **PRICES, budget=0.0)(rows())
    assert nothing["judge_status"].tolist() == ["budget"] * 5


def test_the_budget_holds_with_many_questions_at_a_time(serve, tmp_path):
    server = serve(by_row)
    most = judge(server, tmp_path, **PRICES).estimate(rows(1)).cost
    judge(server, tmp_path, **PRICES, budget=3.5 * most, concurrency=8)(rows(9))
    assert cache.total(tmp_path / "judge.sqlite", "judge ") <= 3.5 * most


def test_votes(serve, tmp_path):
    server = serve(lambda question, n: ["4", "no idea", "5"][question["seed"]])
    got = judge(server, tmp_path, votes=3, temperature=0.7)(rows(1))
    assert (got["judge"][0], got["judge_votes"][0], got["judge_status"][0]) == (4.5, 2, "ok")
    assert len(server.asked) == 3


def test_a_run_that_dies_keeps_what_was_paid(serve, tmp_path):
    server = serve(
        lambda question, n: (
            (401, {}, b"")
            if "Answer 3" in question["messages"][-1]["content"] and n == 1
            else by_row(question, n)
        )
    )
    with pytest.raises(ValueError, match="answers 401"):
        judge(server, tmp_path, concurrency=1)(rows())
    assert len(server.asked) == 4
    assert judge(server, tmp_path, concurrency=1)(rows())["judge"].tolist() == [0, 1, 2, 3, 4]
    assert len(server.asked) == 6


def test_the_contract(serve, tmp_path):
    data = rows(6)
    data["response"][2], data["instruction"][3] = "", None
    check_scorer(judge(serve(by_row), tmp_path), data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"url": "localhost"}, "http address of an endpoint"),
        ({"rubric": "x"}, "rubric: expected alpagasus or quality or repetition"),
        ({"votes": 2}, "votes: expected 1, or more with a temperature"),
        ({"budget": 1.0}, "budget: needs price_in and price_out"),
        ({"concurrency": 0}, "concurrency are at least 1"),
        ({"pattern": "(4"}, "pattern: '\\(4' is no regular expression"),
        ({"pattern": "4"}, "pattern: expected one group, the score, got 0 in '4'"),
    ],
)
def test_parameters_that_make_no_sense(change, message):
    with pytest.raises(ValueError, match=message):
        Judge(**{"model": "m", "url": "http://127.0.0.1"} | change)


def test_a_score_about_or_struck_out_is_none():
    """`~4` is about 4, and `~~4~~` is withdrawn."""
    for reply in ("~4", "~~4~~", "Score: ~4", "~~4~~ 3"):
        assert read_score(reply, 0, 5) is None
