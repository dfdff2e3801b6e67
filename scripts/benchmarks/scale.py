"""How the local engine grows with rows: CPU seconds per row and peak memory of one process, rules,
exact and MinHash duplicates, at 10^5 and 10^6 rows.

python scripts/benchmarks/scale.py            writes results/scale/local.json
python scripts/benchmarks/scale.py --quick    2,000 and 4,000 rows, nothing written
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
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402

from coreset.core.cache import asset_dir  # noqa: E402
from scripts.benchmarks import harness  # noqa: E402

RESULTS = Path("results/scale")
FOLDER = Path(tempfile.gettempdir()) / "coreset-benchmark-scale"
RECIPE = [
    "gopher_quality", "gopher_quality_filter", "gopher_repetition", "gopher_repetition_filter", "fineweb", "fineweb_filter",
    "exact_duplicates", "near_duplicates",
]  # fmt: skip
COPIES, CHANGED = 0.05, 0.05  # shares of rows that are copies, and copies with other words
CODE = """
import json, sys, time
sys.path.insert(0, ".")
from pathlib import Path
from scripts.benchmarks.harness import resident
from scripts.benchmarks.scale import curated
start = time.perf_counter()
counts = curated(Path({source!r}), Path({out!r}))
usage = __import__("resource").getrusage(__import__("resource").RUSAGE_SELF)
print(json.dumps(counts | {{"wall_s": time.perf_counter() - start, "cpu_s": usage.ru_utime + usage.ru_stime,
      "peak_bytes": resident()[1]}}))
"""


def rows_file(count: int, seed: int = 0) -> Path:
    """Return a file of `count` rows of about 80 words: passages of the 300 real pages of C4 with
    every second word drawn anew by its frequency in them, so that no two rows are alike by chance;
    one in twenty is a copy of a row before it, one in twenty such a copy with three other words.
    """
    path = FOLDER / f"rows-{count}.jsonl"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with (asset_dir("llamafactory") / "data" / "c4_demo.jsonl").open(encoding="utf-8") as file:
        words = np.array([w for line in file for w in json.loads(line)["text"].split()], object)
    rng = np.random.default_rng(seed)
    held: list[list[str]] = []
    with path.with_suffix(".part").open("w", encoding="utf-8") as file:
        for i in range(count):
            luck = rng.random()
            if held and luck < COPIES + CHANGED:
                row = list(held[rng.integers(len(held))])
                if luck >= COPIES:
                    for at in rng.integers(len(row), size=3).tolist():
                        row[at] = str(words[rng.integers(len(words))])
            else:
                size = int(rng.integers(60, 101))
                start = int(rng.integers(len(words) - size))
                part = words[start : start + size].copy()
                new = rng.random(size) < 0.5
                part[new] = words[rng.integers(len(words), size=int(new.sum()))]
                row = part.tolist()
                if len(held) < 50_000:
                    held.append(row)
                else:
                    held[int(rng.integers(len(held)))] = row
            file.write(json.dumps({"id": f"{i:08d}", "text": " ".join(row) + "."}) + "\n")
    path.with_suffix(".part").rename(path)
    return path


def curated(source: Path, out: Path) -> dict[str, Any]:
    """Run rules and duplicates over a file; return the counts of the manifest."""
    from coreset.curation.run import curate

    done = curate(RECIPE, source, out)
    named = {one["name"]: one["counts"] for one in done.manifest["operators"]}
    counts: dict[str, Any] = dict(done.manifest["counts"])
    return counts | {n: named[n]["dropped"] for n in named if named[n]["dropped"]}


def measured(count: int) -> dict[str, Any]:
    """Return what a run over `count` rows came to, in a process of its own."""
    source = rows_file(count)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        code = CODE.format(source=str(source), out=f"{folder}/out")
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    result["input_bytes"] = source.stat().st_size
    result["cpu_ms_per_row"] = 1000 * result["cpu_s"] / count
    print(count, result, flush=True)
    return result


def _beyond(run: dict[str, Any], start: dict[str, Any]) -> float:
    """Return CPU seconds a row beyond those of a small run."""
    return float((run["cpu_s"] - start["cpu_s"]) / (run["rows"] - start["rows"]))


def main() -> None:
    """Measure both sizes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, nothing written")
    parser.add_argument("--rows", type=int, nargs="*", default=[100_000, 1_000_000])
    args = parser.parse_args()
    sizes = [2_000, 4_000] if args.quick else args.rows
    start = measured(1_000)  # compiles, and says what the start costs
    runs = {str(n): measured(n) for n in sizes}
    small, large = (runs[str(n)] for n in (sizes[0], sizes[-1]))
    result = {
        "what": "one process, Gopher and FineWeb rules, exact and MinHash duplicates, file to"
        " files; rows of about 80 words",
        "goal": "CPU per row at the largest over the smallest at most 1.15, peak at most 1.5 GB",
        "runs": runs,
        "start": start,
        "cpu_per_row_ratio": large["cpu_ms_per_row"] / small["cpu_ms_per_row"],
        "cpu_per_row_ratio_beyond_start": _beyond(large, start) / _beyond(small, start),
        "peak_ratio": large["peak_bytes"] / small["peak_bytes"],
    }
    print({n: result[n] for n in result if n.endswith(("ratio", "start")) and n != "start"})
    if not args.quick:
        command = "python scripts/benchmarks/scale.py " + " ".join(sys.argv[1:])
        harness.write("local", result | harness.about(command.strip()), RESULTS)


if __name__ == "__main__":
    main()
