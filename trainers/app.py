"""The command line: `coreset-train` runs the loops and `coreset-compare` puts several runs side by
side.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from coreset.cli.common import conf_dir, fail
from coreset.core.store import fingerprint, write_atomic
from coreset.core.strategy import Strategy
from coreset.distillation import Distiller
from coreset.runs.run_folder import versions
from coreset.trainers.dynamic_pruning.epoch_plans import EpochPlan
from coreset.trainers.loops.build import RANDOM, build, run_config
from coreset.trainers.loops.context import RunContext
from coreset.trainers.loops.gallery import write_gallery
from coreset.trainers.loops.loggers import close, log_point
from coreset.trainers.loops.rounds import run
from coreset.trainers.oracles import AwaitingLabels
from coreset.trainers.settings import make, resolve

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


def run_dir(resume: str | None, pattern: str) -> str:
    """Return the folder of a run: the one to resume, or a new one that no other run has."""
    if resume:
        return str(resume)
    path, number = Path(pattern), 1
    while path.exists():
        number += 1
        path = Path(f"{pattern}_{number}")
    return str(path)


OmegaConf.register_new_resolver("run_dir", run_dir, replace=True, use_cache=True)


def label_of(choice: str, strategy: Strategy | Distiller | EpochPlan) -> str:
    """Return a curve's name: the choice on the command line, with the parameters that are not the
    defaults.

    A sweep over a parameter then gives curves with names of their own.
    """
    changed = []
    for f in fields(strategy):  # type: ignore[arg-type]
        value = getattr(strategy, f.name)
        default = f.default_factory() if f.default_factory is not MISSING else f.default
        if (
            value != default
            and isinstance(strategy, Distiller)
            and isinstance(value, Strategy | Distiller)
        ):
            changed.append(f"{f.name}={label_of(type(value).__name__, value)}")
        elif value != default and not isinstance(value, Strategy | Distiller):
            changed.append(f"{f.name}={value}")
    return f"{choice}({', '.join(changed)})" if changed else choice


def curve_name(cfg: Mapping[str, Any], choices: Mapping[str, str]) -> str:
    """Return the name of a run's curve; of a distilled set, and where the examples change while
    training, it says that all labels are used, whatever the budget.
    """
    strategy = make(cfg, "strategy")
    name = label_of(cfg["strategy"].get("name") or choices["strategy"], strategy)
    if isinstance(strategy, Distiller):
        return f"{name}, all labels"
    if not cfg["dynamic"]:
        return name
    plan = make(cfg, "dynamic")
    how = label_of(choices["dynamic"], plan)
    return f"{name} {how}, all labels" if plan.by_strategy else f"{how}, all labels"


def main_run(cfg: Mapping[str, Any], folder: Path, console: Console) -> float:
    """Run the main job with its baselines, write the report, print the table; return the area under
    the curve (log axis).
    """
    from coreset.report.console import print_run
    from coreset.report.page import write_report

    names = _baselines(cfg)
    if cfg["threads"] is not None and (not isinstance(cfg["threads"], int) or cfg["threads"] < 1):
        raise ValueError(f"threads: expected a whole number of at least 1, got {cfg['threads']!r}")
    torch.set_num_threads(cfg["threads"] or torch.get_num_threads())
    data = make(cfg, "data")
    make_logger = make(cfg, "logger") if cfg["logger"] else None
    if "full" in names:
        make(_of_all(cfg), "fit")
    logger = None

    def start_logger() -> Any:
        nonlocal logger
        assert make_logger is not None
        logger = make_logger(folder=folder, run_config=run_config(cfg))
        return logger

    # refuses what cannot work
    context = build(cfg, folder, data, True, start_logger if make_logger is not None else None)
    _follow(context, console, str(cfg["strategy_name"]), logger)
    write_gallery(context)
    distilled = isinstance(context.strategy, Distiller)
    if distilled and "random" in names:
        names += [name for name in PER_CLASS if name not in names]
    for name in names:
        _baseline(cfg, name, folder, data, console, distilled)
    _publish(cfg, folder)
    close(logger, context.folder.curve)
    print_run(folder, console)
    if cfg["report"]:
        console.print(f"report: {write_report([folder], folder)}")
    return context.folder.curve.area("log")


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
    """Keep a finished curve in the store, where other runs find it as their baseline."""
    import json

    config = json.loads((folder / "config.json").read_text())
    target = Path(cfg["store"]) / "curves" / _curve_key(cfg, config["data_fingerprint"])
    for name in BASELINE_FILES:
        write_atomic(target / name, (folder / name).read_bytes())


def _baseline(
    cfg: Mapping[str, Any],
    name: str,
    folder: Path,
    data: Any,
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
        if (data.labels < 0).any():
            return
        cfg = _of_all(cfg)
    mine = {**cfg, **changed}
    target = folder / "baseline" / name
    stored = Path(cfg["store"]) / "curves" / _curve_key(mine, data.fingerprint)
    if not _finished(target) and _finished(stored):
        for file in BASELINE_FILES:
            write_atomic(target / file, (stored / file).read_bytes())
    if _finished(target):
        return
    _follow(build(mine, target, data), console, name)
    _publish(mine, target)


def _finished(folder: Path) -> bool:
    import json

    state = folder / "state.json"
    return state.exists() and bool(json.loads(state.read_text())["finished"])


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train")  # type: ignore[untyped-decorator]
def main(cfg: DictConfig) -> float | None:
    """Train on chosen subsets and report accuracy against budget."""
    hydra_cfg = HydraConfig.get()
    console = Console(stderr=True)
    try:
        composed: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
        plain = resolve(composed, list(hydra_cfg.overrides.task))
        if not plain["resume"]:
            plain["strategy_name"] = curve_name(plain, hydra_cfg.runtime.choices)
        return main_run(plain, Path(hydra_cfg.runtime.output_dir), console)
    except AwaitingLabels as waiting:
        console.print(
            f"[bold]waiting:[/] {waiting}\n  resume with: resume={hydra_cfg.runtime.output_dir}",
            soft_wrap=True,
        )
        return None
    except Exception as error:
        fail(error, console, go_on=hydra_cfg.mode == RunMode.MULTIRUN)
        raise


def compare_main(arguments: list[str] | None = None) -> int:
    """Put several runs on one plot: `coreset-compare outputs/<multirun> [more...] [--out DIR]`."""
    from coreset.report.console import print_comparison
    from coreset.report.page import write_report

    parser = argparse.ArgumentParser(
        prog="coreset-compare",
        description="Several strategies and seeds: one table, one plot, one report.",
    )
    parser.add_argument(
        "paths", nargs="+", type=Path, help="run folders, or folders that hold them at any depth"
    )
    parser.add_argument(
        "--out", type=Path, default=None, help="where the report goes (default: the first path)"
    )
    args = parser.parse_args(arguments)
    console = Console()
    try:
        report = write_report(args.paths, args.out or args.paths[0])
        print_comparison(args.paths, console)
    except (ValueError, OSError) as error:
        Console(stderr=True).print(f"[bold red]error:[/] {error}", soft_wrap=True)
        return 1
    console.print(f"report: {report}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    main()
