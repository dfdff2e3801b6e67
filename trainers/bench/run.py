"""A suite run cell by cell: process-parallel, resumable, a failed cell listed and never fatal."""

from __future__ import annotations

import json
import re
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from coreset.core.locks import hold
from coreset.core.store import fingerprint, to_json, write_atomic
from coreset.core.workers import end_with_parent
from coreset.trainers.bench.cell import run_cell
from coreset.trainers.bench.prune import Proxy
from coreset.trainers.bench.sample import Table, replicate
from coreset.trainers.bench.suite import ACTIVE, FULL, Row, Suite
from coreset.trainers.learners.probe import Probe, ProbeLearner

FORMAT = 1


@dataclass(frozen=True, eq=False)
class Job:
    """A suite on a data set with a learner: what every process of a run gets."""

    suite: Suite
    table: Table
    probe: Probe
    folder: Path
    data_key: str
    threads: int = 1

    @cached_property
    def base(self) -> dict[str, Any]:
        """Return what every cell's answer depends on, besides its row and replicate."""
        protocol = {k: v for k, v in vars(self.suite.protocol).items() if k != "replicates"}
        if protocol["mode"] == ACTIVE:  # cells from before there was another keep their names
            del protocol["mode"]
        probe = vars(self.probe)
        return {"format": FORMAT, "data": self.data_key, "protocol": protocol, "probe": probe}

    def path(self, row: Row | None, number: int) -> Path:
        """Return the file of a cell, named by everything its answer depends on."""
        name, config = (FULL, {}) if row is None else (row.name, row.config)
        key = fingerprint(json.loads(to_json([self.base, config, number])))
        plain = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")
        return self.folder / "cells" / f"{plain}-{number:03d}-{key}.json"

    def cells(self) -> list[tuple[Row | None, int]]:
        """Return all cells, one replicate after the other."""
        rows: list[Row | None] = [*self.suite.rows, *[None] * self.suite.full]
        return [(row, n) for n in range(self.suite.protocol.replicates) for row in rows]

    def missing(self) -> list[tuple[Row | None, int]]:
        """Return the cells without an answer yet; those that failed before are among them."""
        return [cell for cell in self.cells() if not self.path(*cell).exists()]


_JOB: Job | None = None


def _begin(job: Job) -> None:
    """Keep the job in a worker, so that data travel once."""
    import torch

    global _JOB
    torch.set_num_threads(job.threads)
    _JOB = job


def _begin_worker(job: Job) -> None:
    end_with_parent()
    _begin(job)


def learner_of(job: Job, number: int) -> tuple[Any, ProbeLearner, Proxy]:
    """Return the data of a replicate, the learner on it and what a training on all of it tells."""
    data = replicate(job.table, job.suite.protocol, number)
    learner = job.probe.on(data.features, data.test_features, data.test_labels, job.table.classes)
    return data, learner, Proxy(learner, data, job.suite.protocol)


_SHARED: dict[tuple[int, int], Any] = {}
Answer = tuple[str, int, str | None, float]  # name, replicate, error, seconds


def _one(number: int, row: Row | None) -> Answer:
    """Run one cell in this process, with the learner of its replicate kept for the next."""
    job = _JOB
    assert job is not None
    if (id(job), number) not in _SHARED:
        _SHARED.clear()
        _SHARED[id(job), number] = learner_of(job, number)
    data, learner, proxy = _SHARED[id(job), number]
    begin, error = time.perf_counter(), None
    file = job.path(row, number)
    try:
        records = run_cell(row, learner, data, job.suite.protocol, proxy)
        write_atomic(file, to_json(records))
        file.with_suffix(".error").unlink(missing_ok=True)
    except Exception as problem:
        error = f"{type(problem).__name__}: {problem}"
        write_atomic(file.with_suffix(".error"), error + "\n\n" + traceback.format_exc())
    name = FULL if row is None else row.name
    return name, number, error, time.perf_counter() - begin


def _many(number: int, rows: Sequence[Row | None]) -> list[Answer]:
    """Run the rows of one replicate."""
    return [_one(number, row) for row in rows]


def run(
    job: Job,
    workers: int = 1,
    tell: Callable[[str, int, str | None, float, int, int], None] = lambda *_: None,
) -> dict[str, str]:
    """Run every cell that has no answer; return the errors of cells that failed, by their name.

    A cell is written whole, once: killed anywhere, the next call goes on with what is missing.
    tell: called after each cell with name, replicate, error, seconds, cells done and cells to do.
    Raises ValueError when another process works in the folder.
    """
    held = hold(job.folder)
    todo: dict[int, list[Row | None]] = {}
    for row, number in job.missing():
        todo.setdefault(number, []).append(row)
    total, failed = sum(map(len, todo.values())), {}
    if workers == 1:
        _begin(job)
        answers: Any = (_one(number, row) for number, rows in todo.items() for row in rows)
    else:
        answers = _parallel(job, todo, workers)
    for done, (name, number, error, seconds) in enumerate(answers, 1):
        if error is not None:
            failed[f"{name}, replicate {number}"] = error
        tell(name, number, error, seconds, done, total)
    held.release()
    return failed


def _parallel(job: Job, todo: Mapping[int, Sequence[Row | None]], workers: int) -> Any:
    """Yield the answers of workers, each of which takes whole replicates."""
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_begin_worker, initargs=(job,)
    ) as pool:
        futures = [pool.submit(_many, number, rows) for number, rows in todo.items()]
        for future in as_completed(futures):
            yield from future.result()
