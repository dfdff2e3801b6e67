"""hydra/launcher=processes: cells in processes, finished ones never repeated, failures listed."""

import json
from pathlib import Path

import pytest

from coreset.trainers.multirun import Cell
from tests import processes

QUICK = ["budget=[20,40]", "fit.steps=4", "threads=1", "baseline=[]", "report=false", "hydra/launcher=processes"]  # fmt: skip


def many(folder, *arguments):
    words = ["-m", *QUICK, "hydra.sweep.dir=many", *arguments]
    return processes.command("coreset-train", *words, cwd=folder)


@pytest.mark.slow
def test_failed_cells_are_listed_and_finished_ones_not_repeated(tmp_path):
    ran = many(tmp_path, "strategy=random,top_k", "mode=active", "start=10")
    assert ran.returncode == 1
    assert "1 of 2 cells failed" in ran.stderr
    assert "TopK needs el2n of the candidates" in ran.stderr
    good = tmp_path / "many" / "0_random_seed0"
    assert json.loads((good / "state.json").read_text())["finished"]
    stamp = (good / "state.json").stat().st_mtime_ns
    again = many(tmp_path, "strategy=random,top_k", "mode=active", "start=10")
    assert "2 cells, 1 of them finished before" in again.stderr
    assert (good / "state.json").stat().st_mtime_ns == stamp
    other = many(tmp_path, "strategy=random", "mode=active", "start=11")
    assert other.returncode == 1
    assert "give another hydra.sweep.dir" in " ".join(other.stderr.split())
    assert (good / "state.json").stat().st_mtime_ns == stamp


def test_a_cell_knows_its_folder_and_its_error(tmp_path: Path):
    cell = Cell(tmp_path, ("seed=0",))
    assert cell.status() == "new"
    cell.keep("started")
    assert cell.status() == "started"
    with pytest.raises(ValueError, match="holds the cell seed=0, not seed=1; give another"):
        Cell(tmp_path, ("seed=1",)).status()
    assert cell.error() == "no output"
    (tmp_path / "log.txt").write_text("warning\nerror: budget: wrong\n\n")
    assert cell.error() == "error: budget: wrong"
