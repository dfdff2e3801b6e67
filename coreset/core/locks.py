"""One process in a folder at a time, on every system, and what a killed one left half written
removed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from coreset.core.leases import lease
from coreset.core.places import is_remote, place

LOCK = ".lock"
_OWN: weakref.WeakValueDictionary[str, Hold] = weakref.WeakValueDictionary()


class Hold:
    """A folder held for this process as long as the object lives: see `hold`."""

    def __init__(self, folder: Path, lock: Any) -> None:
        self.folder = folder
        self._end = weakref.finalize(self, _let_go, folder / LOCK, lock, os.getpid())

    @property
    def alive(self) -> bool:
        """Whether the folder is held still."""
        return self._end.alive

    def release(self) -> None:
        """Let the folder go; the second call does nothing."""
        self._end()


def _let_go(path: Path, lock: Any, owner: int) -> None:
    """Remove the lock's file while it is held, then let go; a forked child lets go of nothing."""
    if os.getpid() == owner:
        with contextlib.suppress(OSError):  # Windows removes no open file
            path.unlink()
        lock.release()


def hold(folder: str | Path) -> Hold:
    """Return the hold of this process on a folder, which is created; a second call gives the same.

    Raises ValueError when another process holds it.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    key = str(folder.resolve())
    held = _OWN.get(key)
    if held is None or not held.alive:
        held = _OWN[key] = Hold(folder, _acquired(folder))
    return held


def _acquired(folder: Path) -> Any:
    from filelock import FileLock, Timeout

    lock = FileLock(str(folder / LOCK))
    try:
        lock.acquire(timeout=0)
    except (Timeout, RuntimeError) as error:
        raise ValueError(
            f"another process works in {folder}; wait for it or use another folder"
        ) from error
    return lock


@contextlib.contextmanager
def locked(folder: Any) -> Iterator[None]:
    """Hold a folder inside the block and clear it of what a killed process left half written.

    Raises ValueError when another process, or another block of this one, works in it.
    """
    if is_remote(folder := place(folder)):
        with lease(folder):
            yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = _acquired(folder)
    try:
        sweep(folder)
        yield
    finally:
        _let_go(folder / LOCK, lock, os.getpid())


def sweep(folder: Path, pattern: str = "*.part", *, deep: bool = True) -> None:
    """Remove the files and folders of a pattern that a killed process left: `<name>.<pid>.part`."""
    for left in list(folder.rglob(pattern) if deep else folder.glob(pattern)):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)
