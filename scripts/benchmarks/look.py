"""How fast a person can look: 10^6 rows in coreset-explore, and the report page of 3 strategies, 5
seeds and 200 picks each, in headless Chromium.

    python scripts/benchmarks/look.py [--only open page table] [--trials 5] [--rows 1000000]

Opening counts from the start of the command until the map is drawn and the page answers (WebGL in
software here). The rows are made up: decisions with reasons and twins, texts, three scores. The
page shows 32 x 32 crops of photographs, so that its pictures weigh what pictures do. `table` makes
explore.parquet from the decisions and the state of a made-up curation. With --only, what is there of
the others stays.
"""

from __future__ import annotations

import sys
from pathlib import Path

# this file's own folder would hide packages
sys.path[0] = str(Path(__file__).parents[2])

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import re  # noqa: E402
import socket  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Collection  # noqa: E402
from shutil import which  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from coreset.core.store import to_json, write_atomic  # noqa: E402
from coreset.report.explore.table import explore_table, write_explore  # noqa: E402
from coreset.report.page import write_report  # noqa: E402
from coreset.runs.run_folder import hardware, versions  # noqa: E402
from scripts.benchmarks.sections import write_section  # noqa: E402

ARGUMENTS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]  # fmt: skip
PARTS = ("open", "page", "table")
GOALS = {"open_s": 10.0, "page_mb": 3.0, "first_paint_s": 1.0}


def rows_file(n: int, path: Path) -> Path:
    """Write the table of a made-up curation of n rows."""
    rng = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(400)])
    lines = np.array([" ".join(rng.choice(words, 16)) for _ in range(5000)])
    fate = rng.choice(4, n, p=[0.6, 0.2, 0.1, 0.1])
    twin = np.where(fate == 2, rng.integers(0, n, n), -1)
    ids = pa.array([f"r{i}" for i in range(n)])
    group = rng.integers(0, 12, n)
    columns: dict[str, Any] = {
        "row": np.arange(n), "id": ids,
        "decision": np.array(["kept", "dropped", "dropped", "dropped"])[fate],
        "operator": pa.array(np.array(["", "threshold", "exact_duplicates", "gopher"])[fate], mask=fate == 0),
        "reason": pa.array(np.array(["", "text_words below 6", "exact duplicate", "too few stop words"])[fate], mask=fate == 0),
        "duplicate_of": pa.array([f"r{t}" if t >= 0 else None for t in twin.tolist()]),
        "duplicate_row": pa.array(twin, mask=twin < 0),
        "rank": pa.array(np.cumsum(fate == 0) - 1, mask=fate != 0),
        "slice": np.array([f"part-{i:02d}.jsonl" for i in range(12)])[group],
        "text": lines[rng.integers(0, len(lines), n)],
        "x": rng.normal(size=n) + 2 * np.cos(group), "y": rng.normal(size=n) + 2 * np.sin(group),
        "text_words": rng.integers(3, 400, n).astype(np.float64),
        "perplexity": rng.lognormal(4, 1, n), "ifd": rng.random(n),
    }  # fmt: skip
    return write_explore(explore_table(columns), path, {"map": "made up"})


def curation_folder(n: int, path: Path) -> Path:
    """Write decisions, manifest and state of a made-up curation of n rows of 16 words in 12 files,
    as `coreset-curate` lays them.
    """
    rng = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(4000)])
    lines = np.array([" ".join(rng.choice(words, 16)) for _ in range(20_000)])
    state = path / "state" / "rows-0"
    state.mkdir(parents=True)
    tables, files = [], []
    for number, rows in enumerate(np.array_split(np.arange(n), 12)):
        ids, name = pa.array([f"r{i}" for i in rows.tolist()]), f"part-{number:02d}.jsonl"
        text, line = pa.array(lines[rng.integers(0, len(lines), len(rows))]), rows - rows[0] + 1
        fate = rng.choice(3, len(rows), p=[0.7, 0.2, 0.1])
        twin = ids.take(pa.array(rng.integers(0, len(rows), len(rows)), mask=fate != 2))
        why = ["", "text_words below 6", "exact duplicate"]
        tables.append(pa.table({
            "id": ids, "file": [name] * len(rows), "line": line, "state": np.array(["kept", "dropped", "dropped"])[fate],
            "operator": pa.array(np.array(["", "threshold", "exact_duplicates"])[fate], mask=fate == 0),
            "reason": pa.array(np.array(why)[fate], mask=fate == 0), "duplicate_of": twin,
            "text_words": rng.integers(3, 400, len(rows)).astype(np.float64), "perplexity": rng.lognormal(4, 1, len(rows)),
        }))  # fmt: skip
        held = pa.table({"id": ids, "line": line, "preview": text, "text": text})
        pq.write_table(held, state / f"{number:05d}-00000.parquet")
        files.append({"file": name, "rows": len(rows)})
    pq.write_table(pa.concat_tables(tables), path / "decisions.parquet")
    (path / "manifest.json").write_text(json.dumps({"input": files}))
    return path


