"""The command line that every comparison has: which rows, how often, and where the results go."""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from scripts.benchmarks import harness
from scripts.benchmarks.harness import Row
from scripts.benchmarks.table import write_table

Rows = Mapping[str, Callable[[float], Row]]  # a row by name, made at a scale: 1, or QUICK
QUICK = 0.05


def run(name: str, rows: Rows, quick: bool, trials: int | None, command: str) -> dict[str, Any]:
    """Measure one row, then the memory of each of its methods and our first call in processes of
    their own.
    """
    print(name, flush=True)
    start = time.perf_counter()
    row = rows[name](QUICK if quick else 1)
    result: dict[str, Any] = {
        "name": name,
        "what": row.what,
        "k": row.k,
        "goal": row.goal,
        "floor": dict(row.floor),
        "quick": quick,
    }
    peaks = {} if quick else {m.name: harness.memory(m, row.k) for m in [row.ours, *row.peers]}
    result |= harness.about(command)
    result |= harness.measure(
        row, peaks, 1 if quick else trials, lambda text: print(text, flush=True)
    )
    ours = result["methods"][0]
    if row.floor:
        result["floor"]["cpu_s"] = harness.floor_seconds(row.floor, result["ceilings"])
        result["floor"]["ours_over_floor"] = ours["cpu_s"] / result["floor"]["cpu_s"]
    result["took_s"] = round(time.perf_counter() - start, 1)
    return result


def first_call(name: str, rows: Rows) -> dict[str, float]:
    """Return what the first call costs beyond the second, at a tiny size: compiling, when numba's
    cache is empty, and imports.
    """
    row = rows[name](QUICK)
    cost = [harness.clock(row.ours.run, row.k) for _ in range(2)]
    return {"cpu_s": cost[0][0] - cost[1][0], "wall_s": cost[0][1] - cost[1][1]}


def first_calls(names: Sequence[str], folder: Path) -> None:
    """Measure the first call of each row in a fresh process with an empty cache, into
    first_calls.json.
    """
    file = folder / "first_calls.json"
    calls = json.loads(file.read_text()) if file.exists() else {}
    for name in names:
        calls[name] = harness.child(["--first", name], fresh_cache=True)
        print(name, calls[name], flush=True)
    harness.write("first_calls", calls, folder)


def main(rows: Rows, doc: str | None, folder: Path, title: str) -> None:
    """Read the arguments, measure, write `folder`/<row>.json and `folder`/table.md under `title`."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", choices=[[], *rows], metavar="row", help=", ".join(rows))
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--trials", type=int, default=None)
    parser.add_argument(
        "--first-calls",
        action="store_true",
        help=(
            "only what the first call of each row costs, in a process with an empty compiler cache"
        ),
    )
    parser.add_argument("--first", help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    if args.first:
        print(json.dumps(first_call(args.first, rows)))
        return
    script = f"python scripts/benchmarks/{Path(sys.argv[0]).name}"
    failed = []
    names = list(rows) if args.all else args.rows
    many = (
        len(names) > 1 and not args.quick
    )  # each row in a process of its own: what one leaves behind cannot disturb the next
    for name in [] if args.first_calls else names:
        if many:
            again = [] if args.trials is None else ["--trials", str(args.trials)]
            if subprocess.run([sys.executable, sys.argv[0], name, *again], check=False).returncode:
                failed.append(name)
            continue
        try:
            result = run(
                name, rows, args.quick, args.trials, f"{script} {shlex.join(sys.argv[1:])}"
            )
        except Exception as error:
            if not args.quick:
                raise
            failed.append(name)
            print(f"  failed: {type(error).__name__}: {error}", flush=True)
            continue
        if not args.quick:
            harness.write(name, result, folder)
    if args.first_calls or (args.all and not args.quick):
        first_calls(names, folder)
    if not args.quick:
        write_table(list(rows), folder, title, f"{script} --all")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")
