"""The comparison of curation by whole processes: its pages by their definition, its measuring, and
the table where peers are missing.
"""

import json
import sys
from itertools import combinations
from pathlib import Path

import pytest

from tests import processes

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmarks" / "curate_peers.py"
ROWS = 200


@pytest.fixture
def program(imported):
    return imported("scripts.benchmarks.curate_peers")


def shingles(text):
    words = text.split()
    return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}


def test_pages_are_alike_only_where_they_are_copies(program, asset, tmp_path):
    asset("llamafactory")
    path, fresh = program.web_pages(ROWS, tmp_path)
    texts = [json.loads(line)["text"] for line in path.open()]
    long = [t for t in texts if len(t) >= 200]
    assert len(texts) == ROWS
    assert 0 < ROWS - len(long) < 0.1 * ROWS
    assert all(len(t.split()) < 50 for t in texts if len(t) < 200)
    sets = [shingles(t) for t in long]
    similar = {
        (i, j): len(sets[i] & sets[j]) / len(sets[i] | sets[j])
        for i, j in combinations(range(len(long)), 2)
    }
    assert not [s for s in similar.values() if 0.4 < s < 0.75]  # nothing near a threshold of 0.7
    assert {s for s in similar.values() if s >= 0.75} > {1.0}
    first = [j for j in range(len(long)) if all(similar[i, j] < 0.7 for i in range(j))]
    assert len(first) == fresh


def test_a_process_is_measured_with_all_below_it(program, tmp_path):
    burn = "import time; e = time.process_time() + 0.6\nwhile time.process_time() < e: pass"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}])"
    done = program.measured([sys.executable, "-c", code], tmp_path)
    assert 0.6 <= done["cpu_s"] < 5
    assert 1 < done["peak_mb"] < 200  # not that of the process which measures
    assert "error" not in done


def test_a_process_that_fails_says_why(program, tmp_path):
    done = program.measured([sys.executable, "-c", "import there_is_no_such"], tmp_path)
    assert done["error"] == "ModuleNotFoundError: No module named 'there_is_no_such'"


@pytest.mark.slow
def test_peers_that_are_not_there_are_named_and_stop_nothing(asset, tmp_path):
    asset("llamafactory")
    away = [
        f"--env={tool}={tmp_path / tool}" for tool in ("data-juicer", "datatrove", "nemo-curator")
    ]
    ran = processes.script(SCRIPT, "--quick", "--jobs", "duplicates", *away, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    for tool in ("data-juicer", "datatrove", "nemo-curator"):
        (line,) = [line for line in lines if line.startswith(f"| {tool} |")]
        assert line.endswith(f"| not there: make tools TOOLS={tool} |")
    (ours,) = [line for line in lines if line.startswith("| coreset |")]
    (truth,) = [line for line in lines if line.startswith("Long enough and copies of none before")]
    assert ours.split(" | ")[-2] == truth.split(": ")[1].split(".")[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("env", ["data_juicer=x", "datatrove", "datatrove="])
def test_an_environment_of_nobody_is_refused_before_anything_runs(
    program, monkeypatch, capsys, env
):
    monkeypatch.setattr(sys, "argv", ["curate_peers.py", "--quick", "--env", env])
    with pytest.raises(SystemExit):
        program.main()
    assert (
        f"expected NAME=FOLDER with one of data-juicer, datatrove, nemo-curator, got '{env}'"
        in (capsys.readouterr().err)
    )