def make_rows(curated: Path) -> dict[str, float]:
    """Let coreset-explore make the table of a curation; return seconds and the most memory in GB."""
    (curated / "explore.parquet").unlink(missing_ok=True)
    begin = time.perf_counter()
    code = "import sys; sys.argv[0] = 'coreset-explore'; from coreset.cli.explore import main; main()"  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(curated), "open=false"], cwd=curated, stderr=subprocess.DEVNULL
    )  # fmt: skip
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or not (curated / "explore.parquet").exists():
        raise RuntimeError(f"coreset-explore {curated} ended with {process.returncode}")
    return {
        "seconds": time.perf_counter() - begin, "cpu_s": used.ru_utime + used.ru_stime,
        "memory_gb": used.ru_maxrss * 1024 / 1e9,
    }  # fmt: skip


def _port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _cpu(pid: int) -> float:
    parts = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


def open_rows(browser: Any, file: Path) -> dict[str, float]:
    """Start coreset-explore on a table, open it, search one row; return the seconds."""
    port = _port()
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(300_000)
    code = (
        "import sys; sys.argv[0] = 'coreset-explore'; from coreset.cli.explore import main; main()"
    )
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(file), f"port={port}"], stderr=subprocess.PIPE, cwd=file.parent
    )  # fmt: skip
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if process.poll() is not None:
                    raise RuntimeError(process.stderr.read().decode()) from None  # type: ignore[union-attr]
                time.sleep(0.02)
        served = time.perf_counter()
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector("body[data-ready]")
        ready = time.perf_counter()
        page.fill("#q", "r517")
        page.press("#q", "Enter")
        page.wait_for_function("document.querySelector('#row h2')?.textContent.includes('r517')")
        told = time.perf_counter()
        return {
            "served_s": served - begin, "open_s": ready - begin, "why_s": told - ready,
            "server_cpu_s": _cpu(process.pid),
        }  # fmt: skip
    finally:
        page.close()
        process.terminate()
        process.wait(20)


def _photographs() -> NDArray[np.uint8]:
    from sklearn.datasets import load_sample_images

    return np.stack([p[:427, :640] for p in load_sample_images().images])


def run_folder(path: Path, name: str, seed: int, photographs: NDArray[np.uint8]) -> Path:
    """Write a run of 200 picks out of 5,000 examples in the layout of training."""
    path.mkdir()
    rng = np.random.default_rng([seed, len(name)])
    order = rng.permutation(5000)
    ledger, points = [], []
    for number, (low, high) in enumerate(((0, 25), (25, 50), (50, 100), (100, 200))):
        new = order[low:high]
        ledger.append({"round": number, "labels": high, "ids": [f"id-{i}" for i in new], "indices": new.tolist(),
                       "scores": rng.random(len(new)).tolist(), "seconds": {"select": 0.5, "train": 2.0}, "info": {}})  # fmt: skip
        points.append({"strategy": name, "seed": seed, "metric": "accuracy", "labels": high, "share": high / 5000,
                       "value": 0.5 + 0.1 * number + 0.02 * rng.random(), "round": number, "extra": {}})  # fmt: skip
    (path / "config.json").write_text(json.dumps({
        "mode": "active", "strategy": {"_target_": f"coreset.strategies.{name}"}, "strategy_name": name, "seed": seed,
        "data": {"name": "photographs"}, "model": {"name": "linear"}, "fit": {"seed": seed},
    }))  # fmt: skip
    (path / "state.json").write_text(
        json.dumps({"format": 1, "finished": True, "rounds": 4, "rounds_done": 4})
    )
    for file, lines in (("ledger.jsonl", ledger), ("curve.jsonl", points)):
        (path / file).write_text("".join(json.dumps(r) + "\n" for r in lines))
    which_one = rng.integers(0, len(photographs), 200)
    y, x = rng.integers(0, 395, 200), rng.integers(0, 608, 200)
    crops = [
        photographs[p, a : a + 32, b : b + 32] for p, a, b in zip(which_one, y, x, strict=True)
    ]
    labels, chosen = np.arange(5000) % 10, np.full(5000, -1)
    chosen[order[:200]] = np.searchsorted([25, 50, 100], np.arange(200), side="right")
    np.savez_compressed(
        path / "gallery.npz", thumbs=np.stack(crops), thumb_labels=labels[order[:200]],
        thumb_scores=rng.random(200), thumb_round=chosen[order[:200]],
        thumb_ids=np.array([f"id-{i}" for i in order[:200]]),
        map_xy=rng.normal(size=(5000, 2)) + labels[:, None], map_label=labels, map_chosen=chosen,
        classes=np.array([f"class {i}" for i in range(10)]), pool_counts=np.bincount(labels),
        chosen_counts=np.bincount(labels[order[:200]], minlength=10),
    )  # fmt: skip
    return path


