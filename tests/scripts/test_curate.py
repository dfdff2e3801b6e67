"""`coreset-curate` and `coreset-score` from end to end, as processes."""

import json
from pathlib import Path
from subprocess import CompletedProcess

import pyarrow.parquet as pq
import pytest

from tests import processes

SCRIPTS = Path(__file__).parent.parent.parent / "scripts"
ROWS = [
    {"instruction": f"Count to {n}.", "input": "", "output": " ".join(map(str, range(n)))}
    for n in range(1, 61)
]


def run(folder: Path, name: str, *arguments: str) -> CompletedProcess[str]:
    return processes.script(SCRIPTS / f"{name}.py", *arguments, cwd=folder)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "alpaca.json").write_text(json.dumps(ROWS))
    lines = [json.dumps({"text": "word " * n}) for n in (3, 80, 90)]
    (tmp_path / "pages.jsonl").write_text("\n".join(lines) + '\n{"text": ""}\n{"te')
    (tmp_path / "mine" / "recipe").mkdir(parents=True)
    (tmp_path / "mine" / "recipe" / "longest.yaml").write_text(
        "operators:\n  - _target_: coreset.scorers.length.Length\n    column: response\n  -"
        " _target_: coreset.curation.operators.select.Select\n    strategy: {_target_:"
        " coreset.strategies.baseline.top_k.TopK, signal: response_words}\n    budget: ${budget}\n"
    )
    return tmp_path


def test_curate_with_a_recipe_of_ones_own(folder):
    ran = run(
        folder,
        "curate",
        "--config-dir=mine",
        "recipe=longest",
        "input=alpaca.json",
        "out=curated",
        "budget=0.1",
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.strip().splitlines()[-2:] == [
        "6 of 60 rows kept, 54 dropped, 0 rejected -> curated",
        "report: curated/report.html",
    ]
    assert json.loads((folder / "curated" / "data" / "alpaca.json").read_text()) == ROWS[-6:]
    assert sorted(p.name for p in (folder / "curated").iterdir()) == [
        "data",
        "decisions.parquet",
        "manifest.json",
        "plots",
        "rejects.jsonl",
        "report.html",
        "state",
    ]
    decisions = pq.read_table(folder / "curated" / "decisions.parquet").to_pylist()
    assert [d["state"] for d in decisions] == ["dropped"] * 54 + ["kept"] * 6
    assert {d["reason"] for d in decisions[:54]} == {"not among the 6 chosen"}
    manifest = json.loads((folder / "curated" / "manifest.json").read_text())
    assert manifest["counts"] == {"rows": 60, "kept": 6, "dropped": 54, "rejected": 0}
    assert [o["name"] for o in manifest["operators"]] == ["response_words", "select"]
    assert sorted(p.name for p in folder.iterdir()) == [
        "alpaca.json",
        "curated",
        "mine",
        "pages.jsonl",
    ]  # no log, no outputs/


@pytest.mark.slow
def test_the_shipped_recipes(folder):
    ran = run(folder, "curate", "recipe=pretrain", "input=pages.jsonl", "out=clean")
    assert ran.returncode == 0, ran.stderr
    assert "2 rejected -> clean" in ran.stderr
    assert "rejected: empty_text 1, truncated_line 1; see clean/rejects.jsonl" in ran.stderr
    ran = run(folder, "curate", "recipe=sft", "input=alpaca.json", "out=sft", "budget=6")
    assert ran.returncode == 0, ran.stderr


def test_score(folder):
    ran = run(
        folder,
        "score",
        "scorer=length",
        "scorer.column=text",
        "input=pages.jsonl",
        "out=deep/s.parquet",
        "model.name=HuggingFaceTB/SmolLM2-135M-Instruct",
    )
    assert ran.returncode == 0, ran.stderr
    assert (
        ran.stderr.strip()
        == "3 of 5 rows scored -> deep/s.parquet; 2 rejected, see deep/s.rejects.jsonl"
    )
    table = pq.read_table(folder / "deep" / "s.parquet")
    assert table.column_names == ["id", "file", "line", "text_words", "text_words_status"]
    assert table["text_words"].to_pylist() == [3, 80, 90]
    about = json.loads(table.schema.metadata[b"coreset"])
    assert about["scorer"] == {
        "_target_": "coreset.scorers.length.Length",
        "column": "text",
        "unit": "words",
    }
    assert sorted(p.name for p in (folder / "deep").iterdir()) == ["s.parquet", "s.rejects.jsonl"]


def later(*case):
    return pytest.param(*case, marks=pytest.mark.slow)  # a process each


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("curate", ["input=gone.jsonl", "out=o"], "No such file or directory: 'gone.jsonl'"),
        later("curate", ["input=alpaca.json", "out=o", "recipe=pretrain", "budget=5"], "budget: this recipe selects nothing, it keeps all that pass"),
        ("score", ["input=pages.jsonl", "out=s.csv"], "out: expected a name that ends in .parquet, got s.csv"),
        later("score", ["input=pages.jsonl", "scorer.column=response"], "operator 'response_words' needs the column 'response'"),
    ],
    ids=lambda v: v[-1] if isinstance(v, list) else "",
)  # fmt: skip
def test_a_mistake_is_one_line_and_no_traceback(folder, name, arguments, words):
    ran = run(folder, name, *arguments)
    assert ran.returncode == 1
    lines = ran.stderr.strip().splitlines()
    assert len(lines) == 1, ran.stderr
    assert lines[0].startswith("error: ")
    assert words in lines[0]
    assert ran.stdout == ""


def test_a_mistyped_name_is_refused_before_anything_is_read(folder):
    ran = run(folder, "curate", "input=alpaca.json", "out=o", "recipe=sfd")
    assert ran.returncode == 1
    assert "unknown recipe 'sfd'; did you mean sft" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (folder / "o").exists()


@pytest.mark.slow
def test_help_says_what_there_is(folder):
    for name, words in (("curate", "recipe: "), ("score", "scorer: ")):
        ran = run(folder, name, "--help")
        assert ran.returncode == 0
        assert words in ran.stdout
        assert "model:\n  name: null" in ran.stdout
        assert "Example" in ran.stdout
