"""Strategies at the size of ImageNet: 1.28 M x 768 float32 (3.9 GB, memory-mapped), 1,000 classes,
10 % chosen. Time and peak memory, each method in its own process.

python scripts/benchmarks/imagenet_scale.py kcenter ccs               full size python
scripts/benchmarks/imagenet_scale.py --n 200000 --limit 300    all methods on part of it, at most
300 s each

Writes results/strategies/imagenet_scale.json and imagenet_scale.md: what finished, what was stopped
and when, and what the finished runs let one expect at full size, which is called an extrapolation
and is not a measurement.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[2])

from scripts.benchmarks.threads import single_thread  # noqa: E402

single_thread()

import argparse  # noqa: E402
import json  # noqa: E402
import subprocess  # noqa: E402
import time  # noqa: E402
from typing import Any, NamedTuple  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402

from coreset import select  # noqa: E402
from scripts.benchmarks import harness  # noqa: E402
from scripts.benchmarks.inputs import linear_model_on_disk, mixture_on_disk  # noqa: E402

FULL, DIM, CLASSES, SHARE = 1_281_167, 768, 1_000, 0.1


class Method(NamedTuple):
    """strategy, options, the columns it reads, and how its cost grows with the number of examples
    when the budget stays 10 % of it.
    """

    strategy: str
    options: dict[str, Any]
    columns: tuple[str, ...]
    power: float


METHODS = {
    "ccs": Method("ccs", {}, ("aum",), 1),
    "kcenter": Method("kcenter", {}, ("features",), 2),
    "facility_location_per_class": Method(
        "class_quota", {"base": {"facility_location": {"neighbors": 32}}}, ("features", "labels"), 2
    ),
    "craig_per_class": Method("craig", {}, ("features", "probs", "labels"), 2),
    "gradmatch_per_class": Method("gradmatch", {}, ("features", "probs", "labels"), 3),
    "facility_location": Method("facility_location", {"neighbors": 32}, ("features",), 2),
    "badge": Method("badge", {}, ("features", "probs"), 2),
    "maxherding": Method("maxherding", {}, ("features",), 2),
}


def columns(names: tuple[str, ...], n: int, folder: Path) -> dict[str, Any]:
    """Return memory-mapped inputs, written to `folder` the first time."""
    inputs: dict[str, Any] = {}
    x, labels = mixture_on_disk(folder / f"features_{n}.bin", n, DIM, CLASSES)
    if "features" in names:
        inputs["features"] = x
    if "labels" in names:
        inputs["labels"] = labels
    if "probs" in names:
        inputs["probs"] = linear_model_on_disk(folder / f"probs_{n}.bin", x, CLASSES)
    if "aum" in names:
        inputs["aum"] = np.random.default_rng(0).normal(size=n)
    return inputs


def work(name: str, n: int, folder: Path) -> dict[str, Any]:
    """Run one method here and return its time."""
    torch.set_num_threads(1)
    method = METHODS[name]
    given = columns(method.columns, n, folder)
    few = min(n, 2_000)
    start: dict[str, Any] = {c: np.array(v[:few]) for c, v in given.items()}
    select(method.strategy, few // 10, options=method.options, **start)  # compile
    print("ready", flush=True)
    wall, cpu = time.perf_counter(), time.process_time()
    chosen = select(method.strategy, int(SHARE * n), options=method.options, **given)
    return {
        "cpu_s": time.process_time() - cpu,
        "wall_s": time.perf_counter() - wall,
        "chosen": len(chosen.indices),
    }


def _own_memory(pid: int) -> int:
    """Return the bytes of a process that no file backs: what it holds beside its memory-mapped
    inputs (Linux).
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def watch(name: str, n: int, folder: Path, limit: float) -> dict[str, Any]:
    """Run one method in a process of its own, at most `limit` seconds, sampling its memory ten
    times a second.
    """
    command = [
        sys.executable,
        sys.argv[0],
        "--work",
        name,
        "--n",
        str(n),
        "--data",
        str(folder),
    ]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    assert worker.stderr is not None
    worker.stdout.readline()  # ready: inputs are there
    base = peak = _own_memory(worker.pid)
    start = time.perf_counter()
    entry: dict[str, Any] = {
        "method": name,
        "n": n,
        "k": int(SHARE * n),
        "limit_s": limit,
        "finished": False,
    }
    while worker.poll() is None and time.perf_counter() - start < limit:
        time.sleep(0.1)
        peak = max(peak, _own_memory(worker.pid))
    entry["peak_extra_bytes"] = peak - base
    if worker.poll() is None:
        worker.kill()
        worker.wait()
        return entry | {"stopped_after_s": round(time.perf_counter() - start, 1)}
    out, error = (
        worker.stdout.read().strip().splitlines(),
        worker.stderr.read().strip().splitlines(),
    )
    if worker.returncode or not out:
        return entry | {"error": f"exit status {worker.returncode}: {error[-1] if error else ''}"}
    entry |= json.loads(out[-1]) | {"finished": True}
    return entry


