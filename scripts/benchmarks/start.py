"""What it costs to start: CPU seconds and memory of calls in fresh processes, against the goals.

    python scripts/benchmarks/start.py [--trials 7] [--out results/start]

Each trial is a process of its own, by resource usage (user + system seconds of it and its children,
largest resident set). One start before the first trial fills numba's cache and writes bytecode, as
an installation does; with `--no-bytecode` every module is compiled anew.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from coreset.core.store import to_json, write_atomic
from coreset.runs.run_folder import hardware, versions

NUMPY = "import numpy as np, coreset; rng = np.random.default_rng(0); "
CURATE = "from coreset.cli.curate import curate_main as main; "
TRAIN = "from coreset.trainers.app import main; "

CALLS: dict[str, tuple[str, list[str], float | None, float | None]] = {
    # name: code, arguments, goal in CPU seconds, goal in MB
    "import coreset": ("import coreset", [], 0.3, None),
    'select("margin", 10, probs=(100, 10))': (
        NUMPY + "coreset.select('margin', 10, probs=rng.dirichlet(np.ones(10), 100))",
        [], 1.0, 250,
    ),
    'select("kcenter", 10, features=(100, 16))': (
        NUMPY + "coreset.select('kcenter', 10, features=rng.normal(size=(100, 16)))",
        [], 2.5, None,
    ),
    "coreset-train --help": (TRAIN + "main()", ["--help"], 3.0, None),
    "coreset-curate --help": (CURATE + "main()", ["--help"], 3.0, 300),
    "coreset-curate recipe=rules.yaml (Gopher, C4, FineWeb), 100 rows": (
        CURATE + "main()", ["recipe=rules.yaml", "input=in.jsonl", "out=out"], 3.0, 300,
    ),
    "coreset-curate recipe=pretrain (with language, duplicates), 100 rows": (
        CURATE + "main()", ["recipe=pretrain", "input=in.jsonl", "out=out"], None, None,
    ),
}  # fmt: skip

RULES = """
operators:
- gopher_repetition
- gopher_repetition_filter
- c4: {punctuation: false}
- c4_filter
- gopher_quality
- gopher_quality_filter
- fineweb
- fineweb_filter
"""
WORDS = (
    "the a of and to in that it is was he for on with as his they at be this have from or",
    "house river winter letter garden music window stone market morning",
)

# the process measures itself: what it and its children have used when it ends
WRAP = """
import atexit, json, os, resource, sys
def say():
    used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    out = {"cpu": sum(u.ru_utime + u.ru_stime for u in used), "mb": max(u.ru_maxrss for u in used) / 1024}
    os.write(int(os.environ["MEASURE_FD"]), json.dumps(out).encode())
atexit.register(say)
"""


def corpus(path: Path, rows: int = 100) -> None:
    """Write rows of text of which the rules keep some."""
    from numpy.random import default_rng

    rng = default_rng(0)
    words = [w for line in WORDS for w in line.split()]
    with path.open("w") as file:
        for i in range(rows):
            lines = [
                " ".join(rng.choice(words, 14)).capitalize() + "." for _ in range(int(rng.integers(2, 30)))
            ]  # fmt: skip
            file.write(json.dumps({"id": str(i), "text": "\n".join(lines)}) + "\n")


def trial(code: str, arguments: list[str], environment: dict[str, str]) -> dict[str, float]:
    """Return CPU seconds, megabytes and wall seconds of one process."""
    with tempfile.TemporaryDirectory() as folder:
        corpus(Path(folder) / "in.jsonl")
        (Path(folder) / "rules.yaml").write_text(RULES)
        read, write = os.pipe()
        env = {**environment, "MEASURE_FD": str(write)}
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", WRAP + code, *arguments],
            check=True, cwd=folder, env=env, pass_fds=(write,), capture_output=True,
        )  # fmt: skip
        wall = time.perf_counter() - start
        os.close(write)
        with os.fdopen(read) as pipe:
            return {**json.loads(pipe.read()), "wall": wall}


def measure(trials: int, environment: dict[str, str]) -> list[dict[str, Any]]:
    """Return one row per call: medians, the range, and whether the goals are met."""
    rows = []
    for name, (code, arguments, seconds, megabytes) in CALLS.items():
        trial(code, arguments, environment)  # warm
        seen = [trial(code, arguments, environment) for _ in range(trials)]
        cpu = sorted(t["cpu"] for t in seen)
        row: dict[str, Any] = {
            "call": name, "cpu_s": statistics.median(cpu), "cpu_s_min": cpu[0],
            "cpu_s_max": cpu[-1], "mb": max(t["mb"] for t in seen),
            "wall_s": statistics.median(t["wall"] for t in seen), "goal_cpu_s": seconds,
            "goal_mb": megabytes, "trials": trials,
        }  # fmt: skip
        row["met"] = (seconds is None or row["cpu_s"] <= seconds) and (
            megabytes is None or row["mb"] <= megabytes
        )
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def table(rows: list[dict[str, Any]], about: dict[str, Any]) -> str:
    """Return the rows as Markdown."""
    lines = [
        "# What it costs to start",
        "",
        f"{about['hardware']}; one thread; {about['trials']} fresh processes each, median"
        " (lowest to highest) of user + system seconds, largest resident set of any. "
        + ("Bytecode and numba's cache are there." if about["bytecode"] else "No bytecode."),
        "`python scripts/benchmarks/start.py` makes this again.",
        "",
        "| call | CPU seconds | goal | MB | goal | met |",
        "|---|---|---|---|---|---|",
    ]
    for r in rows:
        goal = "" if r["goal_mb"] is None else f"{r['goal_mb']:.0f}"
        lines.append(
            f"| `{r['call']}` | {r['cpu_s']:.2f} ({r['cpu_s_min']:.2f} to {r['cpu_s_max']:.2f}) |"
            f" {r['goal_cpu_s'] or ''} | {r['mb']:.0f} | {goal} | {'' if r['goal_cpu_s'] is None else 'yes' if r['met'] else 'no'} |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, write table.md and start.json; return 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("results/start"))
    parser.add_argument("--no-bytecode", action="store_true", help="compile every module anew")
    args = parser.parse_args()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as cache:
        environment["PYTHONPYCACHEPREFIX"] = cache
        if args.no_bytecode:
            environment["PYTHONDONTWRITEBYTECODE"] = "1"
        rows = measure(args.trials, environment)
    about = {
        "hardware": hardware(), "trials": args.trials, "bytecode": not args.no_bytecode,
        "versions": versions("coreset-lightning", "numpy", "numba", "torch", "hydra-core", "pyarrow", "matplotlib"),
        "load": os.getloadavg()[0],
    }  # fmt: skip
    write_atomic(args.out / "start.json", to_json({**about, "rows": rows}, indent=1) + "\n")
    write_atomic(args.out / "table.md", table(rows, about))
    return 0 if all(r["met"] for r in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
