"""One cell: one row in one replicate, from the first label to the last budget."""

from __future__ import annotations

import resource
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from coreset.core.pool import Pool
from coreset.core.selection import Selection
from coreset.core.signals import Signals
from coreset.trainers.bench.prune import Proxy
from coreset.trainers.bench.sample import STRATEGY, TRAINING, Replicate, stream
from coreset.trainers.bench.suite import FULL, PRUNE, Protocol, Row
from coreset.trainers.learners.probe import ProbeLearner

TOLD = ("why", "variant", "member", "loss")  # of a choice's info
_RESET = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


def reset_peak() -> None:
    """Begin the measurement of this process's peak memory anew, where the system can (Linux)."""
    with suppress(OSError):
        _RESET.write_text("5")


def peak_mb() -> float:
    """Return the peak memory of this process in MB since `reset_peak`, or since its start."""
    with suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM"):
                return float(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_full(learner: ProbeLearner, data: Replicate, protocol: Protocol) -> list[dict[str, Any]]:
    """Return the one record of the learner on the whole pool,
    as converged as its tuning makes it.
    """
    rows = np.flatnonzero(data.candidates & (data.labels >= 0))
    result = learner.fit(rows, data.labels, seed=[protocol.seed, TRAINING, data.number, 0])
    record = {"labels": len(rows), "step": 0, **learner.test(), "train_seconds": result.seconds}
    return [
        {
            **record,
            "select_seconds": 0.0,
            "peak_mb": peak_mb(),
            "ids": [],
            "info": {"fit": dict(result.info)},
        }
    ]


def run_row(
    row: Row, learner: ProbeLearner, data: Replicate, protocol: Protocol
) -> list[dict[str, Any]]:
    """Return one record per budget: labels paid for, the learner's metrics on the test set, ids
    chosen since the last budget, in order, CPU seconds to choose (and to measure what choosing
    reads), wall seconds to train, peak memory.

    A label paid for an image of no class asked for teaches nothing: the image leaves the pool. A
    row that reads labels does not choose such images.
    """
    bought = np.empty(0, np.int64)
    selected = np.empty(0, np.int64)
    known = np.full(len(data.labels), -1)
    asked_for = data.truth >= 0 if row.reads_labels else True
    candidates = np.flatnonzero(data.candidates & asked_for)
    fixed = learner.signals(np.arange(learner.size), ["features"])
    records: list[dict[str, Any]] = []
    ids: list[Any] = []
    spent = trained = 0.0
    infos: list[Any] = []
    reset_peak()
    for step, (total, measured) in enumerate(protocol.totals()):
        begin = time.process_time()
        chooser = row.main if step else row.start
        if chooser is None:
            new = data.start[:total]
            info: dict[str, Any] = {"why": "at random, the same for every row"}
        else:
            columns = dict(fixed)
            wanted = (chooser.needs | chooser.needs_selected) & learner.available - set(fixed)
            if wanted and step:
                columns |= learner.signals(np.arange(learner.size), wanted, seed=protocol.seed)
            columns["labels"] = data.truth if row.reads_labels else known
            columns["validation"] = ~data.candidates
            free = np.setdiff1d(candidates, bought, assume_unique=True)
            pool = Pool(learner.size, selected, free)
            signals = Signals(learner.size, **columns)
            answer = chooser(
                pool, signals, total - len(bought), stream(protocol, STRATEGY, data.number, step)
            )
            new, info = answer.indices, dict(answer.info)
        spent += time.process_time() - begin
        bought = np.concatenate([bought, new])
        selected = bought[data.labels[bought] >= 0]
        known[selected] = data.labels[selected]
        ids += data.ids[new].tolist()
        infos.append({k: info[k] for k in TOLD if k in info})
        if measured or step + 1 < len(protocol.totals()):
            result = learner.fit(selected, known, seed=[protocol.seed, TRAINING, data.number, step])
            trained += result.seconds
        if measured:
            records.append(
                {
                    "labels": total,
                    "step": step,
                    **learner.test(),
                    "select_seconds": spent,
                    "train_seconds": trained,
                    "peak_mb": peak_mb(),
                    "ids": ids,
                    "info": {"choices": infos, "fit": dict(result.info)},
                }
            )
            ids, infos, spent, trained = [], [], 0.0, 0.0
    return records


def run_pruned(
    row: Row, learner: ProbeLearner, data: Replicate, protocol: Protocol, proxy: Proxy
) -> list[dict[str, Any]]:
    """Return one record per budget, as `run_row` does: each is a choice among all examples, whose
    labels are known, by what a training on the whole pool tells; the head learns from the chosen
    with the weights of the strategy. A greedy strategy chooses once, for the largest budget.
    """
    reset_peak()
    nothing, candidates = np.empty(0, np.int64), np.flatnonzero(data.candidates)
    budgets, pool = list(protocol.budgets), Pool(learner.size, nothing, candidates)
    columns, spent = proxy.columns(row.main.needs | row.main.needs_selected)
    signals = Signals(learner.size, **columns)
    begin = time.process_time()

    def choose(step: int) -> Selection:
        rng = stream(protocol, STRATEGY, data.number, step)
        return row.main(pool, signals, budgets[step], rng)

    last = choose(len(budgets) - 1)
    once = row.main.greedy and last.weights is None
    answers = [last.prefix(n) if once else choose(i) for i, n in enumerate(budgets[:-1])]
    spent += time.process_time() - begin
    records: list[dict[str, Any]] = []
    for step, answer in enumerate([*answers, last]):
        seed = [protocol.seed, TRAINING, data.number, step]
        result = learner.fit(answer.indices, data.labels, weights=answer.weights, seed=seed)
        info = {k: answer.info[k] for k in TOLD if k in answer.info}
        records.append(
            {
                "labels": budgets[step],
                "step": step,
                **learner.test(),
                "select_seconds": 0.0 if step else spent,
                "train_seconds": result.seconds,
                "peak_mb": peak_mb(),
                "ids": data.ids[answer.indices].tolist(),
                "info": {"choices": [info], "fit": dict(result.info)},
            }
        )
    return records


def run_cell(
    row: Row | None, learner: ProbeLearner, data: Replicate, protocol: Protocol, proxy: Proxy
) -> list[dict[str, Any]]:
    """Return the records of a row, or of the whole pool where row is None. proxy: of prune mode."""
    if row is None:
        records = run_full(learner, data, protocol)
    elif protocol.mode == PRUNE:
        records = run_pruned(row, learner, data, protocol, proxy)
    else:
        records = run_row(row, learner, data, protocol)
    name = FULL if row is None else row.name
    return [{"strategy": name, "replicate": data.number, **record} for record in records]
