"""One experiment: a run with its baselines beside it, its report, and its loggers."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import WandbLogger
from rich.console import Console

from coreset.core.store import fingerprint, write_atomic
from coreset.distillation import Distiller
from coreset.runs.run_folder import versions
from coreset.trainers.loops.build import RANDOM, build, run_config
from coreset.trainers.loops.context import Examples, RunContext
from coreset.trainers.loops.gallery import write_gallery
from coreset.trainers.loops.logged_figures import log_figures
from coreset.trainers.loops.loggers import baseline_curves, check_installed, close, log_point
from coreset.trainers.loops.pool_rows import write_pool
from coreset.trainers.loops.rounds import run
from coreset.trainers.loops.wandb_report import log_run
from coreset.trainers.settings import make

BASELINE_FILES = ("config.json", "ledger.jsonl", "curve.jsonl", "state.json")


PER_CLASS: dict[str, Any] = {
    name: {
        "_target_": "coreset.strategies.combine.class_quota.ClassQuota",
        "base": {"_target_": target},
        "column": "labels",
        "balance": "equal",
        "cap": None,
    }
    for name, target in (
        ("random", RANDOM),
        ("herding", "coreset.strategies.coverage.herding.Herding"),
        ("kcenter", "coreset.strategies.coverage.kcenter.KCenterGreedy"),
    )
}


def run_experiment(
    cfg: Mapping[str, Any],
    folder: Path,
    console: Console,
    material: Any = None,
    make_logger: Any = None,
) -> RunContext:
    """Run with its baselines, write the report, print the table; return what was run.

    material: the data set or the learner where it is there already. make_logger: as the
    configuration's `logger` makes, a function of folder and run_config.
    """
    from coreset.report.console import print_run
    from coreset.report.page import write_report

    names = _baselines(cfg)
    if cfg["threads"] is not None and (not isinstance(cfg["threads"], int) or cfg["threads"] < 1):
        raise ValueError(f"threads: expected a whole number of at least 1, got {cfg['threads']!r}")
    torch.set_num_threads(cfg["threads"] or torch.get_num_threads())
    material = load_material(cfg) if material is None else material
    make_logger = make(cfg, "logger") if cfg["logger"] else make_logger
    check_installed(make_logger)
    if "full" in names and not cfg.get("learner"):
        make(_of_all(cfg), "fit")
    logger = None

    def start_logger() -> Any:
        nonlocal logger
        logger = make_logger(folder=folder, run_config=run_config(cfg))
        return logger

    # refuses what cannot work
    context = build(cfg, folder, material, True, start_logger if make_logger is not None else None)
    _follow(context, console, str(cfg["strategy_name"]), logger)
    write_gallery(context)
    write_pool(context)
    distilled = isinstance(context.strategy, Distiller)
    if distilled and "random" in names:
        names += [name for name in PER_CLASS if name not in names]
    for name in names:
        _baseline(cfg, name, folder, material, context.examples, console, distilled)
    _publish(cfg, folder)
    curve = context.folder.curve
    log = log_run if isinstance(logger, WandbLogger) else log_figures
    close(logger, curve, baseline_curves(folder), partial(log, folder=folder, curve=curve))
    print_run(folder, console)
    if not np.isfinite(curve.values).any():
        text = f"nothing could be measured, so there is no report; the selections are in {folder}"
        console.print(text, soft_wrap=True)
    elif cfg["report"]:
        console.print(f"report: {write_report([folder], folder)}")
    return context


def load_material(cfg: Mapping[str, Any]) -> Any:
    """Return the data set of a configuration, or its learner, made under the run's seed."""
    if not cfg.get("learner"):
        return make(cfg, "data")
    pl.seed_everything(int(cfg["seed"]), verbose=False)
    return make(cfg, "learner")


def _baselines(cfg: Mapping[str, Any]) -> list[str]:
    """Return the names of the baselines. Raises ValueError for any but random and full."""
    names = cfg["baseline"] or []
    wrong = [names] if isinstance(names, str) else [n for n in names if n not in ("random", "full")]
    if wrong:
        raise ValueError(
            f"baseline: expected random or full, in a list, got {', '.join(map(str, wrong))}"
        )
    return list(names)


