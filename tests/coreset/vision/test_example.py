"""The shipped torchvision example, run twice on one folder: it goes on, and never buys what it
began with.
"""

import json
import runpy
import shutil
from pathlib import Path

import pytest

from coreset.vision import Ledger

ROOT = Path(__file__).parent.parent.parent.parent


@pytest.mark.slow
def test_torchvision_detection_goes_on_where_it_stopped(stamps_folder, tmp_path, capsys):
    folder = shutil.copytree(stamps_folder, tmp_path / "stamps")
    example = runpy.run_path(str(ROOT / "scripts/examples/torchvision_detection.py"))
    for _ in range(2):
        example["main"](folder, rounds=1, steps=1)
    begun = [image["id"] for image in json.loads((folder / "train.json").read_text())["images"]][:8]
    ledger = Ledger(folder / "al.jsonl")
    assert ledger.ids("start") == begun
    assert ledger.batches == 2
    assert ledger.ids("pending") == []
    bought = ledger.ids("labeled")
    assert bought
    assert not set(bought) & set(begun)
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == [
        "round 0",
        "round 1",
    ]
