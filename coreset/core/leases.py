"""One run in a prefix of a store at a time: a small file that its owner writes again and again."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from coreset.core.places import in_words, put

LEASE = ".lock"
EVERY, OLD = 30.0, 300.0  # seconds between two writes, and until a lease is nobody's


@contextlib.contextmanager
def lease(folder: Any) -> Iterator[None]:
    """Hold a prefix of a store inside the block.

    Raises ValueError when another run holds it: one of this machine that lives, or one of another
    that wrote within the last five minutes. A run that was killed holds nothing.
    """
    path, mine = folder / LEASE, uuid.uuid4().hex
    _refuse(path)
    _write(path, mine)
    held = _read(path)
    if held is None or held["run"] != mine:  # of two that came at once, the one written last stays
        raise ValueError(_busy(path, held or {}))
    done = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, mine, done), daemon=True)
    beat.start()
    try:
        yield
    finally:
        done.set()
        beat.join()
        with contextlib.suppress(OSError):
            path.fs.rm(path.path)


def _beat(path: Any, mine: str, done: threading.Event) -> None:
    while not done.wait(EVERY):
        with contextlib.suppress(OSError):
            _write(path, mine)


def _write(path: Any, mine: str) -> None:
    about = {"run": mine, "host": socket.gethostname(), "process": os.getpid(), "time": time.time()}
    put(path, json.dumps(about).encode())


def _read(path: Any) -> dict[str, Any] | None:
    try:
        with in_words(path, "read"):
            path.fs.invalidate_cache()
            content: dict[str, Any] = json.loads(path.fs.cat_file(path.path))
    except (FileNotFoundError, ValueError, OSError) as error:
        if "permission" in str(error) or "no bucket" in str(error):
            raise
        return None
    return content


def _refuse(path: Any) -> None:
    held = _read(path)
    if held is None:
        return
    here = held.get("host") == socket.gethostname()
    alive = _lives(int(held["process"])) if here else time.time() - held["time"] < OLD
    if alive:
        raise ValueError(_busy(path, held))


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _busy(path: Any, held: dict[str, Any]) -> str:
    return (
        f"another run works in {path.parent}: process {held.get('process')} on {held.get('host')};"
        " wait for it or use another prefix"
    )
