"""Run coreset-train in this process and kill it with SIGKILL at the nth call of a function. Run by
test_resume.py; ARGS = [phase, nth, *overrides].
"""

import os
import signal
import sys

PHASES = {
    "measure": ("coreset.trainers.tasks.base", "measure"),
    "train": ("coreset.trainers.tasks.module", "LitClassifier.training_step"),
    "test": ("coreset.trainers.tasks.module", "LitClassifier.test_step"),
    "select": ("coreset.core.strategy", "Strategy.__call__"),
    "commit": ("coreset.runs.run_folder", "RunFolder.commit"),
    "state": ("coreset.runs.run_folder", "write_atomic"),
    "rename": ("pathlib", "Path.replace"),
    "gallery": ("coreset.trainers.experiment", "write_gallery"),
    "report": ("coreset.report.page", "write_report"),
}


def arm(phase: str, nth: int) -> None:
    """Replace the phase's function by one that kills the process at its nth call."""
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


if "ARGS" in globals():
    phase, nth, *overrides = ARGS  # noqa: F821
    import coreset.trainers.app

    if phase:
        arm(phase, int(nth))
    sys.argv = ["coreset-train", *overrides]
    coreset.trainers.app.main()
