"""Rows as Python data: the answer of the same rows in a file."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import coreset
from coreset.curation import Settings, curate
from coreset.scorers.length import Length

ROWS = [
    {"instruction": f"Say {w}.", "output": " ".join([w] * n), "extra": {"n": n}}
    for w, n in [("one", 1), ("two", 2), ("three", 3), ("four", 4), ("two", 2), ("six", 6)]
]
STEPS = [
    {"length": {"column": "response"}},
    {"threshold": {"column": "response_words", "low": 2}},
    {"exact_duplicates": {"column": "prompt"}},
    {"select": {"strategy": {"top_k": {"signal": "response_words"}}, "budget": 3}},
]


def test_the_answer_of_a_file(tmp_path):
    result = coreset.curate(STEPS, ROWS)
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    done = curate(STEPS, path, tmp_path / "out")
    table = pq.read_table(tmp_path / "out" / "decisions.parquet").sort_by("line")
    table = table.drop_columns(["file", "line"])
    assert str(result.decisions.to_pylist()) == str(table.to_pylist())  # NaN is itself here
    assert result.manifest["counts"] == done.manifest["counts"]
    assert [row["extra"]["n"] for row in result.rows] == [3, 4, 6]
    assert result.rows[0] is ROWS[2]
    assert repr(result) == "Curation(3 of 6 rows kept)"
    lines = (tmp_path / "out" / "data" / "rows.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == result.rows


def dataset(rows):
    datasets = pytest.importorskip("datasets")
    return datasets.Dataset.from_list(rows)


@pytest.mark.parametrize(
    "form", [list, iter, pd.DataFrame, pa.Table.from_pylist, dataset], ids=lambda f: f.__name__
)
def test_every_form_of_rows(form):
    got = coreset.score("length", form(ROWS), column="response")
    assert got["response_words"].tolist() == [1, 2, 3, 4, 2, 6]
    assert len(coreset.curate(STEPS, form(ROWS)).rows) == 3


def test_a_row_that_cannot_be_read_has_no_value():
    rows = [{"text": "one two"}, {"text": None}, {"text": "three"}]
    got = coreset.score("length", rows)
    np.testing.assert_array_equal(got["text_words"], [2, np.nan, 1])
    states = coreset.curate(["exact_duplicates"], rows).decisions["state"].to_pylist()
    assert states == ["kept", "rejected", "kept"]


def test_names_instances_and_settings():
    rows = [{"body": "one two"}, {"body": "three"}]
    settings = Settings(fields={"text": "body"})
    by_name = coreset.score("length", rows, settings=settings)["text_words"]
    assert by_name.tolist() == [2, 1]
    by_instance = coreset.score(Length(), rows, settings=settings)["text_words"]
    assert by_instance.tolist() == by_name.tolist()
    kept = coreset.curate(
        ["length", {"threshold": {"column": "text_words", "low": 2}}], rows, fields={"text": "body"}
    )
    assert kept.rows == rows[:1]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: coreset.score("lenght", ROWS), KeyError, "did you mean length"),
        (lambda: coreset.score("length", ROWS, colum="x"), TypeError, "no option 'colum'"),
        (lambda: coreset.score("length", "rows.jsonl"), TypeError, "expected a list of dicts"),
        (lambda: coreset.score("length", []), ValueError, "there are none"),
        (lambda: coreset.score("length", [1]), TypeError, "expected dicts, got int"),
        (lambda: coreset.score("length", [{"text": object()}]), TypeError, "field 'text'"),
        (
            lambda: coreset.score("length", ROWS, column="answer"),
            KeyError,
            "needs the column 'answer'",
        ),
        (
            lambda: coreset.curate(["length", {"length": {}, "x": {}}], ROWS),
            TypeError,
            "one name with its options",
        ),
        (lambda: coreset.curate(STEPS, ROWS, feilds={}), TypeError, "feilds"),
    ],
)
def test_what_is_wrong_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_the_example_of_the_readme(tmp_path, monkeypatch):
    """Rows in memory and in a file: the same rows are kept, from the same steps by name."""
    readme = Path(__file__).parents[3] / "README.md"
    code = next(
        c
        for c in re.findall(r"```python\n(.*?)```", readme.read_text(), re.S)
        if "coreset.curate(" in c
    )
    rows = [{"instruction": f"Question {i}", "output": "word " * (i % 40 + 1)} for i in range(100)]
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    names = {"rows": rows}
    exec(code, names)
    assert names["columns"]["response_words"].tolist() == [i % 40 + 1 for i in range(100)]
    kept = [
        json.loads(line) for p in Path("out/data").iterdir() for line in p.read_text().splitlines()
    ]
    assert names["result"].rows == kept
    assert len(kept) == names["done"].manifest["counts"]["kept"] == 10
    assert all(len(row["output"].split()) >= 20 for row in kept)
