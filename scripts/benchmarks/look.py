"""How fast a person can look: 10^6 rows in coreset-explore, and the report page of 3 strategies, 5
seeds and 200 picks each, in headless Chromium.

    python scripts/benchmarks/look.py [--trials 5] [--rows 1000000] [--out results/look]

Opening counts from the start of the command until the map is drawn and the page answers (WebGL in
software here). The rows are made up: decisions with reasons and twins, texts, three scores. The
page shows 32 x 32 crops of photographs, so that its pictures weigh what pictures do.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coreset.core.store import to_json, write_atomic
from coreset.report.explore.table import explore_table, write_explore
from coreset.report.page import write_report
from coreset.runs.run_folder import hardware, versions

ARGUMENTS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]  # fmt: skip
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


def measure(trials: int, n: int) -> dict[str, Any]:
    """Return all that is measured."""
    from playwright.sync_api import sync_playwright

    executable = which("chromium") or which("google-chrome")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as p:
        folder = Path(name)
        table = rows_file(n, folder / "explore.parquet")
        photographs = _photographs()
        runs = [
            run_folder(folder / f"{s}{seed}", s, seed, photographs)
            for s in ("margin", "kcenter", "random")
            for seed in range(5)
        ]
        page = write_report(runs, folder / "out")
        browser = p.chromium.launch(executable_path=executable, args=ARGUMENTS)
        out: dict[str, Any] = {
            "hardware": hardware(), "trials": trials, "load": os.getloadavg()[0],
            "browser": re.sub(r"[^\d.]", "", browser.version), "versions": versions(),
            "goals": GOALS, "rows": n, "table_mb": table.stat().st_size / 1e6,
            "page_mb": page.stat().st_size / 1e6,
            "page": _trials(trials, lambda: open_page(browser, page)),
            "explore": _trials(trials, lambda: open_rows(browser, table)),
        }  # fmt: skip
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
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write look.json and table.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, default=Path("results/look"))
    args = parser.parse_args()
    results = measure(args.trials, args.rows)
    write_atomic(args.out / "look.json", to_json(results, indent=1) + "\n")
    write_atomic(args.out / "table.md", table(results))
    print(table(results))


if __name__ == "__main__":
    main()
