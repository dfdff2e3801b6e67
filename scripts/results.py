"""Make the committed curves again: every strategy of this table on digits and Fashion-MNIST, four to
ten seeds, random and all labels beside them.

python scripts/results.py [experiment ...] [--jobs 2] writes results/<experiment>/: curves.jsonl,
table.md, curve.png, curve.svg. Finished runs are kept in outputs/results and not made again.
`first_command` is the first command of the README, made anew with the defaults:
results/first_command/table.md.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coreset.report.load import Run
    from coreset.runs.curve import Curve

ACTIVE = ["random", "least_confidence", "margin", "entropy", "bald", "kcenter", "herding"]
LARGE_ACTIVE = ["random", "auto"]
PRUNE = [
    "random", "stratified", "maxherding", "kcenter", "herding", "moderate", "zcore", "gradmatch", "craig",
    "glister", "el2n", "forgetting", "aum", "dual", "dual_beta", "ccs", "d2", "infomax",
    "weighted_clique", "subzerocore", "nucs", "margin",
]  # fmt: skip
DYNAMIC = [
    "none",
    "rs2",
    "infobatch",
]  # which examples an epoch trains on; none: a fixed random part
EXPERIMENTS = {  # strategies and seeds
    "digits_active": (ACTIVE, range(5)),
    "digits_prune": (PRUNE, range(4)),
    "digits_dynamic": (DYNAMIC, range(10)),
    "fashion_active": (LARGE_ACTIVE, range(10)),
    "fashion_active_pretrained": (LARGE_ACTIVE, range(10)),
}
FIRST = "first_command"
FIRST_COMMAND = [
    "strategy=kcenter",
    "budget=0.3",
    "data=fashion_mnist",
    "model=small_cnn",
    "seed=1",
]


def run(experiment: str, strategies: list[str], seed: int) -> None:
    """Make the curves of one seed, `random` first: the others find their baseline in the store. A
    run that was killed goes on where it was.
    """
    base = Path("outputs/results") / experiment
    varied = "dynamic" if names_plans(experiment) else "strategy"
    missing = []
    for name in strategies:
        state = base / f"{name}_{seed}" / "state.json"
        if not state.exists():
            missing.append(name)
        elif not json.loads(state.read_text())["finished"]:
            train([f"resume={state.parent}", "threads=1", "report=false"])
    if missing:
        folders = [
            f"hydra.sweep.dir={base}",
            f"hydra.sweep.subdir=${{hydra:runtime.choices.{varied}}}_${{seed}}",
        ]
        train(
            [
                "-m",
                f"experiment={experiment}",
                f"{varied}={','.join(missing)}",
                f"seed={seed}",
                "report=false",
                *folders,
            ]
        )


def names_plans(experiment: str) -> bool:
    """Return whether the runs of an experiment differ by their plan of epochs, not their strategy."""
    return experiment.endswith("_dynamic")


def train(arguments: list[str]) -> None:
    """Run coreset-train in a process of its own."""
    print(*arguments, flush=True)
    done = subprocess.run(
        [sys.executable, "scripts/train.py", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stderr}")


def export(experiment: str) -> None:
    """Write what is committed."""
    from coreset.report.compare import compare
    from coreset.report.evidence import SHARES, smallest
    from coreset.report.headline import headline
    from coreset.report.load import read_runs
    from coreset.report.page import write_report
    from coreset.report.sentence import sentence
    from coreset.report.slopes import on_slope
    from coreset.report.table import table
    from coreset.report.words import p_value

    source, out = Path("outputs/results") / experiment, Path("results") / experiment
    out.mkdir(parents=True, exist_ok=True)
    write_report([source], source)
    for name in ("curve.png", "curve.svg"):
        (out / name).write_bytes((source / name).read_bytes())
    curves = [
        p for p in sorted(source.rglob("curve.jsonl")) if "baseline/random" not in p.as_posix()
    ]
    lines = dict.fromkeys(line for p in curves for line in p.read_text().splitlines())
    (out / "curves.jsonl").write_text("".join(line + "\n" for line in lines))
    runs = read_runs([source])
    seen = compare(runs)
    rows = table(seen.curves, seen.full, seen.seconds)
    budgets = sorted({n for row in rows for n in row.values})
    text = [
        "| strategy | "
        + " | ".join(f"{n:,}" for n in budgets)
        + " | area (log labels) | minus random | p (Holm) | "
        + " | ".join(f"{100 * part:.0f} % of full" for part in SHARES)
        + " |",
        "|---" * (len(budgets) + 4 + len(SHARES)) + "|",
    ]
    for row in rows:
        cells = [f"{100 * m:.1f} ± {100 * s:.1f}" for m, s in (row.values[n] for n in budgets)]
        comparisons = ((row.area, "{:.1%}"), (row.difference, "{:+.1%}"))
        tail = ["–" if v is None else form.format(v).removesuffix("%") for v, form in comparisons]
        tail.append("–" if row.p is None else p_value(row.p))
        means = [mean for mean, _ in row.values.values()]
        for part in SHARES:
            least = None if seen.full is None else smallest([*row.values], means, part * seen.full)
            tail.append("–" if least is None else f"{least:,}")
        text.append(f"| {row.strategy} | " + " | ".join([*cells, *tail]) + " |")
    state = json.loads(min(source.glob("*/state.json")).read_text())
    versions = ", ".join(f"{k} {v}" for k, v in state["versions"].items())
    full = "" if seen.full is None else f" All labels: {100 * seen.full:.1f} %."
    claim = f"{headline(seen.curves, seen.full)}. By the means alone: "
    claim += sentence(seen.curves, seen.full)
    if "_active" in experiment:
        claim += f" {savings(seen.curves)} {differences(seen.curves)}"
    claim = " ".join([claim, *on_slope(seen)])
    if names_plans(experiment):  # every plan sees all labels: the budget is one of steps
        claim = steps(runs)
    note = (
        f"Test accuracy in %, mean ± sd over {len(EXPERIMENTS[experiment][1])} seeds, at labels spent.{full} {claim} Last"
        " columns: the smallest measured budget whose mean reaches that share of all labels.\n\n"
    )
    origin = (
        f"\nMade by `python scripts/results.py {experiment}` on {state['hardware']}, one thread a"
        f" run; {versions}.\n"
    )
    (out / "table.md").write_text(note + "\n".join(text) + "\n" + origin)


def savings(curves: Sequence[Curve]) -> str:
    """Return how many times fewer labels strategies need for what random reaches with the most."""
    from coreset.runs.statistics import label_saving, panel

    data = panel(curves)
    most = int(data.labels[-1])
    said = []
    for name in sorted(set(data.names) - {"random"}):
        saved = label_saving(data, name, most)
        f, least = saved.factor, "at least " if saved.bound else ""
        never = math.isnan(f.mean)
        times = "never gets there" if never else f"{least}{f.mean:.1f}x [{f.low:.1f}, {f.high:.1f}]"
        said.append(f"{name} {times}")
    return (
        f"Labels of random over labels needed for what it reaches with {most:,}:"
        f" {', '.join(said)} (95 % bootstrap over seeds)."
    )


def differences(curves: Sequence[Curve]) -> str:
    """Return what strategies reach minus random of the same seed, at every budget that differs."""
    from coreset.report.evidence import spread
    from coreset.runs.statistics import difference, panel

    data = panel(curves)
    random, said = data.of("random"), []
    for name in sorted(set(data.names) - {"random"}):
        mine = data.of(name)
        places = [b for b in range(len(data.labels)) if (mine[:, b] != random[:, b]).any()]
        told = [
            f"{spread(difference(mine[:, b], random[:, b]))} at {data.labels[b]:,}" for b in places
        ]
        said.append(f"{name} {', '.join(told) or 'nothing'}")
    return f"Minus random, points (paired, 95 % bootstrap over seeds): {'; '.join(said)}."


def steps(runs: Sequence[Run]) -> str:
    """Return how many optimizer steps the trainings of a budget took beside those on everything."""
    full = {r.seed: r.rounds[0]["training"]["steps"] for r in runs if r.strategy == "full"}
    shares: dict[int, list[float]] = {}
    for run in runs:
        for entry in run.rounds if run.strategy != "full" and run.seed in full else ():
            share = entry["training"]["steps"] / full[run.seed]
            shares.setdefault(entry["labels"], []).append(share)
    told = []
    for budget, some in sorted(shares.items()):
        low, high = f"{min(some):.2f}", f"{max(some):.2f}"
        told.append(f"{low if low == high else f'{low} to {high}'} at {budget:,}")
    return f"Optimizer steps of every row over those of training on all: {', '.join(told)}."


def first_command() -> None:
    """Run the README's first command from nothing and write what it reached and what it cost."""
    base, out = Path("outputs/results") / FIRST, Path("results") / FIRST
    shutil.rmtree(base, ignore_errors=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    train([*FIRST_COMMAND, f"hydra.run.dir={base / 'run'}", f"store={base / 'store'}"])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    out.mkdir(parents=True, exist_ok=True)
    (out / "table.md").write_text(first_table(base / "run", cpu))
    folders = {"kcenter": "run", "random": "run/baseline/random", "full": "run/baseline/full"}
    lines = [(base / folder / "curve.jsonl").read_text() for folder in folders.values()]
    (out / "curves.jsonl").write_text("".join(lines))


def first_table(folder: Path, cpu: float) -> str:
    """Return the table of one run and its baselines in Markdown. cpu: seconds of the command."""
    from coreset.report.compare import compare
    from coreset.report.headline import headline
    from coreset.report.load import read_runs
    from coreset.report.sentence import sentence
    from coreset.report.slopes import on_slope

    runs = read_runs([folder])
    seen = compare(runs)
    rows = [
        "| trained on | labels | test accuracy, % | steps | passes | second half gained, points |",
        "|---|---|---|---|---|---|",
    ]
    for run in sorted(runs, key=lambda r: (r.strategy == "full", r.strategy != "kcenter")):
        for entry in run.rounds:
            t = entry["training"]
            rows.append(
                f"| {'all labels' if run.strategy == 'full' else run.strategy} "
                f"| {entry['labels']:,} | {100 * entry['accuracy']:.1f} | {t['steps']:,} "
                f"| {t['passes']:.1f} | {100 * t['gain']:+.1f} |"
            )
    state = next(r.state for r in runs if not r.baseline)
    versions = ", ".join(f"{k} {v}" for k, v in state["versions"].items())
    sentences = [headline(seen.curves, seen.full) + ".", sentence(seen.curves, seen.full)]
    sentences += on_slope(seen) or ["No training stopped on a slope."]
    return (
        f"`python scripts/train.py {' '.join(FIRST_COMMAND)}`, one seed. {' '.join(sentences)}\n\n"
        + "\n".join(rows)
        + f"\n\n{cpu:.0f} CPU seconds in all: the proxy that gives the features, the choice, three "
        "trainings and their tests, the report.\n"
        f"\nMade by `python scripts/results.py {FIRST}` on {state['hardware']}; {versions}.\n"
    )


def main() -> None:
    """Run what is missing, seed by seed, `random` first: the others find their baseline in the
    store.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiments", nargs="*", default=[FIRST, *EXPERIMENTS])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--strategies", default=None, help="comma-separated, instead of all")
    args = parser.parse_args()
    for experiment in args.experiments:
        if experiment == FIRST:
            first_command()
            continue
        names, seeds = EXPERIMENTS[experiment]
        names = args.strategies.split(",") if args.strategies else names

        def one_seed(seed: int, experiment: str = experiment, names: list[str] = names) -> None:
            run(experiment, names, seed)

        with ThreadPoolExecutor(args.jobs) as workers:
            list(workers.map(one_seed, seeds))
        export(experiment)


if __name__ == "__main__":
    main()