def open_page(browser: Any, file: Path) -> dict[str, float]:
    """Open the report page; return the seconds until its first paint and until all charts stand."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(300_000)
    begin = time.perf_counter()
    page.goto(file.as_uri(), wait_until="commit")
    page.wait_for_selector("body[data-ready]")
    ready = time.perf_counter() - begin
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    page.close()
    return {"first_paint_s": paint / 1000, "charts_s": ready}


def _trials(count: int, one: Callable[[], dict[str, float]]) -> dict[str, dict[str, float]]:
    runs = [one() for _ in range(count)]
    return {
        k: {"median": statistics.median(r[k] for r in runs), "min": min(r[k] for r in runs), "max": max(r[k] for r in runs)}
        for k in runs[0]
    }  # fmt: skip


def measure(only: Collection[str], trials: int, n: int) -> dict[str, Any]:
    """Return what is measured of `PARTS`."""
    from playwright.sync_api import sync_playwright

    executable = which("chromium") or which("google-chrome")
    load = os.getloadavg()[0]
    out: dict[str, Any] = {
        "hardware": hardware(),
        "versions": versions(),
        "goals": GOALS,
        "rows": n,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "table" in only:
            curated = curation_folder(n, folder / "curated")
            out |= {"table": _trials(trials, lambda: make_rows(curated)), "table_load": load}
            out["table_trials"] = trials
        if not {"open", "page"} & set(only):
            return out
        with sync_playwright() as p:
            browser = p.chromium.launch(executable_path=executable, args=ARGUMENTS)
            version = re.sub(r"[^\d.]", "", browser.version)
            out |= {"browser": version, "trials": trials, "load": load}
            if "page" in only:
                photographs = _photographs()
                runs = [
                    run_folder(folder / f"{s}{seed}", s, seed, photographs)
                    for s in ("margin", "kcenter", "random")
                    for seed in range(5)
                ]
                page = write_report(runs, folder / "out")
                out["page_mb"] = page.stat().st_size / 1e6
                out["page"] = _trials(trials, lambda: open_page(browser, page))
            if "open" in only:
                table = rows_file(n, folder / "explore.parquet")
                out["table_mb"] = table.stat().st_size / 1e6
                out["explore"] = _trials(trials, lambda: open_rows(browser, table))
            browser.close()
    return out


def table(results: dict[str, Any]) -> str:
    """Return the results as a table in Markdown."""

    def line(what: str, part: str, name: str, goal: str = "") -> str:
        v = results[part][name]
        met = "" if not goal else "yes" if v["median"] <= goals[goal] else "no"
        limit = f"{goals[goal]:g}" if goal else ""
        return (
            f"| {what} | {v['median']:.2f} ({v['min']:.2f} to {v['max']:.2f}) | {limit} | {met} |"
        )

    goals, mb = results["goals"], results["page_mb"]
    size_met = "yes" if mb <= goals["page_mb"] else "no"
    rows = f"coreset-explore, {results['rows']:,} rows"
    lines = [
        "# How fast a person can look", "",
        f"{results['hardware']}; Chromium {results['browser']}, headless, WebGL in software;"
        f" {results['trials']} trials, median (lowest to highest) of seconds; load average at the"
        f" start {results['load']:.1f}.",
        "`python scripts/benchmarks/look.py` makes this again.", "",
        "| what | value | goal | met |", "|---|---|---|---|",
        line(f"{rows}: from the command to the drawn map", "explore", "open_s", "open_s"),
        line("of it, until it answers", "explore", "served_s"),
        line("a search by id, until the reason is read", "explore", "why_s"),
        line("CPU seconds of the server in all", "explore", "server_cpu_s"),
        f"| report page, 3 strategies, 5 seeds, 200 picks: MB | {mb:.2f} | {goals['page_mb']:g} | {size_met} |",
        line("its first contentful paint", "page", "first_paint_s", "first_paint_s"),
        line("all its charts", "page", "charts_s"),
    ]  # fmt: skip
    lines += [
            line(f"making the table of a curation of {results['rows']:,} rows of 16 words*", "table", "seconds"),
            line("of it, CPU seconds", "table", "cpu_s"),
            line("the most memory, GB", "table", "memory_gb"),
            "", f"\\* {results['table_trials']} {'trial' if results['table_trials'] == 1 else 'trials'}; load average at the start {results['table_load']:.1f}.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write look.json and table.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, default=Path("results/look"))
    args = parser.parse_args()
    file = args.out / "look.json"
    before = json.loads(file.read_text()) if file.exists() else {}
    results = (before if before.get("rows") == args.rows else {}) | measure(
        args.only, args.trials, args.rows
    )
    write_atomic(file, to_json(results, indent=1) + "\n")
    if {"explore", "page", "table"} <= results.keys():
        write_section(args.out / "table.md", table(results))
        print(table(results))


if __name__ == "__main__":
    main()
