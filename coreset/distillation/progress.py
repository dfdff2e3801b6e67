"""How far a distillation is: told to whoever watches, kept on disk so that a run killed at any
moment goes on to the same images.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from coreset.core.store import write_atomic

STATE = "state.safetensors"
GOOD = "last_good.safetensors"


class Diverged(ValueError):
    """The loss became NaN or infinite; the message says where the last good state lies."""


@dataclass(frozen=True, eq=False)
class Progress:
    """Where a distillation reports to and keeps its state.

    folder: for the state (None: nothing is kept, a kill starts anew). show: called with (step,
    steps, loss). key: what the state belongs to; another one in the folder is not taken up. every:
    seconds between two states on disk.
    """

    folder: Path | None = None
    show: Callable[[int, int, float], None] = lambda _step, _steps, _loss: None
    key: str = ""
    every: float = 30.0

    def within(self, name: str) -> Progress:
        """Return the progress of one stage of several, with a state of its own."""
        return replace(self, folder=None if self.folder is None else self.folder / name)

    def save(self, step: int, tensors: Mapping[str, Tensor], name: str = STATE) -> None:
        """Keep the state after `step` steps, whole or not at all."""
        if self.folder is None:
            return
        from safetensors.torch import save

        plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        about = {"step": str(step), "key": self.key, "names": json.dumps(sorted(plain))}
        write_atomic(self.folder / name, save(plain, about))

    def load(self, name: str = STATE) -> tuple[int, dict[str, Tensor]] | None:
        """Return (steps done, tensors) of the state kept under the same key, or None."""
        if self.folder is None or not (self.folder / name).exists():
            return None
        from safetensors import safe_open

        with safe_open(self.folder / name, "pt") as file:
            about = file.metadata() or {}
            if about.get("key") != self.key:
                return None
            return int(about["step"]), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118

    def clear(self) -> None:
        """Remove the state: the answer is whole."""
        if self.folder is not None:
            (self.folder / STATE).unlink(missing_ok=True)


class Clock:
    """Say when it is time to do something again: `every` seconds after the last time."""

    def __init__(self, every: float) -> None:
        self.every, self.last = every, time.monotonic()

    def due(self) -> bool:
        """Return whether the time is up, and begin anew when it is."""
        now = time.monotonic()
        if now - self.last < self.every:
            return False
        self.last = now
        return True


def check_finite(loss: float, step: int, progress: Progress, good: Mapping[str, Tensor]) -> None:
    """Raise Diverged when the loss of `step` is NaN or infinite, after saving the tensors of the
    step before it.
    """
    if math.isfinite(loss):
        return
    progress.save(max(step - 1, 0), good, GOOD)
    where = (
        ""
        if progress.folder is None
        else f"; the state of the step before it is in {progress.folder / GOOD}"
    )
    raise Diverged(
        f"the loss became {loss} at step {step}: use a smaller learning rate for the images{where}"
    )
