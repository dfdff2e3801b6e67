"""How the benchmarks measure: CPU seconds on one thread, all methods of a row in one process and
interleaved, equal answers first.

A method is timed at the whole budget, or, where that would take minutes, at two small budgets:
their difference gives the cost of a pick (set-up and imports cancel), which is multiplied up and
marked `slope`. Peak memory is the rise of the resident set in a child process of its own (forked
once the inputs are there), counted from the moment the method has run once on a small budget.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

Answer = Any  # picks in order, or whatever the row compares
RESULTS = Path("results/strategies")
PACKAGES = (
    "coreset-lightning", "numpy", "torch", "numba", "scikit-learn", "scipy", "faiss-gpu", "apricot-select", "submodlib-py", "scikit-activeml", "baal", "small-text",
    "modAL-python", "datacull", "coreax", "jax", "fpsample", "datasketch", "rensa", "datatrove", "spacy", "transformers", "timm", "pillow", "pyahocorasick",
)  # fmt: skip


@dataclass(frozen=True)
class Method:
    """One way to choose k examples. run(k) -> answer; small: the budget it is warmed up with (0:
    not at all).

    points: two budgets, then it is timed by slope; power: how its cost grows with the budget. slow:
    timed twice only, when its memory and when its answer are taken.
    """

    name: str
    run: Callable[[int], Answer]
    points: tuple[int, int] | None = None
    power: int = 1
    note: str = ""
    small: int = 8
    slow: bool = False


@dataclass(frozen=True)
class Row:
    """One comparison: `ours` against `peers` at budget k.

    agree(ours, peer, k) says how far two answers agree. floor: what no implementation of this
    arithmetic can go below, bytes moved and floating-point operations.
    """

    what: str
    k: int
    ours: Method
    peers: Sequence[Method]
    agree: Callable[[Answer, Answer, int], dict[str, Any]]
    goal: str = ""
    floor: Mapping[str, Any] = field(default_factory=dict)
    # about our own answer, checked apart from the clock
    facts: Callable[[Answer], dict[str, Any]] | None = None
    trials: int = 5


def same_picks(ours: Answer, peer: Answer, k: int) -> dict[str, Any]:
    """Return how many of the first k picks stand at the same place, and where they first differ."""
    a, b = np.asarray(ours)[:k], np.asarray(peer)[:k]
    same = a == b
    first = None if same.all() else int(np.flatnonzero(~same)[0])
    return {
        "same_place": int(same.sum()),
        "same_set": len(np.intersect1d(a, b)),
        "of": k,
        "first_difference": first,
    }


def clock(run: Callable[[int], Answer], k: int) -> tuple[float, float]:
    """Return CPU seconds of the process and wall seconds of one call."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    run(k)
    return time.process_time() - cpu, time.perf_counter() - wall


def ceilings() -> dict[str, float]:
    """Return what one thread of this machine does now: float32 products (GFLOP/s) and reading
    (GB/s), best of five.
    """
    a, b = np.ones((2048, 2048), np.float32), np.ones(2**26, np.float32)
    product = min(clock(lambda _: a @ a, 0)[0] for _ in range(5))
    read = min(clock(lambda _: b.dot(b), 0)[0] for _ in range(5))
    return {"float32_gflops": 2 * 2048**3 / product / 1e9, "read_gb_per_s": b.nbytes / read / 1e9}


def _seconds(method: Method, k: int) -> dict[str, float]:
    if method.points is None:
        cpu, wall = clock(method.run, k)
        return {"cpu": cpu, "wall": wall}
    low, high = method.points
    one, two = clock(method.run, low), clock(method.run, high)
    grow = k**method.power / (high**method.power - low**method.power)
    return {
        "cpu": (two[0] - one[0]) * grow,
        "wall": (two[1] - one[1]) * grow,
        "cpu_low": one[0],
        "cpu_high": two[0],
    }


