"""The row about Ray: what its start costs beside the local engine, and from which size its actors
make up for it on this machine.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coreset.core.store import fingerprint
from scripts.benchmarks.harness import Answer, Method, Row
from scripts.benchmarks.rows_curate.engine import curated, pages, web_rules

WAYS = {
    "local": "Local()",
    "local_2_workers": "Local(workers=2)",
    "ray_2_workers": "RayData(workers=2)",
}
CODE = """
import json, sys, time
sys.path.insert(0, ".")
from pathlib import Path
from coreset.curation.engines.local import Local
from coreset.curation.engines.ray import RayData
from coreset.curation.run import Settings
from coreset.core.store import fingerprint
from scripts.benchmarks.rows_curate.engine import curated, web_rules
start = time.perf_counter()
kept = curated(Path({source!r}), web_rules(), Settings(partition_rows=1_000), {engine})
print(json.dumps({{"wall": time.perf_counter() - start, "kept": fingerprint(sorted(kept.items()))}}))
"""

NOTE = (
    "checked below: medians of three runs in turns, each in a process of its own, imports left out"
    " of the walls"
)


def processes() -> dict[int, tuple[int, str, float]]:
    """Return {process: (its parent, when it began, CPU seconds so far)} of all that run."""
    tick, running = os.sysconf("SC_CLK_TCK"), {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            part = path.read_text().rpartition(")")[2].split()
        except OSError:  # gone
            continue
        running[int(path.parent.name)] = (
            int(part[1]),
            part[19],
            (int(part[11]) + int(part[12])) / tick,
        )
    return running


def tree_seconds(process: subprocess.Popen[str]) -> float:
    """Wait for a process; return the CPU seconds of it and of all below it, looked at ten times a
    second: Ray's own processes are nobody's to wait for.
    """
    spent: Counter[tuple[int, str]] = Counter()
    while process.poll() is None:
        now = processes()
        below = {process.pid}
        while more := {p for p, (parent, _, _) in now.items() if parent in below} - below:
            below |= more
        spent |= Counter({(p, now[p][1]): now[p][2] for p in below & set(now)})
        time.sleep(0.1)
    return float(sum(spent.values()))


def once(source: Path, engine: str) -> dict[str, Any]:
    """Run the recipe in a process of its own."""
    code = CODE.format(source=str(source), engine=engine)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    cpu = tree_seconds(process)
    assert process.stdout is not None
    result: dict[str, Any] = json.loads(process.stdout.read().strip().splitlines()[-1])
    assert process.returncode == 0
    return result | {"cpu": cpu}


def may_pay_from(
    one: Mapping[str, float], two: Mapping[str, float], workers: int = 1, cores: int = 2
) -> str:
    """Return from how many rows `two` can be the quicker at all, when it keeps every core busy from
    start to end and `one` as many as it has workers.

    Both: {start, per_1000_rows} in CPU seconds; a row that costs the same within a tenth never
    makes up for a start. A bound and no clock: a clock on a machine that others use too says little
    of two processes.

    >>> may_pay_from({"start": 2.0, "per_1000_rows": 1.0}, {"start": 24.0, "per_1000_rows": 1.0}), may_pay_from(
    ...     {"start": 2.0, "per_1000_rows": 1.0}, {"start": 24.0, "per_1000_rows": 1.0}, workers=2
    ... )
    ('20,000 rows', 'never')
    """
    gain = one["per_1000_rows"] / workers - two["per_1000_rows"] / cores
    lead = two["start"] / cores - one["start"] / workers
    return (
        "never"
        if gain < 0.1 * one["per_1000_rows"] / workers
        else f"{max(0.0, 1000 * lead / gain):,.0f} rows"
    )


def ray(scale: float = 1) -> Row:
    """2,000 and 12,000 pages, three trials in turns."""
    few, many = int(2_000 * scale), int(12_000 * scale)
    trials = 3 if scale == 1 else 1

    def facts(ours: Answer) -> dict[str, Any]:
        runs: dict[tuple[str, int], list[dict[str, Any]]] = {}
        for _ in range(trials):
            for count in (few, many):
                for way, engine in WAYS.items():
                    runs.setdefault((way, count), []).append(once(pages(count), engine))
        assert (
            len(
                {r["kept"] for way in WAYS for r in runs[way, few]}
                | {fingerprint(sorted(ours.items()))}
            )
            == 1
        )
        assert len({r["kept"] for way in WAYS for r in runs[way, many]}) == 1
        medians: dict[str, Any] = {"equal_answers": True}
        lines: dict[str, dict[str, float]] = {}
        for way in WAYS:
            for clock in ("wall", "cpu"):
                for count in (few, many):
                    medians[f"{clock}_s_{way}_{count}"] = statistics.median(
                        r[clock] for r in runs[way, count]
                    )
            slope = (medians[f"cpu_s_{way}_{many}"] - medians[f"cpu_s_{way}_{few}"]) / (many - few)
            lines[way] = {
                "start": medians[f"cpu_s_{way}_{few}"] - slope * few,
                "per_1000_rows": 1000 * slope,
            }
            medians[f"cpu_s_{way}_per_1000_rows"] = 1000 * slope
        medians["cpu_s_that_ray_costs_more_at_no_rows"] = (
            lines["ray_2_workers"]["start"] - lines["local"]["start"]
        )
        for way, workers in (("local", 1), ("local_2_workers", 2)):
            medians[f"ray_may_be_quicker_than_{way}_from"] = may_pay_from(
                lines[way], lines["ray_2_workers"], workers
            )
        return medians

    return Row(
        f"engine=ray beside the local engine on two cores, {few:,} and {many:,} web pages, Gopher, C4 and FineWeb rules, exact and near duplicates",
        few,
        Method("coreset-curate, one process", lambda _: curated(pages(few), web_rules()), small=0, note=NOTE),
        [],
        lambda ours, peer, k: {},
        "say from which size Ray pays",
        facts=facts,
        trials=1,
    )  # fmt: skip


ROWS = {"ray": ray}
