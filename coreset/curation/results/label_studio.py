"""Rows of text to Label Studio and back:
classes, spans, ratings and preferences, by the row's id.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coreset.core.overrules import Overrule
from coreset.core.store import to_json, write_atomic


@dataclass(frozen=True)
class Answer:
    """What one annotator said of one row. classes: chosen words; spans: (start, end, label, text)
    in characters; rating: a number of stars; preferred: `left` or `right` of a pair, or `tie`.
    """

    id: str
    annotator: str
    classes: tuple[str, ...] = ()
    spans: tuple[tuple[int, int, str, str], ...] = ()
    rating: float | None = None
    preferred: str | None = None


def write_tasks(
    rows: Sequence[Mapping[str, Any]], path: str | Path, fields: Sequence[str] = ("text",)
) -> Path:
    """Write rows as JSON tasks in their order: `row_id` and the given fields.

    Raises KeyError for a row without `id` or a field, ValueError for an id twice.
    """
    seen: set[str] = set()
    tasks = []
    for i, row in enumerate(rows):
        missing = [f for f in ("id", *fields) if f not in row]
        if missing:
            raise KeyError(f"row {i} has no {missing[0]!r}")
        key = str(row["id"])
        if key in seen:
            raise ValueError(f"id {key!r} occurs twice")
        seen.add(key)
        tasks.append({"data": {"row_id": key, "priority": i, **{f: row[f] for f in fields}}})
    return write_atomic(path, to_json(tasks, indent=1, ensure_ascii=False))


def read_answers(path: str | Path, text: str = "text") -> tuple[list[Answer], list[str]]:
    """Return the answers of a native JSON export, one per row and annotator, and the ids of rows
    that every annotator skipped.

    text: the field that spans are of. A task without annotations is open; predictions are no
    answers. Raises ValueError naming the task for one without `row_id`, an id twice, and a span
    that does not hold the text it says: then the text was changed after it was handed out.
    """
    tasks = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(tasks, list):
        raise ValueError(f"{path}: expected a list of tasks")
    answers, skipped, seen = list[Answer](), list[str](), set[str]()
    for number, task in enumerate(tasks):
        who = f"{path}: task {number}"
        data = task.get("data") if isinstance(task, Mapping) else None
        if not isinstance(data, Mapping) or "row_id" not in data:
            raise ValueError(f"{who} has no row_id in its data")
        key = str(data["row_id"])
        if key in seen:
            raise ValueError(f"{who}: row {key!r} was there before")
        seen.add(key)
        given = task.get("annotations") or []
        done = [a for a in given if not a.get("was_cancelled")]
        skipped += [key] if given and not done else []
        for one in done:
            by = one.get("completed_by")
            name = str(by.get("email") or by.get("id") if isinstance(by, Mapping) else by)
            answers.append(
                _answer(key, name, one.get("result") or [], str(data.get(text, "")), who)
            )
    return answers, skipped


def _answer(key: str, name: str, result: Sequence[Any], text: str, who: str) -> Answer:
    classes, spans = list[str](), list[tuple[int, int, str, str]]()
    rating: float | None = None
    preferred: str | None = None
    for one in result:
        value, kind = one.get("value") or {}, one.get("type")
        if kind == "choices":
            classes += value["choices"]
        elif kind == "labels":
            start, end = int(value["start"]), int(value["end"])
            if text[start:end] != value.get("text", text[start:end]):
                raise ValueError(
                    f"{who}: the span {start} to {end} holds {text[start:end]!r:.60}, not"
                    f" {value['text']!r:.60}: is the text another one?"
                )
            spans += [(start, end, label, text[start:end]) for label in value["labels"]]
        elif kind == "rating":
            rating = float(value["rating"])
        elif kind == "pairwise":
            preferred = str(value["selected"])
    return Answer(key, name, tuple(classes), tuple(spans), rating, preferred)


def answer_overrules(answers: Sequence[Answer], when: str) -> list[Overrule]:
    """Return the decisions among the answers: a class `keep`, `drop` or `pin` of a row, signed by
    its annotator.
    """
    return [
        Overrule(a.id, word, a.annotator, when, "in Label Studio")
        for a in answers
        for word in a.classes
        if word in ("keep", "drop", "pin")
    ]
