"""Engines: who calls the steps. The one here uses this machine, in this process or in several."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from coreset.core.engine import Engine as Engine

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Local:
    """Use this machine. workers: processes; 1 = this one, nothing is started. A worker that dies is
    replaced and its items are done again, `retries` times.

    >>> list(Local().map(abs, [-2, 3]))
    [2, 3]
    """

    workers: int = 1
    retries: int = 2

    def __post_init__(self) -> None:
        if isinstance(self.workers, bool) or not isinstance(self.workers, int) or self.workers < 1:
            raise ValueError(
                f"workers: expected a number of processes, at least 1, got {self.workers!r}"
            )

    @property
    def name(self) -> str:
        """Return "local"."""
        return "local"

    @cached_property
    def _pool(self) -> ProcessPoolExecutor:
        """The workers, started once; they are gone with this process."""
        forks = "forkserver" in multiprocessing.get_all_start_methods()
        context = multiprocessing.get_context("forkserver" if forks else "spawn")
        return ProcessPoolExecutor(self.workers, mp_context=context, initializer=_one_thread)

    def __getstate__(self) -> dict[str, int]:
        return {"workers": self.workers, "retries": self.retries}

    def map(self, step: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Yield the results in the order of items."""
        if self.workers == 1 or len(items) < 2:
            yield from map(step, items)
            return
        done: dict[int, R] = {}
        for attempt in range(self.retries + 1):
            running: dict[int, Future[R]] = {}
            try:
                running = {
                    i: self._pool.submit(step, items[i]) for i in range(len(items)) if i not in done
                }
                for i, future in running.items():
                    done[i] = future.result()
                break
            except BrokenProcessPool as error:
                self.__dict__.pop("_pool").shutdown(wait=False)
                if attempt == self.retries:
                    raise RuntimeError(
                        f"a worker process died {attempt + 1} times; out of memory? use fewer"
                        " workers"
                    ) from error
            except BaseException:
                for future in running.values():
                    future.cancel()
                raise
        yield from (done[i] for i in range(len(items)))


def _one_thread() -> None:
    """Leave one thread to a worker: there are as many workers as there is work for."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
