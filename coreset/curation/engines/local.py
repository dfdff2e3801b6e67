"""Engines: who calls the steps. The one here uses this machine, in this process or in several."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from coreset.core.engine import Engine as Engine
from coreset.core.workers import end_with_parent
from coreset.curation.engines.spill import ReadBucket, Spill, spill_folder

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Local:
    """Use this machine. workers: processes; 1 = this one, nothing is started. A worker that dies is
    replaced and its items are done again, `retries` times. spill: the folder for rows on their way
    to the rows they are compared with; None: the system's for temporary files.

    >>> list(Local().map(abs, [-2, 3]))
    [2, 3]
    """

    workers: int = 1
    retries: int = 2
    spill: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.workers, bool) or not isinstance(self.workers, int) or self.workers < 1:
            raise ValueError(
                f"workers: expected a number of processes, at least 1, got {self.workers!r}"
            )
        if self.spill is not None and not Path(self.spill).is_dir():
            raise ValueError(f"spill: expected a folder that exists, got {self.spill!r}")

    @property
    def name(self) -> str:
        """Return "local"."""
        return "local"

    @property
    def sharded(self) -> bool:
        """Return False: decisions and rejects are one file each."""
        return False

    @cached_property
    def _pool(self) -> ProcessPoolExecutor:
        """The workers, started once; they end with this process, killed or not."""
        forks = "forkserver" in multiprocessing.get_all_start_methods()
        context = multiprocessing.get_context("forkserver" if forks else "spawn")
        return ProcessPoolExecutor(self.workers, mp_context=context, initializer=_begin)

    def __getstate__(self) -> dict[str, Any]:
        return {"workers": self.workers, "retries": self.retries, "spill": self.spill}

    def check(self, operators: Sequence[Any]) -> None:
        """Do nothing: an operator gets this machine as it is."""

    def map(self, step: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Yield the results in the order of items; few of them are held at a time."""
        if self.workers == 1 or len(items) < 2:
            yield from map(step, items)
            return
        running: dict[int, Future[R]] = {}
        at, attempt = 0, 0
        try:
            while at < len(items):
                for i in range(at, min(at + 2 * self.workers, len(items))):
                    if i not in running:
                        running[i] = self._pool.submit(step, items[i])
                try:
                    answer = running[at].result()
                except BrokenProcessPool as error:
                    attempt += 1
                    self.__dict__.pop("_pool").shutdown(wait=False)
                    running = {i: f for i, f in running.items() if _is_done(f)}
                    if attempt > self.retries:
                        raise RuntimeError(
                            f"a worker process died {attempt} times; out of memory? use fewer"
                            " workers"
                        ) from error
                    continue
                yield answer
                running.pop(at)
                at += 1
        finally:
            for future in running.values():
                future.cancel()

    def exchange(
        self,
        read: Callable[[T], Any],
        items: Sequence[T],
        step: Callable[[tuple[int, Any]], R],
        parts: int,
    ) -> Iterator[R]:
        """Bring rows together through files of this machine: each row is written once and read
        once. The files lie in `spill`, or where temporary files do; those that a killed process
        left there are removed.
        """
        with spill_folder(self.spill) as folder:
            spill = Spill(folder, parts)
            for table in self.map(read, items):
                spill.add(table)
            spill.flush()
            files = spill.files()
            for (file, _), answers in zip(files, self.map(ReadBucket(step), files), strict=True):
                yield from answers
                file.unlink()


def _is_done(future: Future[Any]) -> bool:
    """Return whether a future holds an answer of a worker that lived."""
    return future.done() and not future.cancelled() and future.exception() is None


def _begin() -> None:
    """Begin a worker, with one thread: there are as many workers as there is work for."""
    end_with_parent()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
