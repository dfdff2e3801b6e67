"""Rows through a pipeline of the real NeMo Curator, in an environment of its own."""

import json

import pyarrow as pa
import pytest

import coreset
from tests.tools.envs import TOOLS, python_of, run_tool

STEPS = ["length", {"threshold": {"column": "text_words", "low": 3, "high": 40}}, "repetition"]


@pytest.mark.slow
def test_a_stage_decides_as_curate_does(tmp_path):
    python = python_of("nemo-curator")
    rows = [{"text": "word " * (i % 50) + "end.", "place": i} for i in range(120)]
    source = tmp_path / "in"
    source.mkdir()
    for part in range(3):
        lines = [json.dumps(row) + "\n" for row in rows[part::3]]
        (source / f"{part}.jsonl").write_text("".join(lines))
    out, dropped = tmp_path / "out", tmp_path / "dropped"
    run_tool(python, TOOLS / "nemo_round.py", source, out, dropped, json.dumps(STEPS))
    expected = coreset.curate(STEPS, rows)
    kept = [json.loads(t) for f in sorted(out.glob("*")) for t in f.read_text().splitlines()]
    assert sorted(r["place"] for r in kept) == sorted(r["place"] for r in expected.rows)
    assert 0 < len(kept) < len(rows)
    assert all(r["text_words"] == len(r["text"].split()) for r in kept)
    fates = pa.concat_tables([pa.parquet.read_table(f) for f in sorted(dropped.glob("*.parquet"))])
    whole = expected.decisions.filter(pa.compute.not_equal(expected.decisions["state"], "kept"))
    assert sorted(fates["reason"].to_pylist()) == sorted(whole["reason"].to_pylist())


@pytest.mark.slow
def test_what_compares_documents_is_refused(tmp_path):
    python = python_of("nemo-curator")
    code = (
        "from coreset.curation.nemo_curator import RowWise\n"
        "try:\n    RowWise(['exact_duplicates'])\n"
        "except TypeError as error:\n    print(error)\n"
    )
    script = tmp_path / "refused.py"
    script.write_text(code)
    assert "expected scorers and filters, ExactDuplicates is of kind group" in run_tool(
        python, script
    )
