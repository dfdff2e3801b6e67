"""A run of a user's own module, killed with SIGKILL in any phase, goes on to the same curve, byte
for byte.
"""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.processes import CONTEXT

HERE = Path(__file__).parent
PHASES = {
    "train": ("own_digits", "LitDigits.training_step"),
    "test": ("own_digits", "LitDigits.test_step"),
    "setup": ("own_digits", "DigitsData.setup"),
    "measure": ("coreset.trainers.learners.lightning.learner", "measure"),
    "commit": ("coreset.runs.run_folder", "RunFolder.commit"),
    "rename": ("pathlib", "Path.replace"),
}


def _child(folder, phase, nth):
    sys.path.append(str(HERE / "projects"))
    os.chdir(folder)
    import own_digits
    import pytorch_lightning as pl
    import torch

    import coreset.trainers

    torch.set_num_threads(1)
    if phase:
        module, path = PHASES[phase]
        owner = __import__(module, fromlist=["_"])
        *outer, name = path.split(".")
        for part in outer:
            owner = getattr(owner, part)
        original, calls = getattr(owner, name), [0]

        def killing(*args, **kwargs):
            calls[0] += 1
            if calls[0] == nth:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        setattr(owner, name, killing)
    pl.seed_everything(0 if phase or folder.endswith("whole") else 7, verbose=False)
    coreset.trainers.active(
        own_digits.LitDigits(), own_digits.DigitsData(), strategy="bald", budget=[20, 40, 60],
        trainer={"accelerator": "cpu", "max_epochs": 2}, folder="run", baseline=(), members=3,
    )  # fmt: skip


def run(folder: Path, phase: str = "", nth: int = 0) -> int:
    folder.mkdir(exist_ok=True)
    process = CONTEXT.Process(target=_child, args=(str(folder), phase, nth))
    process.start()
    process.join(1200)
    assert process.exitcode is not None, "the run hangs"
    return process.exitcode


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume") / "whole"
    assert run(folder) == 0
    return folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("phase", "nth"),
    [("train", 1), ("train", 5), ("test", 3), ("setup", 6), ("measure", 1), ("measure", 2), ("commit", 2), ("rename", 9)],
)  # fmt: skip
def test_killed_anywhere_it_goes_on_to_the_same_bytes(whole, tmp_path, phase, nth):
    folder = tmp_path / "killed"
    assert run(folder, phase, nth) == -signal.SIGKILL
    assert run(folder) == 0  # the script makes another module now: the run has kept its own
    for name in ("curve.jsonl", "config.json"):
        assert (folder / "run" / name).read_bytes() == (whole / name).read_bytes()
