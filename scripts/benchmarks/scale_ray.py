"""What Ray costs beside one local process: CPU seconds per row of row-wise stages and of stages that
bring rows together, beyond the fixed start, and what that predicts for many machines.

python scripts/benchmarks/scale_ray.py            writes results/scale/ray.json
python scripts/benchmarks/scale_ray.py --quick    200 and 400 rows, nothing written
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[2])

from scripts.benchmarks.threads import single_thread  # noqa: E402

single_thread()

import argparse  # noqa: E402
import json  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
from typing import Any  # noqa: E402

from scripts.benchmarks import harness  # noqa: E402
from scripts.benchmarks.scale import FOLDER, RECIPE, RESULTS, rows_file  # noqa: E402

GROUPS = ("exact_duplicates", "near_duplicates")
RECIPES = {"rules": [name for name in RECIPE if name not in GROUPS], "rules and groups": RECIPE}
PARTITION = 5_000  # rows
EVERY = 0.2  # seconds between two looks at the processes
CODE = """
import sys
sys.path.insert(0, ".")
from scripts.benchmarks.scale_ray import run
run({engine!r}, {recipe!r}, {source!r}, {out!r})
"""

ASSUMED = {
    "processors_per_node": 16,
    "busy": 0.5,  # share of processor time that stages keep busy: tails and barriers are the rest
    "network_gb_per_s_per_node": 1.0,
    "store_gb_per_s_per_node": 0.5,
    "seconds_per_stage": 5.0,  # to plan, start and end a stage of Ray Data
    "stages": 30,
    "dollars_per_processor_hour": 0.05,
}
BANDS, KEY = 14, 24  # of MinHash, and bytes of a key on its way
CHARACTER = 6.4  # bytes of a word of text with its space


class Processes(threading.Thread):
    """CPU seconds of this process and all that it started, ended ones as last seen."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: dict[tuple[int, float], float] = {}

    def look(self) -> float:
        """Return the CPU seconds so far."""
        import psutil

        here = psutil.Process()
        for process in [here, *here.children(recursive=True)]:
            try:
                used = process.cpu_times()
                self.seen[process.pid, process.create_time()] = used.user + used.system
            except psutil.NoSuchProcess:
                continue
        return sum(self.seen.values())

    def run(self) -> None:
        """Look again and again."""
        while True:
            self.look()
            time.sleep(EVERY)


def run(engine: str, recipe: str, source: str, out: str) -> None:
    """Curate in this process; print what it came to as JSON."""
    from coreset.curation.engines.local import Local
    from coreset.curation.engines.ray import RayData
    from coreset.curation.run import Settings, curate

    processes = Processes()
    processes.start()
    began = time.perf_counter()
    where: Any = Local() if engine == "local" else RayData(2, memory=2**29)
    reading = Settings(partition_rows=PARTITION)
    done = curate(RECIPES[recipe], source, out, engine=where, settings=reading)
    answer = {
        "rows": done.manifest["counts"]["rows"],
        "kept": done.manifest["counts"]["kept"],
        "cpu_s": processes.look(),
        "wall_s": time.perf_counter() - began,
    }
    print(json.dumps(answer), flush=True)


def measured(engine: str, recipe: str, count: int) -> dict[str, Any]:
    """Return what a run came to, in a process of its own."""
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        code = CODE.format(
            engine=engine, recipe=recipe, source=str(rows_file(count)), out=f"{folder}/out"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    print(engine, recipe, answer, flush=True)
    return answer | {"engine": engine, "recipe": recipe}


def fitted(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return CPU ms a row beyond the start, by engine and kind of stage, and the starts."""
    line: dict[tuple[str, str], tuple[float, float]] = {}
    for engine in ("local", "ray"):
        for recipe in RECIPES:
            small, large = (r for r in runs if (r["engine"], r["recipe"]) == (engine, recipe))
            slope = (large["cpu_s"] - small["cpu_s"]) / (large["rows"] - small["rows"])
            line[engine, recipe] = slope, small["cpu_s"] - slope * small["rows"]
    found: dict[str, Any] = {}
    for engine in ("local", "ray"):
        rules, both = (line[engine, recipe] for recipe in RECIPES)
        found[engine] = {
            "row_wise_cpu_ms_per_row": 1000 * rules[0],
            "groups_cpu_ms_per_row": 1000 * (both[0] - rules[0]),
            "start_cpu_s_row_wise": rules[1],
            "start_cpu_s_with_groups": both[1],
        }
    for kind in ("row_wise", "groups"):
        name = f"{kind}_cpu_ms_per_row"
        found[f"{kind}_ray_over_local"] = found["ray"][name] / found["local"][name]
    return found


def predicted(rows: float, words: int, nodes: int, fit: dict[str, Any]) -> dict[str, Any]:
    """Return wall time and money of rules and groups on a cluster, from what was measured on one
    machine and what is assumed.
    """
    a, ray = ASSUMED, fit["ray"]
    per_row = (ray["row_wise_cpu_ms_per_row"] + ray["groups_cpu_ms_per_row"]) / 1000 * words / 80
    cpu = rows * per_row
    text = rows * words * CHARACTER
    shuffled = rows * BANDS * KEY
    parts = {
        "processors_s": cpu / (nodes * a["processors_per_node"] * a["busy"]),
        "shuffle_s": shuffled / 1e9 / (nodes * a["network_gb_per_s_per_node"]),
        "store_s": 3 * text / 1e9 / (nodes * a["store_gb_per_s_per_node"]),
        "stages_s": a["stages"] * a["seconds_per_stage"],
    }
    wall = sum(parts.values())
    price = nodes * a["processors_per_node"] * a["dollars_per_processor_hour"]
    return {
        "rows": rows,
        "words_per_row": words,
        "nodes": nodes,
        "cpu_hours": cpu / 3600,
        "shuffled_gb": shuffled / 1e9,
        **parts,
        "wall_s": wall,
        "dollars": wall / 3600 * price,
    }


def main() -> None:
    """Measure both engines, both recipes and two sizes, interleaved."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, nothing written")
    parser.add_argument("--rows", type=int, nargs=2, default=[20_000, 100_000])
    args = parser.parse_args()
    sizes = [200, 400] if args.quick else args.rows
    for count in sizes:
        rows_file(count)
    measured("local", "rules", sizes[0])  # compiles
    runs = [
        measured(engine, recipe, count)
        for count in sizes
        for recipe in RECIPES
        for engine in ("local", "ray")
    ]
    for one, two in zip(runs[::2], runs[1::2], strict=True):
        assert (one["rows"], one["kept"]) == (two["rows"], two["kept"]), (one, two)
    fit = fitted(runs)
    result = {
        "what": "one local process beside Ray Data on two processors, the same rows kept; CPU"
        " seconds of the process and all that it started; slopes between the two sizes",
        "goal": "Ray over local at most 1.2 row by row, at most 3 where rows are brought together,"
        " start at most 20 CPU-s",
        "runs": runs,
        "fit": fit,
        "assumed": ASSUMED,
        "predicted": [predicted(1e8, 400, 32, fit), predicted(1e9, 80, 100, fit)],
    }
    print(json.dumps({n: result[n] for n in ("fit", "predicted")}, indent=1))
    if not args.quick:
        command = "python scripts/benchmarks/scale_ray.py " + " ".join(sys.argv[1:])
        harness.write("ray", result | harness.about(command.strip()), RESULTS)


if __name__ == "__main__":
    main()
