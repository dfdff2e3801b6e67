"""Write docs/which-method.md from results/bench: which method, when.

`python scripts/which_method.py` reads every folder of results/bench that coreset-bench wrote; the
words in the page come from the intervals alone.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

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


class Part(NamedTuple):
    """What one suite of active mode adds to the page."""

    name: str
    text: str
    areas: dict[str, float]  # by strategy, empty where the suite does not count among the ranks
    auto: Line | None


def section(folder: Path) -> Part:
    """Return the part of one suite."""
    frame, about = read(folder)
    metric = str(about["protocol"]["metric"])
    data = panel(curves_of(frame, metric))
    table = lines(data, about["reads_labels"], "oracle")
    name = f"{about['suite']}: {about['data']}"
    head, read_by_it = about["learner"]["head"], features_words(about["config"])
    rows = [
        f"\n## {name}\n\n{counted(len(data.replicates), 'replicate')}, {100 * LEVEL:.0f} % intervals;"
        f" test {metric}; a {head} head on {read_by_it}."
        f" All rows: `results/bench/{folder.name}/table.md`.\n",
        "| labels | best mean | `auto` less it |",
        "|---|---|---|",
    ]
    rows += [f"| {count(int(n))} | {regime(data, table, at)} |" for at, n in enumerate(data.labels)]
    losing = [f"{x.name} ({spread(x.areas['log'])})" for x in table if x.areas["log"].sign < 0]
    if losing:
        rows.append(f"\nBelow random over log labels: {', '.join(losing)}.")
    # another head, or features of each pool, are no other data
    ranked = head == "linear" and not read_by_it.startswith(TAUGHT)
    areas = {x.name: x.areas["log"].mean for x in table if x.fair and ranked}
    auto = next((x for x in table if x.name == "auto"), None)
    return Part(name, "\n".join(rows) + "\n", areas, auto)


def default(parts: list[Part]) -> str:
    """Return `auto` beside random, by suite and over all of them; nothing where it is in none."""
    kept = [(part.name, part.auto) for part in parts if part.auto]
    if not kept:
        return ""
    rows = []
    for name, auto in kept:
        saving = f"{saving_words(auto.savings[-1])} at {count(auto.savings[-1].labels)}"
        rows.append(" | ".join([f"| {name}", saving, *record_words(auto)]) + " |")
    signs = [d.sign for _, auto in kept for d in auto.differences]
    won, lost = sum(s > 0 for s in signs), sum(s < 0 for s in signs)
    told = (
        f"\nOf {counted(len(signs), 'budget')} in {counted(len(kept), 'suite')} its interval lies above"
        f" random at {won}, around it at {len(signs) - won - lost}, below it at {lost}.\n"
    )
    return DEFAULT + "\n" + "\n".join(rows) + "\n" + told


def order(parts: list[Part]) -> str:
    """Return the mean ranks over suites; nothing of one suite, or of two strategies."""
    ranked = {part.name: part.areas for part in parts if part.areas}
    shared = sorted(set.intersection(*map(set, ranked.values()))) if ranked else []
    if len(ranked) < 2 or len(shared) < 3:
        return ""
    found = ranks({n: {s: areas[s] for s in shared} for n, areas in ranked.items()})
    told = ", ".join(f"{n} {r:.1f}" for n, r in zip(found.names, found.mean, strict=True))
    return (
        f"\n## Over {found.data_sets} suites with a linear head\n\nMean ranks by area over log labels: {told}."
        f" Friedman p {p_value(found.p) if found.p < 0.001 else f'= {found.p:.3f}'}; ranks closer"
        f" than {found.critical:.2f} are not told apart at the {100 * found.level:.0f} % level"
        f" (Nemenyi, {found.data_sets} suites, as if each were of other data).\n"
    )


def page(root: Path) -> str:
    """Return the page. Raises ValueError where nothing was measured."""
    parts = [section(folder) for folder in folders(root, ACTIVE)]
    pruned = [pruning(folder) for folder in folders(root, PRUNE)]
    if not parts and not pruned:
        raise ValueError(f"{root}: no results of coreset-bench")
    out = HEAD + default(parts) + order(parts) + "".join(part.text for part in parts)
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
