"""Commands and scripts as a user starts them, each in a process of its own. A server that has
imported what they need forks them: an interpreter that begins from nothing takes 3 to 5 CPU seconds
of imports. What a start loads and costs is tested in test_start.py, by real ones.
"""

import atexit
import json
import multiprocessing
import os
import resource
import runpy
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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
        "coreset.report.curation",
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
    merged: bool = False,
) -> CompletedProcess[str]:
    """Run a command of the package, such as `coreset-train`. environment: settings beside those of
    this process. largest: bytes beyond which it can write no file, 0 = any. merged: standard error
    goes where standard output goes.
    """
    settings = {**os.environ, **(environment or {})}
    return _finished(_command, [name, *map(str, arguments)], cwd, settings, largest, merged)


def script(path: Path, *arguments: object, cwd: Path) -> CompletedProcess[str]:
    """Run a program of Python by its path."""
    return _finished(_script, [str(path), *map(str, arguments)], cwd, dict(os.environ))


SHIM = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as line:
    line.connect({address!r})
    one, two = os.fstat(1), os.fstat(2)
    same = (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino)
    words = [os.path.basename(sys.argv[0]), *sys.argv[1:]]
    asked = {{"words": words, "cwd": os.getcwd(), "settings": dict(os.environ), "merged": same}}
    with line.makefile("rw") as file:
        file.write(json.dumps(asked) + chr(10))
        file.flush()
        status, out, err = json.loads(file.readline())
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(status)
"""


@contextmanager
def on_path() -> Iterator[Path]:
    """Yield a folder of the package's commands for the PATH of a shell: each has `command` run
    it.
    """
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listening:
        address = f"{folder}/socket"
        listening.bind(address)
        listening.listen()
        for entry in entry_points(group="console_scripts"):
            if entry.value.startswith("coreset.") and entry.name != "coreset-mcp":  # it reads
                shim = Path(folder, entry.name)
                shim.write_text(SHIM.format(python=sys.executable, address=address))
                shim.chmod(0o755)
        threading.Thread(target=_serve, args=(listening,), daemon=True).start()
        yield Path(folder)
        listening.shutdown(socket.SHUT_RDWR)


def _serve(listening: socket.socket) -> None:
    while True:
        try:
            line, _ = listening.accept()
        except OSError:  # the end
            return
        with line, line.makefile("rw") as file:
            asked = json.loads(file.readline())
            words, settings = asked["words"], asked["settings"]
            ran = _finished(_command, words, asked["cwd"], settings, 0, asked["merged"])
            file.write(json.dumps([ran.returncode, ran.stdout, ran.stderr]) + "\n")


def _finished(
    target: Callable[[str], object],
    words: list[str],
    cwd: str | Path,
    settings: dict[str, str],
    largest: int = 0,
    merged: bool = False,
) -> CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as folder:
        streams = [f"{folder}/out", f"{folder}/{'out' if merged else 'err'}"]
        process = CONTEXT.Process(
            target=_child, args=(target, words, str(cwd), settings, streams, largest)
        )
        process.start()
        process.join(300)
        if process.exitcode is None:
            process.kill()
            raise AssertionError(f"{' '.join(words)}: it hangs")
        out, err = (Path(name).read_text() for name in streams)
    return CompletedProcess(words, process.exitcode, out, "" if merged else err)


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
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    if largest:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    sys.argv = words
    try:
        target(words[0])
    finally:
        atexit._run_exitfuncs()  # a process that is forked ends without them


def _command(name: str) -> None:
    (entry,) = entry_points(group="console_scripts", name=name)
    sys.exit(entry.load()())


def _script(path: str) -> None:
    sys.path.insert(0, str(Path(path).parent))
    runpy.run_path(path, run_name="__main__")
