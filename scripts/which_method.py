"""Write docs/which-method.md from results/bench: which method, when.

`python scripts/which_method.py` reads every folder of results/bench that coreset-bench wrote; the
words in the page come from the intervals alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

from coreset.core.store import write_atomic
from coreset.report.evidence import (
    SHARES,
    Line,
    lines,
    record_words,
    saving_words,
    smallest,
    spread,
)
from coreset.report.words import count, counted, p_value, percent
from coreset.runs.statistics import LEVEL, Panel, difference, panel, ranks
from coreset.trainers.bench.page import TAUGHT, features_words
from coreset.trainers.bench.results import curves_of, full_value, read
from coreset.trainers.bench.suite import ACTIVE, PRUNE

ROOT = Path(__file__).parent.parent
HEAD = """# Which method, when

Made by `python scripts/which_method.py` from `results/bench`. Every line compares
strategies that read no label of a candidate with random on the same pools, starts and test sets.
`auto` is what `mode=active` and `coreset.select` without a name do: coverage while nothing is labeled,
then coverage of what the model does not know, then margin. Differences are in points, with their
95 % interval. The same question of your data: [does selection pay](how-to/does-selection-pay.md).
"""
DEFAULT = """
## The default beside random

`auto`: labels of random over labels needed for what random reaches with the most; budgets whose
interval lies above, around or below random's; the worst of them; share of the area between random and
a greedy oracle that knows the labels.

| suite | fewer labels | win/tie/loss | worst difference | gap closed |
|---|---|---|---|---|"""


PRUNING = """
## Labels known: which part is worth training on

