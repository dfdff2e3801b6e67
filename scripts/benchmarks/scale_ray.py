"""What Ray costs beside one local process, stage by stage, and what that predicts for many machines:
CPU seconds per row, bytes shuffled per row, bytes in the object store, what a stage costs at least.

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
import os  # noqa: E402
import pickle  # noqa: E402
import statistics  # noqa: E402
import tempfile  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from typing import Any  # noqa: E402

import psutil  # noqa: E402
import pyarrow as pa  # noqa: E402

from coreset.curation.engines.local import Local  # noqa: E402
from coreset.curation.engines.ray import RayData  # noqa: E402
from coreset.curation.engines.ray_tasks import Task, call_bucket, read_items  # noqa: E402
from coreset.curation.run import Settings, curate  # noqa: E402
from scripts.benchmarks import harness  # noqa: E402
from scripts.benchmarks.scale import FOLDER, RECIPE, RESULTS, rows_file  # noqa: E402

GROUPS = ("exact_duplicates", "near_duplicates")
RECIPES = {"rules": [name for name in RECIPE if name not in GROUPS], "rules and groups": RECIPE}
PARTITION = 20_000  # rows, as where nothing is set
EVERY = 0.2  # seconds between two looks at the processes
PARTS = 2_000  # of the exchange whose messages are measured
TARGETS = ((1e8, 400, 32), (1e9, 80, 100))  # rows, words of each, nodes
PROCESSORS = 16  # of a node


class Watch(threading.Thread):
    """CPU seconds of this process and all that it started, ended ones as last seen, and the most
    bytes in Ray's object store.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: dict[tuple[int, float], float] = {}
        self.own = 0.0  # CPU seconds of this thread, which are not those of an engine
        self.lock = threading.Lock()

    def look(self) -> float:
        """Return the CPU seconds so far."""
        here = psutil.Process()
        with self.lock:
            for process in [here, *here.children(recursive=True)]:
                try:
                    used = process.cpu_times()
                    self.seen[process.pid, process.create_time()] = used.user + used.system
                except psutil.NoSuchProcess:
                    continue
            return sum(self.seen.values()) - self.own

    def run(self) -> None:
        """Look again and again."""
        while True:
            self.look()
            self.own = time.thread_time()
            time.sleep(EVERY)


def in_store() -> int:
    """Return the bytes that were put into the object store so far, on all nodes."""
    import ray
    from ray._private import internal_api

    api: Any = internal_api
    state = api.get_state_from_address(ray.get_runtime_context().gcs_address)
    return int(api.get_memory_info_reply(state).store_stats.cumulative_created_bytes)


@dataclass(frozen=True)
class Few:
    """One row for each part."""

    parts: int

    def __call__(self, item: int) -> pa.Table:
        """Return a row a part."""
        return pa.table({"_part": list(range(self.parts)), "value": [item] * self.parts})


@dataclass(frozen=True)
class Count:
    """How many rows a part has."""

    def __call__(self, item: tuple[int, pa.Table]) -> int:
        """Return the number."""
        return int(item[1].num_rows)


