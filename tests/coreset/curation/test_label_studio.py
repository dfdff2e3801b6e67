"""Rows of text to Label Studio and back: by hand, and through the real server."""

import json
from pathlib import Path

import pytest

from coreset.curation.results.label_studio import (
    Answer,
    answer_overrules,
    read_answers,
    write_tasks,
)
from tests.tools import label_studio

CONFIG = """<View><Labels name="label" toName="text"><Label value="name"/></Labels><Text name="text" value="$text"/>
<Choices name="fate" toName="text"><Choice value="keep"/><Choice value="drop"/></Choices><Rating name="stars" toName="text"/></View>"""


def result(text: str, fate: str) -> list[dict]:
    start = text.index("Ana")
    return [
        {
            "type": "labels",
            "from_name": "label",
            "to_name": "text",
            "value": {"start": start, "end": start + 3, "text": "Ana", "labels": ["name"]},
        },
        {"type": "choices", "from_name": "fate", "to_name": "text", "value": {"choices": [fate]}},
        {"type": "rating", "from_name": "stars", "to_name": "text", "value": {"rating": 4}},
    ]


def test_answers_of_all_kinds(tmp_path: Path) -> None:
    rows = [{"id": i, "text": f"{'é' * i} Ana sings"} for i in range(4)]
    tasks = json.loads(write_tasks(rows, tmp_path / "t.json").read_text())
    for i, task in enumerate(tasks):
        task["predictions"] = [{"result": result(rows[i]["text"], "drop")}]
        task["annotations"] = [[], [{"was_cancelled": True}], [{"completed_by": 1, "result": result(rows[2]["text"], "keep")}],
                               [{"completed_by": {"email": "a@b"}, "result": result(rows[3]["text"], "drop")}, {"completed_by": 2, "result": [{"type": "pairwise", "value": {"selected": "left"}}]}]][i]  # fmt: skip
    (tmp_path / "e.json").write_text(json.dumps(tasks))
    answers, skipped = read_answers(tmp_path / "e.json")
    assert skipped == ["1"]
    assert answers[0] == Answer("2", "1", ("keep",), ((3, 6, "name", "Ana"),), 4.0)
    assert answers[2] == Answer("3", "2", preferred="left")
    assert [(o.id, o.action, o.who) for o in answer_overrules(answers, "now")] == [
        ("2", "keep", "1"),
        ("3", "drop", "a@b"),
    ]
    tasks[2]["data"]["text"] = "something else"
    (tmp_path / "f.json").write_text(json.dumps(tasks))
    with pytest.raises(ValueError, match="another one"):
        read_answers(tmp_path / "f.json")
    (tmp_path / "g.json").write_text(json.dumps([tasks[0], tasks[0]]))
    with pytest.raises(ValueError, match="before"):
        read_answers(tmp_path / "g.json")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_real_server_gives_them_back(tmp_path: Path, annotation_server) -> None:
    client = annotation_server
    rows = [{"id": f"r{i}", "text": f"{'x' * i} Ana sings"} for i in range(12)]
    tasks = json.loads(write_tasks(rows, tmp_path / "t.json").read_text())
    number, held = label_studio.project(client, CONFIG, tasks)
    for task in held:
        i = int(task["data"]["row_id"][1:])
        if i % 4 != 3:
            label_studio.annotate(
                client,
                task["id"],
                result(task["data"]["text"], ["keep", "drop"][i % 2]),
                skip=i % 4 == 2,
            )
    (tmp_path / "e.json").write_bytes(
        label_studio.export(client, number, "JSON", download_all_tasks="true")
    )
    answers, skipped = read_answers(tmp_path / "e.json")
    assert sorted(skipped) == ["r10", "r2", "r6"]
    assert {a.id: (a.classes, a.spans, a.rating) for a in answers} == {
        f"r{i}": ((["keep", "drop"][i % 2],), ((i + 1, i + 4, "name", "Ana"),), 4.0)
        for i in range(12)
        if i % 4 < 2
    }
