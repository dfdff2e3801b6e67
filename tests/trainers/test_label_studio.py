"""A run whose labels come from a real Label Studio, with an annotator played through its API."""

import json

import httpx
import numpy as np
import pytest

from coreset.core.store import Store
from coreset.registry import strategy as by_name
from coreset.runs.run_folder import RunFolder
from coreset.trainers.data.sources import digits
from coreset.trainers.learners.fit import Fitter, TrainingConfig
from coreset.trainers.loops.in_memory import assemble, context_of
from coreset.trainers.loops.plan import make_plan
from coreset.trainers.loops.rounds import run
from coreset.trainers.oracles import AwaitingLabels, LabelStudio, Request
from coreset.trainers.oracles.forms import Choices
from coreset.trainers.tasks.features import ModelFeatures
from coreset.trainers.tasks.models import small_cnn
from tests.tools.label_studio import TOKEN

DATA = digits()


@pytest.fixture
def server(annotation_server):
    return str(annotation_server.base_url).rstrip("/")


@pytest.fixture
def key(monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)


def call(url, method, path, **options):
    answer = httpx.request(
        method, f"{url}/api/{path}", headers={"Authorization": f"Token {TOKEN}"}, timeout=60, **options
    )  # fmt: skip
    answer.raise_for_status()
    return answer.json() if answer.content else None


def tasks(url, project):
    got = call(url, "GET", f"tasks/?project={project}&fields=all&page_size=500")["tasks"]
    return sorted(got, key=lambda t: t["id"])


def annotate(url, task, label, cancelled=False):
    result = [
        {"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": [label]}}
    ]
    body = {"result": [] if cancelled else result, "was_cancelled": cancelled}
    return call(url, "POST", f"tasks/{task['id']}/annotations/", json=body)


def oracle(path, url, **options):
    return LabelStudio(path, DATA.ids, DATA.classes, url=url, **options)


def job(tmp_path, url):
    strategy = by_name("margin")
    plan = make_plan(strategy, [20, 30], len(DATA.images), "active", 12)
    store = Store(tmp_path / "store")
    fitter = Fitter(DATA, small_cnn, {"accelerator": "cpu"})
    recipe = TrainingConfig(steps=20)
    project = assemble(strategy, fitter, recipe, recipe, ModelFeatures(), store)
    record = RunFolder(tmp_path / "run", {"n": 1}, plan.rounds, "margin", 0)
    asked = oracle(tmp_path / "run" / "label_studio.json", url)
    return context_of(project, plan, asked, store, record, 0)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_whole_run_with_an_annotator(tmp_path, server, key):
    skipped, stops = None, 0
    while stops < 5:
        try:
            context = job(tmp_path, server)
            run(context)
            break
        except AwaitingLabels as waiting:
            stops += 1
            number = json.loads((tmp_path / "run" / "label_studio.json").read_text())["project"]
            assert f"/projects/{number}" in str(waiting)  # noqa: PT017
            open_tasks = [t for t in tasks(server, number) if not t["annotations"]]
            for task in open_tasks:
                true = DATA.classes[DATA.labels[task["data"]["index"]]]
                assert task["data"]["image"].startswith("data:image/png;base64,")
                assert bool(task["predictions"]) == (stops > 1)  # proposals of the current model
                if skipped is None:
                    skipped = task["data"]["index"]
                    annotate(server, task, "", cancelled=True)
                else:
                    annotate(server, task, true)
    assert stops == 3
    entries = [json.loads(x) for x in (tmp_path / "run" / "ledger.jsonl").read_text().splitlines()]
    assert [e["labels"] for e in entries] == [12, 20, 30]
    assert entries[0]["skipped"] == [skipped]
    rows = [i for e in entries for i in e["indices"]]
    assert [t["data"]["index"] for t in tasks(server, number)] == rows  # in the strategy's order
    for e in entries:
        kept = [i for i in e["indices"] if i != skipped]
        assert e["class_histogram"] == np.bincount(DATA.labels[kept], minlength=10).tolist()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_several_annotators_changes_and_strange_classes(tmp_path, server, key):
    asked = oracle(tmp_path / "ls.json", server, annotators=2)
    request = Request(np.array([4, 9, 2]), "why")
    asked.check()
    asked.ask(request)
    asked.ask(request)  # nothing is pushed twice
    number = json.loads((tmp_path / "ls.json").read_text())["project"]
    four, nine, two = tasks(server, number)
    first = annotate(server, four, "7")
    with pytest.raises(AwaitingLabels, match="3 examples"):
        asked.label(request.indices)
    annotate(server, four, "7")
    annotate(server, nine, "1")
    annotate(server, nine, "2")
    annotate(server, two, "", cancelled=True)
    annotate(server, two, "5")
    with pytest.raises(AwaitingLabels, match="1 examples"):  # a tie waits
        asked.label(request.indices)
    annotate(server, nine, "2")
    assert asked.label(request.indices).tolist() == [7, 2, 5]
    call(server, "DELETE", f"annotations/{first['id']}/")
    with pytest.warns(UserWarning, match="1 examples were changed or deleted .* position 4"):
        assert asked.label(request.indices).tolist() == [7, 2, 5]
    call(
        server,
        "PATCH",
        f"projects/{number}/",
        json={"label_config": Choices([*DATA.classes, "owl"], "all").config()},
    )
    asked.ask(Request(np.array([1]), "why"))
    last = tasks(server, number)[-1]
    annotate(server, last, "owl")
    with pytest.raises(
        ValueError, match="position 1 is annotated 'owl', which is not in data.class"
    ):
        asked.label(np.array([1]))


def test_a_server_that_is_down_and_a_token_that_is_missing(tmp_path, monkeypatch):
    asked = oracle(tmp_path / "ls.json", "http://127.0.0.1:9")
    monkeypatch.delenv("LABEL_STUDIO_API_KEY", raising=False)
    with pytest.raises(ValueError, match="LABEL_STUDIO_API_KEY must hold the API token"):
        asked.check()
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "x")
    with pytest.raises(ConnectionError, match="does not answer .* nothing is lost"):
        asked.check()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (httpx.Response(200, text="<html>login"), "answers no JSON"),
        (httpx.Response(401, text="bad token"), "answers 401: bad token"),
        (httpx.Response(200, json={"total": 5, "tasks": []}), "claims 5 tasks and gave 0"),
        (httpx.Response(200, json={}), "claims None tasks"),
        (
            httpx.Response(
                200, json={"total": 1, "tasks": [{"id": 7, "annotations": [{"id": 1}]}]}
            ),
            "task 7 has annotations without 'was_cancelled'",
        ),
    ],
)
def test_half_answers_are_named(tmp_path, monkeypatch, key, answer, words):
    (tmp_path / "ls.json").write_text('{"project": 1, "labels": {}}')
    monkeypatch.setattr(httpx, "request", lambda *a, **k: answer)
    with pytest.raises(ConnectionError, match=words):
        oracle(tmp_path / "ls.json", "http://x").label(np.array([0]))


def test_a_personal_access_token_is_exchanged(tmp_path, monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "a.b.c")
    calls = []

    def request(method, url, headers, **options):
        calls.append((method, url, headers.get("Authorization"), options.get("json")))
        return httpx.Response(200, json={"access": "short"})

    monkeypatch.setattr(httpx, "request", request)
    oracle(tmp_path / "ls.json", "http://x/").check()
    assert calls == [
        ("POST", "http://x/api/token/refresh/", None, {"refresh": "a.b.c"}),
        ("GET", "http://x/api/projects/?page_size=1", "Bearer short", None),
    ]
