"""A MongoDB for FiftyOne's scripts, the one of its own environment."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MOST = 120  # seconds until it answers


@contextmanager
def database(python: str, folder: Path) -> Iterator[dict[str, str] | None]:
    """Yield the environment variables by which FiftyOne's scripts find a database in `folder`; None
    where there is no MongoDB that runs here.

    FiftyOne would start it itself, in every script anew, and gives up after a time in which a busy
    machine has not imported it yet.
    """
    own = sorted(Path(python).parents[1].glob("lib/python*/site-packages/fiftyone/db/bin/mongod"))
    binary = str(own[0]) if own else shutil.which("mongod")
    if binary is None:
        yield None
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "db").mkdir(parents=True)
    place = ["--dbpath", folder / "db", "--logpath", folder / "db.log", "--bind_ip", "127.0.0.1"]
    running = subprocess.Popen([binary, *map(str, place), "--port", str(port), "--nounixsocket"])
    try:
        there = _answers(running, port)
        yield (
            {
                "FIFTYONE_DATABASE_URI": f"mongodb://127.0.0.1:{port}",
                "HOME": str(folder),
                "FIFTYONE_DO_NOT_TRACK": "true",
            }
            if there
            else None
        )
    finally:
        running.terminate()
        running.wait(MOST)


def _answers(running: subprocess.Popen[bytes], port: int) -> bool:
    for _ in range(10 * MOST):
        if running.poll() is not None:
            return False
        with socket.socket() as asked:
            if asked.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.1)
    return False
