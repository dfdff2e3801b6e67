"""The Lightning examples of detection and segmentation, on a small folder of stamps."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "scripts" / "examples"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ["lightning_detection", "lightning_segmentation"])
def test_it_runs(name, stamps_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    example = runpy.run_path(str(EXAMPLES / f"{name}.py"))
    example["main"](Path(stamps_folder), budget=(4, 6), epochs=1)
    assert "at [4.0, 6.0] images" in capsys.readouterr().out
    (report,) = tmp_path.glob("outputs/*/report.html")
    assert report.stat().st_size > 1000