def table(entries: list[dict[str, Any]], about: dict[str, Any]) -> str:
    """Return the results in Markdown, the largest run of each method with its extrapolation."""
    lines = [
        "# At the size of ImageNet", "",
        f"Synthetic features x {DIM} float32 from a memory map, {CLASSES:,} classes, {SHARE:.0%} chosen; one thread. Extra memory: what the process holds beside "
        "its memory-mapped inputs. Extrapolated: the last finished run times (full / n) to the power given; not measured.", "",
        "| method | examples | chosen | CPU s | wall s | extra MB | full size |", "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, method in METHODS.items():
        own = sorted((e for e in entries if e["method"] == name), key=lambda e: e["n"])
        done = [e for e in own if e["finished"]]
        for e in own:
            memory = f"{e['peak_extra_bytes'] / 1e6:,.0f}"
            if not e["finished"]:
                why = e.get("error") or f"stopped after {e['stopped_after_s']:,.0f} s"
                lines.append(f"| {name} | {e['n']:,} | – | – | {why} | {memory} so far | |")
                continue
            last = "measured" if e["n"] == FULL else ""
            if e is done[-1] and e["n"] != FULL:
                hours = e["cpu_s"] * (FULL / e["n"]) ** method.power / 3600
                last = f"extrapolated {hours:,.2g} h (power {method.power:g})"
            lines.append(
                f"| {name} | {e['n']:,} | {e['chosen']:,} | {e['cpu_s']:,.1f} | {e['wall_s']:,.1f}"
                f" | {memory} | {last} |"
            )
    options = "; ".join(
        f"{name}: {m.strategy} {m.options}" for name, m in METHODS.items() if m.options
    )
    lines += [
        "",
        f"Options: {options}.",
        "",
        (
            f"Made by `python scripts/benchmarks/imagenet_scale.py` on {about['hardware']},"
            f" {about['date']}."
        ),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("methods", nargs="*", metavar="method", help=", ".join(METHODS))
    parser.add_argument("--n", type=int, default=FULL, help=f"examples (default {FULL:,})")
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds a method may take")
    parser.add_argument(
        "--data", type=Path, default=Path("outputs/benchmarks"), help="where the inputs are kept"
    )
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        print(json.dumps(work(args.work, args.n, args.data)))
        return
    unknown = set(args.methods) - set(METHODS)
    if unknown:
        raise SystemExit(f"unknown methods {sorted(unknown)}; known: {', '.join(METHODS)}")
    file = harness.RESULTS / "imagenet_scale.json"
    entries: list[dict[str, Any]] = json.loads(file.read_text())["runs"] if file.exists() else []
    for name in args.methods or METHODS:
        about = harness.about(
            f"python scripts/benchmarks/imagenet_scale.py {name} --n {args.n} --limit"
            f" {args.limit:g}"
        )
        entry = watch(name, args.n, args.data, args.limit)
        print(entry, flush=True)
        entry |= {key: about[key] for key in ("command", "date", "load")}
        entries = [e for e in entries if (e["method"], e["n"]) != (name, args.n)] + [entry]
        full = {
            "examples": FULL,
            "dim": DIM,
            "classes": CLASSES,
            "share": SHARE,
            "powers": {m: METHODS[m].power for m in METHODS},
        }
        harness.write(
            "imagenet_scale",
            {"full": full, **{k: v for k, v in about.items() if k != "command"}, "runs": entries},
        )
        (harness.RESULTS / "imagenet_scale.md").write_text(table(entries, about))


if __name__ == "__main__":
    main()