Prune mode: every strategy sees all labels and what one training on the whole pool tells; smallest
measured budgets whose mean reaches that share of the whole pool, in brackets of how much of the pool
they are. The claim this library began with, 90 % of the performance with 30 % of the data, is the
first column.
"""


def folders(root: Path, mode: str) -> list[Path]:
    """Return the folders that hold results of coreset-bench in a mode, sorted."""
    found = sorted(p.parent for p in root.glob("*/about.json"))
    modes = [read(folder)[1]["protocol"].get("mode", ACTIVE) for folder in found]
    return [folder for folder, own in zip(found, modes, strict=True) if own == mode]


def pruning(folder: Path) -> str:
    """Return the part of one suite of prune mode."""
    frame, about = read(folder)
    metric = str(about["protocol"]["metric"])
    data, full = panel(curves_of(frame, metric)), full_value(frame, metric)
    if full is None:
        raise ValueError(f"{folder}: a suite of prune mode without the whole pool (full=true)")
    size = int(frame.loc[frame["strategy"] == "full", "labels"].max())
    table = lines(data)
    rows = [
        f"\n### {about['suite']}: {about['data']}\n\n{counted(len(data.replicates), 'replicate')},"
        f" pools of {count(size)}, {100 * LEVEL:.0f} % intervals; test {metric}; a {about['learner']['head']} head on"
        f" {features_words(about['config'])}; the whole pool: {percent(full)}. All rows: `results/bench/{folder.name}/table.md`.\n",
        "| strategy | "
        + " | ".join(f"{100 * x:.0f} % of full" for x in SHARES)
        + " | mean over log labels, minus random | budgets won, tied, lost |",
        "|---" * (len(SHARES) + 3) + "|",
    ]
    for line in table:
        reached = [smallest(data.labels.tolist(), line.means, x * full) for x in SHARES]
        cells = ["–" if n is None else f"{count(n)} ({100 * n / size:.0f} %)" for n in reached]
        area = "–" if line.name == "random" else spread(line.areas["log"])
        wins = "–" if line.name == "random" else record_words(line)[0]
        rows.append(f"| {line.name} | {' | '.join(cells)} | {area} | {wins} |")
    return "\n".join(rows) + "\n"


def regime(data: Panel, table: list[Line], at: int) -> str:
    """Return who has the highest mean at one budget, and by how much `auto` differs from it."""
    best = min((line for line in table if line.fair), key=lambda line: -line.means[at])
    gap = best.differences[at]
    if best.name == "random" or gap.sign <= 0:
        return f"none is shown to beat random (best mean: {best.name}) | "
    told = f"{best.name} {100 * best.means[at]:.1f} %, {spread(gap)} against random | "
    if "auto" not in data.names or best.name == "auto":
        return told
    return told + spread(difference(data.of("auto")[:, at], data.of(best.name)[:, at]))


def default(data: Panel, table: list[Line]) -> str | None:
    """Return the cells of `auto` beside random, None where it was not measured."""
    line = next((x for x in table if x.name == "auto"), None)
    if line is None:
        return None
    last = line.savings[-1]
    return " | ".join([f"{saving_words(last)} at {count(last.labels)}", *record_words(line)])


def section(folder: Path) -> tuple[str, dict[str, float], str, str | None]:
    """Return the part of one suite, its area by strategy where that counts among the ranks, the
    name of its data and how `auto` did.
    """
    frame, about = read(folder)
    metric = str(about["protocol"]["metric"])
    data = panel(curves_of(frame, metric))
    table = lines(data, about["reads_labels"], "oracle")
    sample = f"{counted(len(data.replicates), 'replicate')}, {100 * LEVEL:.0f} % intervals"
    rows = ["| labels | best mean | `auto` less it |", "|---|---|---|"]
    rows += [f"| {count(int(n))} | {regime(data, table, at)} |" for at, n in enumerate(data.labels)]
    losing = [f"{x.name} ({spread(x.areas['log'])})" for x in table if x.areas["log"].sign < 0]
    tail = f"\nBelow random over log labels: {', '.join(losing)}.\n" if losing else ""
    name = f"{about['suite']}: {about['data']}"
    table_file = f"`results/bench/{folder.name}/table.md`"
    head, read_by_it = about["learner"]["head"], features_words(about["config"])
    text = (
        f"\n## {name}\n\n{sample}; test {metric}; a {head} head on {read_by_it}."
        f" All rows: {table_file}.\n\n"
    )
    # another head, or features of each pool, are no other data
    ranked = head == "linear" and not read_by_it.startswith(TAUGHT)
    areas = {x.name: x.areas["log"].mean for x in table if x.fair and ranked}
    return text + "\n".join(rows) + "\n" + tail, areas, name, default(data, table)


def page(root: Path) -> str:
    """Return the page. Raises ValueError where nothing was measured."""
    sections = [section(folder) for folder in folders(root, ACTIVE)]
    pruned = [pruning(folder) for folder in folders(root, PRUNE)]
    if not sections and not pruned:
        raise ValueError(f"{root}: no results of coreset-bench")
    ranked = {name: areas for _, areas, name, _ in sections if areas}
    shared = set.intersection(*map(set, ranked.values())) if ranked else set()
    kept = [f"| {name} | {cells} |" for _, _, name, cells in sections if cells is not None]
    out = HEAD + ("\n".join([DEFAULT, *kept]) + "\n" if kept else "")
    if len(ranked) > 1 and len(shared) > 2:
        order = ranks({n: {s: areas[s] for s in sorted(shared)} for n, areas in ranked.items()})
        told = ", ".join(f"{n} {r:.1f}" for n, r in zip(order.names, order.mean, strict=True))
        out += (
            f"\n## Over {order.data_sets} suites with a linear head\n\nMean ranks by area over log labels: {told}."
            f" Friedman p {p_value(order.p) if order.p < 0.001 else f'= {order.p:.3f}'}; ranks closer"
            f" than {order.critical:.2f} are not told apart at the {100 * order.level:.0f} % level"
            f" (Nemenyi, {order.data_sets} suites, as if each were of other data).\n"
        )
    out += "".join(text for text, _, _, _ in sections)
    return out + (PRUNING + "".join(pruned) if pruned else "")


def main(root: Path = ROOT / "results" / "bench", out: Path = ROOT / "docs") -> int:
    """Write the page; return 1 where there is nothing to write."""
    try:
        text = page(root)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(write_atomic(out / "which-method.md", text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
