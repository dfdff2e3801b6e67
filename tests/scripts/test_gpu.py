"""The command for a GPU, on a CPU in its reduced form: every section says something, none loses the
others, and none outlives its time.
"""

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests import processes

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def boxes():
    return importlib.import_module("scripts.benchmarks.accelerator.boxes")


@pytest.mark.slow
def test_the_reduced_form_on_a_cpu(tmp_path):
    command = [sys.executable, "scripts/gpu.py", "--device", "cpu", "--small", "--out", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "gpu.json").read_text())
    sections = {s["section"]: s for s in result["sections"]}
    assert list(sections) == ["tests", "kcenter", "ifd", "clip", "distill", "training"]
    assert sum(s["box"] for s in sections.values()) < 480
    assert result["hardware"]
    assert result["versions"]["torch"]
    page = (tmp_path / "table.md").read_text()
    for name, section in sections.items():
        if section["rows"]:
            assert all(np.isfinite(r["value"]) for r in section["rows"])
        else:
            assert section["why"].startswith("not run: "), (name, section)
        assert f"| {name} |" in page
    assert "need a CUDA device" in sections["tests"]["why"]
    for name in ("kcenter", "clip", "distill", "training"):  # they need no file
        assert sections[name]["why"] is None, sections[name]
    assert sections["kcenter"]["rows"][0]["value"] == 30
    assert len(sections["distill"]["rows"]) >= 3


@pytest.mark.slow
def test_a_device_that_is_not_there_is_refused_in_words():
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    done = processes.script(ROOT / "scripts/gpu.py", "--only", "kcenter", cwd=ROOT)
    assert done.returncode == 1
    assert "torch sees no CUDA device" in done.stderr


def test_a_section_that_fails_or_dies_or_lasts_keeps_its_rows(boxes, tmp_path):
    def fails(device, small):
        yield {"what": "one", "value": 1.0, "unit": ""}
        raise RuntimeError("out of memory")

    def dies(device, small):
        yield {"what": "one", "value": 1.0, "unit": ""}
        os._exit(9)

    def lasts(device, small):
        child = subprocess.Popen(["sleep", "60"])
        (tmp_path / "child").write_text(str(child.pid))
        yield {"what": "one", "value": 1.0, "unit": ""}
        time.sleep(60)

    def refuses(device, small):
        raise boxes.NotRun("no file")
        yield

    def nothing(device, small):
        yield from ()

    whys = {}
    for work in (fails, dies, lasts, refuses, nothing):
        answer = boxes.run(boxes.Section(work.__name__, 3, work), "cpu", True)
        whys[work.__name__] = answer["why"]
        assert len(answer["rows"]) == (work in (fails, dies, lasts))
        assert answer["seconds"] < 10
    assert whys == {
        "fails": "failed: RuntimeError: out of memory",
        "dies": "the process died with exit code 9",
        "lasts": "stopped after its 3 s",
        "refuses": "not run: no file",
        "nothing": "it gave no row",
    }
    child = Path("/proc") / (tmp_path / "child").read_text() / "stat"
    time.sleep(0.2)
    assert not child.exists() or child.read_text().split()[2] == "Z"


@pytest.mark.slow
def test_picks_are_checked_against_a_loop():
    sections = importlib.import_module("scripts.benchmarks.accelerator.sections")
    x = np.array([[0.0], [1.0], [5.0], [3.0]])
    assert sections.reference(x, 3, 0) == [2, 3, 1]
