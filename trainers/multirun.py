r"""A Hydra launcher that runs the cells of a multirun in processes of their own, and survives.

    coreset-train -m hydra/launcher=processes strategy=random,margin seed=0,1,2 \
      hydra.sweep.dir=outputs/compare hydra.launcher.workers=2

A finished cell is never repeated, a killed multirun goes on when the same command is given again,
and a cell that failed is listed at the end with its error while the others run on.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf, open_dict
from rich.console import Console
from rich.markup import escape

from coreset.core.store import write_atomic

CELL, LOG = "cell.json", "log.txt"  # in the folder of a cell
RUN = "from coreset.trainers.app import main; main()"


@dataclass(frozen=True)
class Cell:
    """One combination of a multirun. overrides: as on the command line."""

    folder: Path
    overrides: tuple[str, ...]

    def status(self) -> str:
        """Return what is known of the cell: `new`, `started`, `finished`, `waiting` or `failed`.
        Raises ValueError when its folder holds another cell.
        """
        path = self.folder / CELL
        if not path.exists():
            return "new"
        kept = json.loads(path.read_text())
        if kept["overrides"] != list(self.overrides):
            raise ValueError(
                f"{self.folder} holds the cell {' '.join(kept['overrides'])}, not"
                f" {' '.join(self.overrides)}; give another hydra.sweep.dir"
            )
        return str(kept["status"])

    def keep(self, status: str) -> None:
        """Write the cell's status."""
        text = json.dumps({"overrides": list(self.overrides), "status": status}, indent=1)
        write_atomic(self.folder / CELL, text)

    def error(self) -> str:
        """Return the error that the cell ended with,
        the last line of its log where it names none.
        """
        log = self.folder / LOG
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        named = [line for line in lines if line.startswith("error:")]
        return (named or [line for line in lines if line.strip()] or ["no output"])[-1]

    def run(self, threads: int) -> str:
        """Run the cell in a process of its own, or go on with it; return its status."""
        self.keep("started")
        command = [sys.executable, "-c", RUN, *self.overrides, f"hydra.run.dir={self.folder}"]
        environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
        with (self.folder / LOG).open("w") as log:
            status = subprocess.run(
                command, stdout=log, stderr=subprocess.STDOUT, env=environment, check=False
            ).returncode
        state = self.folder / "state.json"
        finished = state.exists() and bool(json.loads(state.read_text())["finished"])
        result = "failed" if status else "finished" if finished else "waiting"
        self.keep(result)
        return result


class Processes(Launcher):  # type: ignore[misc]
    """workers: cells at a time; each has its share of the cores."""

    def __init__(self, workers: int = 2) -> None:
        if workers < 1:
            raise ValueError(f"hydra.launcher.workers: expected at least 1, got {workers}")
        self.workers = workers
        self.config: Any = None
        self.context: Any = None

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        """Keep what a launch needs."""
        self.config, self.context = config, hydra_context

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run all cells that are not finished; list those that failed or wait for labels. Exits
        with status 1 where one failed.
        """
        setup_globals()
        console = Console(stderr=True)
        cells = [self._cell(list(o), initial_job_idx + i) for i, o in enumerate(job_overrides)]
        before = [cell.status() for cell in cells]
        left = [c for c, s in zip(cells, before, strict=True) if s != "finished"]
        console.print(f"{len(cells)} cells, {len(cells) - len(left)} of them finished before")
        threads = max(1, (os.cpu_count() or 1) // self.workers)
        with ThreadPoolExecutor(self.workers) as pool:
            for cell, status in zip(left, pool.map(lambda c: c.run(threads), left), strict=True):
                console.print(f"{status}: {escape(cell.folder.name)}", highlight=False)
        failed = [cell for cell in cells if cell.status() == "failed"]
        waiting = [cell for cell in cells if cell.status() == "waiting"]
        for cell in waiting:
            console.print(f"waits for labels: {cell.folder}", highlight=False, soft_wrap=True)
        for cell in failed:
            text = f"failed: {cell.folder}: {cell.error()}"
            console.print(escape(text), style="red", highlight=False, soft_wrap=True)
        if failed:
            console.print(
                f"{len(failed)} of {len(cells)} cells failed; the same command runs them again"
            )
            raise SystemExit(1)
        return [_done(cell) for cell in cells]

    def _cell(self, overrides: list[str], number: int) -> Cell:
        """Return the cell of one combination, in the folder that Hydra's sweep names."""
        config = self.context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        HydraConfig.instance().set_config(config)
        sweep = Path(str(config.hydra.sweep.dir)).absolute()
        folder = sweep / str(OmegaConf.select(config, "hydra.sweep.subdir"))
        return Cell(folder, tuple(o for o in overrides if not o.startswith("hydra")))


def _done(cell: Cell) -> JobReturn:
    result = JobReturn(overrides=list(cell.overrides), working_dir=str(cell.folder))
    result.status, result.return_value = JobStatus.COMPLETED, None
    return result


def register() -> None:
    """Make `hydra/launcher=processes` known. Hydra takes plug-ins from modules called hydra_plugins
    only, where it looks for the class by name: a module of that name holds it.
    """
    Processes.__module__ = "hydra_plugins.coreset"
    try:
        parent = importlib.import_module("hydra_plugins")
    except ModuleNotFoundError:
        parent = sys.modules["hydra_plugins"] = ModuleType("hydra_plugins")
        parent.__path__ = []
    module = sys.modules["hydra_plugins.coreset"] = ModuleType("hydra_plugins.coreset")
    for holder, name, value in ((module, "Processes", Processes), (parent, "coreset", module)):
        setattr(holder, name, value)
    Plugins.instance().register(Processes)
    node = {"_target_": "hydra_plugins.coreset.Processes", "workers": 2}
    ConfigStore.instance().store(group="hydra/launcher", name="processes", node=node)