def _of_all(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the full-data reference: `full` says what differs from `fit`."""
    mine = {**cfg, "mode": "prune", "budget": 1.0, "unit": "images"}
    if cfg.get("learner"):
        return mine
    return {**mine, "fit": {**cfg["fit"], **(cfg["full"] or {})}}


def _follow(context: RunContext, console: Console, name: str, logger: Any = None) -> None:
    """Run with a progress bar over the rounds; log each point when its round is complete."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[what]}"),
        TimeElapsedColumn(),
        console=console,
    )
    folder, plan = context.folder, context.plan
    logged = folder.done
    with bar:
        task = bar.add_task(name, total=plan.rounds, completed=folder.done, what="")

        def show(number: int, what: str) -> None:
            nonlocal logged
            for point in folder.points[logged:]:
                log_point(logger, point.labels, folder.metric, point.value)
            logged = folder.done
            size = plan.sizes[min(number, plan.rounds - 1)]
            text = f"{what}, {size:,} {context.method.unit}" if what else ""
            bar.update(task, completed=folder.done, what=text)

        run(replace(context, progress=show))
        show(plan.rounds, "")


def _curve_key(cfg: Mapping[str, Any], data_fingerprint: str) -> str:
    """Return what determines a curve: configuration, data, versions, number of threads; what the
    mode or a random choice never reads is left out.
    """
    unread = {"strategy_name", *(("start", "start_strategy") if cfg["mode"] == "prune" else ())}
    if cfg["strategy"]["_target_"] == RANDOM:
        unread |= {"proxy", "embedding", "members", "columns"}
    config = {key: value for key, value in run_config(cfg).items() if key not in unread}
    libraries = versions("coreset-lightning", "torch", "pytorch-lightning", "numpy")
    return fingerprint(
        config,
        data_fingerprint,
        libraries,
        torch.get_num_threads(),
        os.environ.get("CUDA_VISIBLE_DEVICES", ""),
    )


def _publish(cfg: Mapping[str, Any], folder: Path) -> None:
    """Keep a finished curve in the store, where other runs find it as their baseline; not where the
    user's own code trains, which no key knows.
    """
    if cfg.get("learner"):
        return
    config = json.loads((folder / "config.json").read_text())
    target = Path(cfg["store"]) / "curves" / _curve_key(cfg, config["data_fingerprint"])
    for name in BASELINE_FILES:
        write_atomic(target / name, (folder / name).read_bytes())


def _baseline(
    cfg: Mapping[str, Any],
    name: str,
    folder: Path,
    material: Any,
    examples: Examples,
    console: Console,
    balanced: bool = False,
) -> None:
    """Run `random` on the same budgets, or `full` (all labels, one training), beside the main run;
    take it from the store when another run has it.

    balanced: as many examples of every class, as a distilled set has; `herding` and `kcenter` are
    there too.
    """
    if cfg["strategy_name"] == name:
        return
    chosen = PER_CLASS[name] if balanced and name != "full" else {"_target_": RANDOM}
    changed: dict[str, Any] = {
        "strategy": chosen,
        "strategy_name": name,
        "columns": None,
        "dynamic": {},
    }
    if cfg["oracle"]:
        return  # labels cost somebody's time: no baseline asks for more of them
    if name == "full":
        if not examples.labeled:
            return
        cfg = _of_all(cfg)
    mine = {**cfg, **changed}
    target = folder / "baseline" / name
    if not cfg.get("learner"):
        stored = Path(cfg["store"]) / "curves" / _curve_key(mine, examples.fingerprint)
        if not _finished(target) and _finished(stored):
            for file in BASELINE_FILES:
                write_atomic(target / file, (stored / file).read_bytes())
    if _finished(target):
        return
    _follow(build(mine, target, material), console, name)
    _publish(mine, target)


def _finished(folder: Path) -> bool:
    state = folder / "state.json"
    return state.exists() and bool(json.loads(state.read_text())["finished"])
