"""`dj-process` itself on real rows: its default, Ray and partitioned Ray executors choose the same
rows as `curate`, and every row is accounted for.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from toys import write_jsonl

from coreset.curation import curate
from coreset.curation.data_juicer.dropped import read_dropped
from coreset.curation.operators.dedup import ExactDuplicates
from coreset.curation.operators.rules import RepetitionFilter
from coreset.curation.operators.select import Select
from coreset.curation.operators.threshold import Threshold
from coreset.registry import strategy
from coreset.scorers.length import Length
from coreset.scorers.text.repetition import Repetition

pytest.importorskip("data_juicer", reason="the extra `juicer` is not installed")
pytestmark = pytest.mark.slow
EXAMPLE = Path(__file__).parents[4] / "scripts" / "examples" / "data_juicer.yaml"
# a filter behind all that sees every row
LAST = {"column": "instruction", "unit": "characters", "high": 90}


@pytest.fixture(scope="module")
def source(tmp_path_factory, asset):
    """Real rows without ids, one of them bad, all of them three times: each of three partitions
    holds the very same rows.
    """
    rows = json.loads((asset("llamafactory") / "data" / "alpaca_en_demo.json").read_text())[:100]
    rows[17]["output"] = " "
    return write_jsonl(tmp_path_factory.mktemp("rows") / "rows.jsonl", rows * 3)


@pytest.fixture(scope="module")
def expected(tmp_path_factory, source):
    """What `curate` decides: kept ids, and of the others how many of each content are out for which
    reason.
    """
    operators = [
        Length("response"), Threshold("response_words", low=3), Repetition("response"), RepetitionFilter(), ExactDuplicates("prompt"),
        Select(strategy("top_k", {"signal": "response_words"}), 40), Length("instruction", "characters"),
        Threshold("instruction_characters", high=90),
    ]  # fmt: skip
    out = tmp_path_factory.mktemp("curate")
    done = curate(operators, source, out)
    counts = done.manifest["counts"]
    assert counts["rows"] == 300
    assert counts["rejected"] == 3
    assert 0 < counts["kept"] < 40
    table = [
        r for r in pq.read_table(out / "decisions.parquet").to_pylist() if r["state"] != "rejected"
    ]
    reasons = Counter(
        (r["id"].split("-")[0], r["reason"]) for r in table if r["state"] == "dropped"
    )
    assert len({reason for _, reason in reasons}) >= 4
    return {r["id"] for r in table if r["state"] == "kept"}, reasons


@pytest.mark.parametrize("executor", ["default", "ray", "ray_partitioned"])
def test_the_rows_that_curate_chooses(tmp_path, source, expected, executor):
    recipe = yaml.safe_load(EXAMPLE.read_text())
    recipe |= {
        "dataset_path": str(source),
        "export_path": str(tmp_path / "out" / "chosen.jsonl"),
        "executor_type": executor,
    }
    recipe["process"].append({"coreset_length": LAST})
    if executor != "default":
        recipe["ray_address"] = "local"
    if executor == "ray_partitioned":
        recipe["partition"] = {"mode": "manual", "num_of_partitions": 3}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    caches = {n: str(tmp_path / "cache") for n in ("DATA_JUICER_CACHE_HOME", "HF_DATASETS_CACHE")}
    settings = {
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_raylet_start_wait_time_s": "300",
    }
    run = subprocess.run(
        [Path(sys.executable).parent / "dj-process", "--config", tmp_path / "recipe.yaml"],
        env=os.environ | caches | settings, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-4000:]
    files = [
        p
        for p in (tmp_path / "out").glob(
            "chosen.jsonl*/**/*.json" if executor != "default" else "chosen.jsonl"
        )
    ]
    rows = [json.loads(line) for p in files for line in p.read_text().splitlines()]
    folders = list((tmp_path / "out").glob("*/dropped"))
    assert len(folders) == 1
    out = list(read_dropped(folders[0].parent))

    kept, reasons = expected
    assert sorted(r["__dj__stats__"]["coreset_id"] for r in rows) == sorted(kept)
    given = {json.dumps(r) for r in map(json.loads, source.read_text().splitlines())}
    assert all(
        json.dumps({n: v for n, v in r.items() if n != "__dj__stats__"}) in given for r in rows
    )
    assert (
        Counter((r["id"].split("-")[0], r["reason"]) for r in out if r["state"] == "dropped")
        == reasons
    )
    assert [r["reason"] for r in out if r["state"] == "rejected"] == [
        "empty_answer: 'output' is empty"
    ] * 3
    assert len(rows) + len(out) == 300
    assert {r["operator"] for r in out} == {
        "coreset_length",
        "coreset_exact_duplicates",
        "coreset_select",
    } | ({"coreset_repetition_filter"} if any("repe" in reason for _, reason in reasons) else set())
