"""What a sweep's agent runs, and what lands in an offline W&B run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
SWEEPS = sorted((ROOT / "scripts" / "sweeps").glob("*.yaml"))


def command_of(sweep, **choice):
    """Return the command line an agent makes of a sweep for one choice of its parameters."""
    first = {
        name: p.get("value", (p.get("values") or [p.get("min")])[0])
        for name, p in sweep["parameters"].items()
    }
    arguments = [f"{name}={value}" for name, value in {**first, **choice}.items()]
    words = {"${env}": ["/usr/bin/env"], "${interpreter}": [sys.executable], "${program}": [sweep["program"]], "${args_no_hyphens}": arguments}  # fmt: skip
    return [w for part in sweep["command"] for w in words.get(part, [part])]


def written(folder):
    """Return the bytes of the offline run: keys and names stand in it as they are."""
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    return file.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("path", SWEEPS, ids=lambda p: p.stem)
def test_the_agents_command_line_offline(path, tmp_path):
    sweep = yaml.safe_load(path.read_text())
    command = command_of(sweep, strategy="margin", budget="[30,40]")
    ran = subprocess.run(
        [*command, "fit.steps=5", "threads=1", f"store={tmp_path}/store", f"hydra.run.dir={tmp_path}/run"],
        cwd=ROOT, env={**os.environ, "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    log = written(tmp_path / "run")
    keys = [
        "labels",
        "curve/accuracy",
        "curve/area",
        "curve/area_minus_random",
        "picks",
        "confusion",
    ]
    for key in [*keys, sweep["metric"]["name"]]:
        assert key.encode() in log, key
    assert b"selection-0000.parquet" in log
    ledger = [json.loads(x) for x in (tmp_path / "run" / "ledger.jsonl").read_text().splitlines()]
    assert sum(map(sum, ledger[-1]["confusion"])) == 500
    right = sum(ledger[-1]["confusion"][c][c] for c in range(10)) / 500
    assert right == pytest.approx(ledger[-1]["accuracy"])
