"""A run killed with SIGKILL in any phase goes on to the same curve, byte for byte, as the run that
was never killed.
"""

import json
import os
import runpy
from pathlib import Path

import pytest

from tests.processes import CONTEXT

DRIVER = str(Path(__file__).parent / "kill_driver.py")
COMMON = [
    "fit.steps=6",
    "proxy.epochs=1",
    "members=3",
    "threads=1",
    "trainer.accelerator=cpu",
    "baseline=[random]",
]
CASES = {
    "active": ["mode=active", "strategy=bald", "start=12", "budget=[20,30]"],
    "prune": ["mode=prune", "strategy=kcenter", "budget=[15,30]"],
}


def train(folder: Path, *arguments: str, phase: str = "", nth: int = 0) -> int:
    folder.mkdir(exist_ok=True)

    process = CONTEXT.Process(
        target=_child,
        args=(str(folder), ["", "0", *arguments] if not phase else [phase, str(nth), *arguments]),
    )
    process.start()
    process.join(300)
    assert process.exitcode is not None, "the run hangs"
    return process.exitcode


def _child(folder, arguments):
    os.chdir(folder)
    runpy.run_path(DRIVER, {"ARGS": arguments})


def run_args(folder: Path, case: str) -> list[str]:
    return [*CASES[case], *COMMON, f"hydra.run.dir={folder / 'run'}", f"store={folder / 'store'}"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The curves of runs that were never killed."""
    out = {}
    for case in CASES:
        folder = tmp_path_factory.mktemp(case)
        assert train(folder, *run_args(folder, case)) == 0
        out[case] = files(folder / "run")
    return out


def files(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in sorted(run.rglob("curve.jsonl"))} | {
        str(p.relative_to(run)): p.read_bytes() for p in sorted(run.rglob("selection.parquet"))
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "phase", "nth"),
    [
        ("active", "measure", 2),
        ("active", "train", 9),
        ("active", "test", 2),
        ("active", "select", 2),
        ("active", "commit", 2),
        ("active", "state", 6),
        ("active", "rename", 9),
        ("active", "gallery", 1),
        ("active", "report", 1),
        ("prune", "measure", 1),
        ("prune", "train", 30),
        ("prune", "select", 2),
        ("prune", "commit", 1),
        ("prune", "commit", 3),
    ],
)
def test_killed_and_resumed_equals_never_killed(tmp_path, whole, case, phase, nth):
    assert train(tmp_path, *run_args(tmp_path, case), phase=phase, nth=nth) == -9
    # baselines and threads as they were; a store outside of the run folder is named again
    again = [f"resume={tmp_path / 'run'}", f"store={tmp_path / 'store'}"]
    assert train(tmp_path, *again) == 0
    assert files(tmp_path / "run") == whole[case]
    state = json.loads((tmp_path / "run" / "state.json").read_text())
    assert state["finished"]
    assert (tmp_path / "run" / "report.html").exists()
    assert not list((tmp_path / "run").rglob("*.part")) or phase in ("rename", "state")