def measure(
    row: Row,
    peaks: Mapping[str, Mapping[str, Any]],
    trials: int | None = None,
    log: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Check the answers, then time all methods in turns. peaks: what `memory` found, by method."""
    methods, entries, answers = [row.ours, *row.peers], {}, {}
    runs: dict[str, list[dict[str, float]]] = {m.name: [] for m in methods}
    for method in methods:
        entry: dict[str, Any] = {
            "name": method.name,
            "note": method.note,
            **peaks.get(method.name, {}),
        }
        entries[method.name] = entry
        try:
            start = time.process_time()
            if method.small:
                method.run(min(method.small, row.k))
            entry["warm_up_cpu_s"] = time.process_time() - start  # imports and compiling included
            at = method.points[1] if method.points else row.k
            wall, cpu = time.perf_counter(), time.process_time()
            answers[method.name] = method.run(at)
            if method.slow:
                runs[method.name] = [
                    {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
                ]
                runs[method.name] += (
                    [{"cpu": entry["peak_run_cpu_s"], "wall": entry["peak_run_wall_s"]}]
                    if "peak_run_cpu_s" in entry
                    else []
                )
            entry["agreement"] = row.agree(answers[row.ours.name], answers[method.name], at)
            if method is row.ours:
                entry.pop("agreement")
                entry["facts"] = row.facts(answers[method.name]) if row.facts else {}
        except Exception as error:
            if method is row.ours:
                raise
            entry["error"] = f"{type(error).__name__}: {error}"[:400]
        log(
            f"  {method.name}:"
            f" {entry.get('error') or entry.get('agreement') or entry.get('facts') or ''}"
        )
    alive = [m for m in methods if "error" not in entries[m.name]]
    quick = [m for m in alive if not m.slow]
    count = trials or row.trials
    for turn in range(count):
        for method in quick[turn % len(quick) :] + quick[: turn % len(quick)] if quick else []:
            runs[method.name].append(_seconds(method, row.k))
    base = statistics.median(r["cpu"] for r in runs[row.ours.name])
    for method in alive:
        entry = entries[method.name]
        entry["trials"] = runs[method.name]
        entry["cpu_s"] = statistics.median(r["cpu"] for r in runs[method.name])
        entry["wall_s"] = statistics.median(r["wall"] for r in runs[method.name])
        entry["slope"] = method.points
        if entry["cpu_s"] <= 0:  # no time, and no ratio
            entry["error"] = (
                f"a slope of {entry['cpu_s']:.3g} s: the set-up varies by more than the picks"
                f" between {method.points} cost"
            )
            log(f"  {method.name}: {entry['error']}")
            continue
        if method.power != 1:
            entry["slope_power"] = method.power
        entry["ratio"] = entry["cpu_s"] / base
        log(
            f"  {method.name}: {entry['cpu_s']:.4g} s{' slope' if method.points else ''},"
            f" {entry['ratio']:.3g} x"
        )
    return {"methods": [entries[m.name] for m in methods], "trials": count}


def resident() -> tuple[int, int]:
    """Return the resident set now and its peak, in bytes (Linux)."""
    lines = dict(
        line.split(":", 1)
        for line in Path("/proc/self/status").read_text().splitlines()
        if ":" in line
    )
    return int(lines["VmRSS"].split()[0]) * 1024, int(lines["VmHWM"].split()[0]) * 1024


def reset_peak() -> None:
    """Set the peak of the resident set back to what it is now (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_of(run: Callable[[], Any]) -> tuple[int, Any]:
    """Return how many bytes the resident set rose while `run` worked, and what it returned."""
    gc.collect()
    reset_peak()
    before = resident()[0]
    answer = run()
    return max(0, resident()[1] - before), answer


def memory(method: Method, k: int, limit: float = 600.0) -> dict[str, Any]:
    """Run one method in a child forked from this process, inputs and all, and return its peak. Call
    before any method has run here.
    """
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    at = method.points[1] if method.points else k

    def work() -> None:
        try:
            if method.small:
                method.run(min(method.small, k))
            peak, (cpu, wall) = peak_of(lambda: clock(method.run, at))
            send.send(
                {
                    "peak_extra_bytes": peak,
                    "peak_at_k": at,
                    "peak_run_cpu_s": cpu,
                    "peak_run_wall_s": wall,
                }
            )
        except Exception as error:
            send.send({"memory_error": f"{type(error).__name__}: {error}"[:400]})

    worker = context.Process(target=work)
    worker.start()
    usage: dict[str, Any] = {"memory_error": f"no answer within {limit:.0f} s"}
    if receive.poll(limit):
        try:
            usage = receive.recv()
        except EOFError:
            usage = {"memory_error": "the process died"}
    worker.kill()
    worker.join()
    return usage


def child(
    arguments: Sequence[str], limit: float = 600.0, fresh_cache: bool = False
) -> dict[str, Any]:
    """Run the calling script again with other arguments and return the JSON object on its last
    line, or what went wrong.

    fresh_cache: with an empty numba cache, so that the first call compiles.
    """
    with tempfile.TemporaryDirectory() as folder:
        extra = {"NUMBA_CACHE_DIR": folder} if fresh_cache else {}
        command = [sys.executable, sys.argv[0], *arguments]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=limit,
                env={**os.environ, **extra},
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"error": f"no answer within {limit:.0f} s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return {"error": f"exit status {done.returncode}: {done.stderr.strip().splitlines()[-1:]}"}
    result: dict[str, Any] = json.loads(lines[-1])
    return result


def about(command: str) -> dict[str, Any]:
    """Return hardware, versions, load and date."""
    from coreset.runs.run_folder import hardware, versions

    return {
        "hardware": hardware(),
        "threads": max(
            (pool["num_threads"] for pool in import_module("threadpoolctl").threadpool_info()),
            default=1,
        ),
        "versions": versions(*PACKAGES),
        "command": command,
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "load": round(os.getloadavg()[0], 2),
        "ceilings": ceilings(),
    }


def floor_seconds(floor: Mapping[str, Any], ceiling: Mapping[str, float]) -> float:
    """Return the time the floor takes at the ceilings: the larger of moving its bytes and doing its
    operations.
    """
    return float(
        max(
            floor.get("bytes", 0) / ceiling["read_gb_per_s"],
            floor.get("flops", 0) / ceiling["float32_gflops"],
        )
        / 1e9
    )


def write(name: str, result: Mapping[str, Any], folder: Path = RESULTS) -> None:
    """Write one result file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(
        json.dumps(result, indent=1, default=lambda v: v.item() if hasattr(v, "item") else str(v))
        + "\n"
    )
