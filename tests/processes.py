"""Commands and scripts as a user starts them, each in a process of its own. A server that has
imported what they need forks them: an interpreter that begins from nothing takes 3 to 5 CPU seconds
of imports. What a start loads and costs is tested in test_start.py, by real ones.
"""

import multiprocessing
import os
import resource
import runpy
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from subprocess import CompletedProcess

# there is one server for all tests of a process, and one list: the last one set would be in force
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "coreset.trainers.app",
        "coreset.trainers.api",
        "coreset.trainers.run",
        "coreset.trainers.dynamic_pruning.sampler",
        "coreset.trainers.data.sources",
        "coreset.trainers.tasks.models",
        "coreset.strategies.coverage.kcenter",
        "coreset.cli.curate",
        "coreset.cli.explore",
        "coreset.cli.select",
        "coreset.curation.run",
        "coreset.report.page",
        "coreset.report.console",
        "numba",
        "pandas",
        "sklearn.datasets",
    ]
)


def command(
    name: str,
    *arguments: object,
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    largest: int = 0,
) -> CompletedProcess[str]:
    """Run a command of the package, such as `coreset-train`. largest: bytes beyond which it can
    write no file, 0 = any.
    """
    return _finished(_command, name, arguments, cwd, environment, largest)


def script(path: Path, *arguments: object, cwd: Path) -> CompletedProcess[str]:
    """Run a program of Python by its path."""
    return _finished(_script, str(path), arguments, cwd, None, 0)


def _finished(
    target: Callable[[str], object],
    name: str,
    arguments: tuple[object, ...],
    cwd: Path,
    environment: Mapping[str, str] | None,
    largest: int,
) -> CompletedProcess[str]:
    words = [name, *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        streams = [f"{folder}/out", f"{folder}/err"]
        settings = {**os.environ, **(environment or {})}
        process = CONTEXT.Process(
            target=_child, args=(target, words, str(cwd), settings, streams, largest)
        )
        process.start()
        process.join(300)
        if process.exitcode is None:
            process.kill()
            raise AssertionError(f"{' '.join(words)}: it hangs")
        out, err = (Path(name).read_text() for name in streams)
    return CompletedProcess(words, process.exitcode, out, err)


def _child(
    target: Callable[[str], object],
    words: list[str],
    cwd: str,
    settings: dict[str, str],
    streams: list[str],
    largest: int,
) -> None:
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(settings)
    for number, path in zip((1, 2), streams, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if largest:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    sys.argv = words
    target(words[0])


def _command(name: str) -> None:
    (entry,) = entry_points(group="console_scripts", name=name)
    sys.exit(entry.load()())


def _script(path: str) -> None:
    sys.path.insert(0, str(Path(path).parent))
    runpy.run_path(path, run_name="__main__")