def cost(watch: Watch, call: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """Return CPU seconds of all processes and wall seconds of a call, and what it returns."""
    cpu, wall = watch.look(), time.perf_counter()
    answer = call()
    return {"cpu_s": watch.look() - cpu, "wall_s": time.perf_counter() - wall}, answer


def curated(watch: Watch, where: str, recipe: str, count: int) -> dict[str, Any]:
    """Return what a run of a recipe over `count` rows came to, and what shuffles moved in it."""
    engine: Any = Local() if where == "local" else RayData(2, memory=2**29)
    source, reading = rows_file(count), Settings(partition_rows=PARTITION)
    before = in_store()
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        spent, done = cost(
            watch,
            lambda: curate(
                RECIPES[recipe], source, folder + "/out", engine=engine, settings=reading
            ),
        )
    run = {"engine": where, "recipe": recipe, **spent}
    run |= {n: done.manifest["counts"][n] for n in ("rows", "kept")}
    if where == "ray":
        moved: dict[str, dict[str, int]] = {}
        for (what, step), amount in sorted(engine.moved.items()):
            moved.setdefault(step, {})[what] = amount
        run |= {
            "object_store_bytes_per_row": (in_store() - before) / count,
            "shuffled_bytes_per_row": sum(m["bytes"] for m in moved.values()) / count,
            "shuffled_rows_per_row": sum(m["rows"] for m in moved.values()) / count,
            "driver_bytes": dict(engine.passed),
            "moved": moved,
        }
    print({n: v for n, v in run.items() if n != "moved"}, flush=True)
    return run


def messages() -> dict[str, float]:
    """Return CPU microseconds and bytes of one message of a shuffle, sent and taken, of no row and
    of one, without Ray.
    """
    out: dict[str, float] = {}
    item = pa.table({"place": [0], "item": [pickle.dumps(1)]})
    step = Task(pickle.dumps(Count()), ())
    for name, rows in (("empty", 0), ("one_row", PARTS)):
        read = Task(pickle.dumps(Few(rows)), ())
        cpu = time.process_time()
        sent = read_items(item, read, PARTS, PARTS)
        out[f"{name}_sent_cpu_us"] = 1e6 * (time.process_time() - cpu) / PARTS
        out[f"{name}_bytes"] = sent.nbytes / PARTS
        together = sent.set_column(0, "_bucket", pa.array([0] * PARTS))
        together = together.set_column(1, "place", pa.array(range(PARTS)))
        cpu = time.process_time()
        call_bucket(together, step, PARTS)
        out[f"{name}_taken_cpu_us"] = 1e6 * (time.process_time() - cpu) / PARTS
    return out


def fitted(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return CPU ms a row by engine and recipe: `slopes` between every smaller and every larger run
    and `whole`, the dearest larger run over its rows; the truth of a large run lies between them
    where it is linear.
    """
    out: dict[str, Any] = {}
    for engine in ("local", "ray"):
        for recipe in RECIPES:
            mine = [r for r in runs if (r["engine"], r["recipe"]) == (engine, recipe)]
            rows = max(r["rows"] for r in mine)
            large = [r["cpu_s"] for r in mine if r["rows"] == rows]
            slopes = [
                1000 * (cpu - r["cpu_s"]) / (rows - r["rows"])
                for r in mine
                for cpu in large
                if r["rows"] < rows
            ]
            whole = 1000 * max(large) / rows
            out[f"{engine}, {recipe}"] = {"slopes": sorted(slopes), "whole": whole}
    for recipe in RECIPES:
        local, ray = (out[f"{engine}, {recipe}"]["slopes"] for engine in ("local", "ray"))
        out[f"ray over local, {recipe}"] = sorted([ray[0] / local[-1], ray[-1] / local[0]])
    return out


def predicted(
    rows: float,
    words: int,
    nodes: int,
    fit: dict[str, Any],
    per_row: float,
    message: dict[str, float],
) -> dict[str, Any]:
    """Return CPU hours (from, to), the wall time that all processors busy would take, bytes
    shuffled, and the messages of the shuffle of keys and of a shuffle back to partitions: items
    times buckets, of which there are two a worker at most.
    """
    line = fit["ray, rules and groups"]
    hours = [rows * ms / 3.6e6 * words / 80 for ms in (line["slopes"][0], line["whole"])]
    partitions = rows / 20_000
    buckets = max(200, 2 * nodes * PROCESSORS)
    back = partitions * min(partitions, buckets)
    cpu = message["one_row_sent_cpu_us"] + message["one_row_taken_cpu_us"]
    return {
        "rows": rows,
        "words_per_row": words,
        "nodes": nodes,
        "cpu_hours": hours,
        "wall_minutes_at_least": [60 * h / nodes / PROCESSORS for h in hours],
        "shuffled_gb": per_row * rows / 1e9,
        "messages_of_keys": partitions * min(rows / 200_000, buckets),
        "messages_back_at_most": back,
        "messages_back_gb_at_most": back * message["one_row_bytes"] / 1e9,
        "messages_back_cpu_hours_at_most": back * cpu / 3.6e9,
    }


def measured(sizes: list[int]) -> dict[str, Any]:
    """Return all that is measured: in one process and one cluster, engines interleaved."""
    watch = Watch()
    watch.start()
    engine = RayData(2, memory=2**29)
    start, _ = cost(watch, lambda: list(engine.map(abs, [-1])))
    stages: dict[str, list[dict[str, float]]] = {"map": [], "exchange": []}
    for _ in range(3):
        stages["map"].append(cost(watch, lambda: list(engine.map(abs, [-1])))[0])
        spent, answer = cost(watch, lambda: list(engine.exchange(Few(2), [0, 1], Count(), 2)))
        assert answer == [2, 2]
        stages["exchange"].append(spent)
    print(start, stages, flush=True)
    small, large = sizes

    def warmed(where: str, recipe: str, count: int) -> dict[str, Any]:
        """Imports and compiles first, and again: Ray's processes end while the other engine runs."""
        curated(watch, where, "rules and groups", small // 10)
        return curated(watch, where, recipe, count)

    runs = [
        warmed(where, recipe, count)
        for count in (small, small, large, large)
        for recipe in RECIPES
        for where in ("local", "ray")
    ]
    for one, two in zip(runs[::2], runs[1::2], strict=True):
        assert (one["rows"], one["kept"]) == (two["rows"], two["kept"]), (one, two)
    return {"start": start, "smallest_stage": stages, "messages": messages(), "runs": runs}


def main() -> None:
    """Measure both engines, both recipes and two sizes, interleaved."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, nothing written")
    parser.add_argument("--rows", type=int, nargs=2, default=[40_000, 400_000])
    args = parser.parse_args()
    sizes = [200, 400] if args.quick else args.rows
    for count in (sizes[0] // 10, *sizes):
        rows_file(count)
    load = os.getloadavg()[0]
    result = measured(sizes)
    fit = fitted(result["runs"])
    last = result["runs"][-1]
    spent = {
        k: statistics.median(s["cpu_s"] for s in v) for k, v in result["smallest_stage"].items()
    }
    result |= {
        "what": "one local process beside Ray Data on two processors, the same rows kept; CPU"
        f" seconds of the process and all that it started, partitions of {PARTITION} rows of about"
        " 80 words; two trials at each size",
        "goal": "Ray over local at most 1.2 row by row, at most 3 where rows are brought together,"
        " start at most 20 CPU-s",
        "load_average": [load, os.getloadavg()[0]],
        "fit_cpu_ms_per_row": fit,
        "smallest_stage_cpu_s": spent,
        "predicted": [
            predicted(*one, fit, last["shuffled_bytes_per_row"], result["messages"])
            for one in TARGETS
        ],
    }
    print(json.dumps({n: result[n] for n in ("fit_cpu_ms_per_row", "predicted")}, indent=1))
    if not args.quick:
        command = "python scripts/benchmarks/scale_ray.py " + " ".join(sys.argv[1:])
        harness.write("ray", result | harness.about(command.strip()), RESULTS)


if __name__ == "__main__":
    # the steps are found by workers under the module's own name
    from scripts.benchmarks import scale_ray

    scale_ray.main()
