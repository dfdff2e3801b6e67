"""The command line: `coreset-train` runs the loops and `coreset-compare` puts several runs side by side."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from coreset.app import conf_dir, fail
from coreset.budget import budget_counts, per_class
from coreset.numerics.dynamics import STATISTICS, TRACES, least_epochs
from coreset.numerics.full_gradients import GRADIENT_NORM
from coreset.plan import make_plan
from coreset.record import RunFolder, difference, versions
from coreset.store import Store, fingerprint, write_atomic
from coreset.synthetic import Distiller
from coreset.synthetic.dataset import smallest_labels
from coreset.types import Strategy
from trainers import loops
from trainers.distilled import source_of
from trainers.fit import Fitter
from trainers.loggers import close, log_point
from trainers.measure import dropouts
from trainers.oracles import AwaitingLabels, HiddenLabels
from trainers.sampling import Adaptive, EpochPlan
from trainers.task import Classification

RESULT_KEYS = (
    "mode",
    "strategy",
    "strategy_name",
    "budget",
    "unit",
    "start",
    "seed",
    "data",
    "model",
    "fit",
    "proxy",
    "embedding",
    "oracle",
    "members",
    "columns",
    "sampling",
    "task",
)
BASELINE_FILES = ("config.json", "ledger.jsonl", "curve.jsonl", "state.json")


RANDOM = "strategies.baseline.random.Random"
PER_CLASS: dict[str, Any] = {
    name: {
        "_target_": "strategies.combine.class_quota.ClassQuota",
        "base": {"_target_": target},
        "column": "labels",
        "balance": "equal",
        "cap": None,
    }
    for name, target in (
        ("random", RANDOM),
        ("herding", "strategies.coverage.herding.Herding"),
        ("kcenter", "strategies.coverage.kcenter.KCenterGreedy"),
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


def make(config: Any) -> Any:
    """Instantiate a configuration as plain Python objects."""
    return instantiate(config, _convert_="all")


def label_of(choice: str, strategy: Strategy | Distiller | EpochPlan) -> str:
    """Return a curve's name: the choice on the command line, with the parameters that are not the defaults.

    A sweep over a parameter then gives curves with names of their own.
    """
    changed = []
    for f in fields(strategy):  # type: ignore[arg-type]
        value = getattr(strategy, f.name)
        default = f.default_factory() if f.default_factory is not MISSING else f.default
        if value != default and isinstance(strategy, Distiller) and isinstance(value, Strategy | Distiller):
            changed.append(f"{f.name}={label_of(type(value).__name__, value)}")
        elif value != default and not isinstance(value, Strategy | Distiller):
            changed.append(f"{f.name}={value}")
    return f"{choice}({', '.join(changed)})" if changed else choice


def curve_name(cfg: Mapping[str, Any], choices: Mapping[str, str]) -> str:
    """Return the name of a run's curve; of a distilled set, and where the examples change while training, it says that all labels are used, whatever the budget."""
    strategy = make(cfg["strategy"])
    name = label_of(cfg["strategy"].get("name") or choices["strategy"], strategy)
    if isinstance(strategy, Distiller):
        return f"{name}, all labels"
    if not cfg["sampling"]:
        return name
    plan = make(cfg["sampling"])
    how = label_of(choices["sampling"], plan)
    return f"{name} {how}, all labels" if plan.by_strategy else f"{how}, all labels"


def resolve(cfg: DictConfig, overrides: list[str]) -> dict[str, Any]:
    """Return the configuration as plain Python; with `resume`, the one saved in that run folder.

    Raises ValueError when an override contradicts the saved run, and FileNotFoundError when there is none.
    """
    plain: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    if not plain["resume"]:
        return plain
    import json

    file = Path(plain["resume"]) / "config.json"
    if not file.exists():
        raise FileNotFoundError(f"resume: {plain['resume']} is no run folder, it has no config.json")
    saved = json.loads(file.read_text())
    given = {o.lstrip("+~").split("=")[0].split(".")[0] for o in overrides} & set(RESULT_KEYS)
    changed = [line for key in sorted(given) for line in difference(saved.get(key), plain.get(key), key)]
    if changed:
        raise ValueError(f"resume: {plain['resume']} holds a run of another configuration: {'; '.join(changed)}")
    return {**plain, **saved}


def build(cfg: Mapping[str, Any], folder: Path, logger: Any = None, data: Any = None) -> loops.Job:
    """Return the job of one run after checking everything that can be known before training."""
    data = make(cfg["data"]) if data is None else data
    strategy, task = make(cfg["strategy"]), make(cfg["task"])
    if not isinstance(strategy, Strategy | Distiller):
        raise TypeError(f"strategy: expected a coreset.Strategy, got {type(strategy).__name__}")
    task.check(data)
    strategy = task.wrap(strategy) if isinstance(strategy, Strategy) else strategy
    columns = {name: np.load(path, mmap_mode="r", allow_pickle=False) for name, path in (cfg["columns"] or {}).items()}
    for name, column in columns.items():
        if len(column) != len(data.images):
            raise ValueError(
                f"columns.{name}: {cfg['columns'][name]} has {len(column)} rows, the pool has {len(data.images)} examples"
            )
    fixed = ["features"] if cfg["embedding"]["_target_"] != "trainers.features.ModelFeatures" else []
    sampling = _sampling(cfg, strategy)
    dynamics = (
        () if sampling or not task.dynamics else (*STATISTICS, *TRACES, GRADIENT_NORM)
    )  # those need a proxy trained before
    cost = _image_bytes(strategy, data) if cfg["unit"] == "bytes" else 0
    budget = budget_counts(cfg["budget"], cfg["unit"], len(data.classes), cost)
    plan = make_plan(
        strategy, budget, len(data.images), cfg["mode"], cfg["start"], [*columns, *fixed], dynamics, task.signals
    )
    if isinstance(strategy, Distiller):
        _check_distiller(cfg, strategy, data, plan.sizes)
    if (sampling or cfg["oracle"]) and not task.dynamics:
        raise ValueError(
            f"task={type(task).__name__.lower()}: sampling while training and label files are for classification; boxes and masks are handed over by coreset-select coco=..."
        )
    proxy, least = make(cfg["proxy"]), least_epochs(plan.needs - set(columns))
    if proxy.total_epochs(len(data.images)) < least:
        raise ValueError(
            f"{type(strategy).__name__} reads dynamics of at least {least} epochs: add proxy.epochs={least} or more"
        )
    config = {key: cfg[key] for key in RESULT_KEYS} | {"data_fingerprint": data.fingerprint}
    run = RunFolder(folder, config, plan.rounds, cfg["strategy_name"], cfg["seed"], task.metric)
    oracle = HiddenLabels(data.labels) if not cfg["oracle"] else None
    if oracle is None:
        path = Path(cfg["oracle"]["path"] or folder / "labels.csv")
        oracle = make(cfg["oracle"])(path=path, ids=data.ids, classes=data.classes)
    predicts = "predicted_loss" in plan.needs - set(columns)
    fitter = Fitter(data, make(cfg["model"]), cfg["trainer"], logger or False, predicts, task)
    if "member_probs" in (plan.needs | plan.needs_selected) - set(columns) and not dropouts(fitter.new_model()):
        raise ValueError(
            f"{type(strategy).__name__} needs member_probs, but this model has no dropout to draw members with; use another model"
        )
    store = Store(cfg["store"])
    return loops.Job(
        plan, strategy, fitter, make(cfg["fit"]), proxy, make(cfg["embedding"]), oracle, store, run,
        int(cfg["seed"]), int(cfg["members"]), columns, fingerprint(cfg["model"], *[predicts] * predicts, *[cfg["task"]] * (not task.dynamics)),
        sampling=sampling,
    )  # fmt: skip


def _image_bytes(strategy: Strategy | Distiller, data: Any) -> int:
    """Return what one image of the answer costs with its label: of the pool uint8 pixels, of a distilled set what its method stores."""
    _, h, w, c = data.images.shape
    if isinstance(strategy, Distiller):
        return strategy.image_bytes((c, h, w), len(data.classes))
    return int(h * w * c + smallest_labels(len(data.classes)).itemsize)


def _check_distiller(cfg: Mapping[str, Any], method: Distiller, data: Any, sizes: Sequence[int]) -> None:
    """Raise ValueError when a distillation cannot work with the rest of the configuration; warn when a budget is not worth it."""
    name = type(method).__name__
    if cfg["oracle"] or (data.labels < 0).any():
        raise ValueError(
            f"{name} reads the label of every example of the pool: label them all, or use a strategy that selects"
        )
    if not isinstance(make(cfg["task"]), Classification):
        raise ValueError(f"{name} makes images with one label each: expected task=classification")
    if make(cfg["fit"]).val_share:
        raise ValueError("fit.val_share: a distilled set has no real example to hold out; set it to 0")
    source = source_of(data, data.labels, teacher=lambda **_: None)
    for ipc in per_class(sizes, len(data.classes)):
        method.check(source, ipc)


def _sampling(cfg: Mapping[str, Any], strategy: Strategy | Distiller) -> EpochPlan | None:
    """Return what chooses while training, or None; ValueError where it contradicts the mode or the strategy."""
    if not cfg["sampling"]:
        return None
    plan = make(cfg["sampling"])
    name = str(cfg["sampling"]["_target_"]).rsplit(".", 1)[-1]
    if not isinstance(plan, EpochPlan):
        raise TypeError(f"sampling: expected a trainers.sampling.EpochPlan, got {type(plan).__name__}")
    if cfg["mode"] != "prune":
        raise ValueError(
            f"sampling: {name} changes the examples while training and needs the labels of the whole pool: use mode=prune"
        )
    if isinstance(strategy, Distiller):
        raise ValueError(
            f"sampling: {name} chooses among the pool's examples, {type(strategy).__name__} makes its own: use sampling=none"
        )
    if isinstance(plan, Adaptive):
        return replace(plan, strategy=strategy)
    if cfg["strategy"]["_target_"] != RANDOM:
        raise ValueError(
            f"sampling: {name} chooses by itself, a strategy has no say in it: add strategy=random, or use sampling=adaptive"
        )
    return plan


def main_run(cfg: Mapping[str, Any], folder: Path, console: Console) -> float:
    """Run the main job with its baselines, write the report, print the table; return the area under the curve (log axis)."""
    from coreset.report.console import print_run
    from coreset.report.page import write_report

    names = list(cfg["baseline"])
    wrong = set(names) - {"random", "full"}
    if wrong:
        raise ValueError(f"baseline: expected random or full, got {', '.join(map(str, wrong))}")
    torch.set_num_threads(cfg["threads"] or torch.get_num_threads())
    data = make(cfg["data"])
    build(cfg, folder, data=data)  # refuses what cannot work before anything is logged
    logger = make(cfg["logger"])(folder=folder, run_config={k: cfg[k] for k in RESULT_KEYS}) if cfg["logger"] else None
    job = build(cfg, folder, logger, data)
    _follow(job, console, str(cfg["strategy_name"]), logger)
    loops.write_gallery(job)
    made = isinstance(job.strategy, Distiller)
    if made and "random" in names:
        names += [name for name in PER_CLASS if name not in names]
    for name in names:
        _baseline(cfg, name, folder, data, console, made)
    _publish(cfg, folder)
    close(logger, job.folder.curve)
    print_run(folder, console)
    if cfg["report"]:
        console.print(f"report: {write_report([folder], folder)}")
    return job.folder.curve.area("log")


def _follow(job: loops.Job, console: Console, name: str, logger: Any = None) -> None:
    """Run a job with a progress bar over its rounds; log each point when its round is complete."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[what]}"),
        TimeElapsedColumn(),
        console=console,
    )
    logged = job.folder.done
    with bar:
        task = bar.add_task(name, total=job.plan.rounds, completed=job.folder.done, what="")

        def show(number: int, what: str) -> None:
            nonlocal logged
            for point in job.folder.points[logged:]:
                log_point(logger, point.labels, job.folder.metric, point.value)
            logged = job.folder.done
            size = job.plan.sizes[min(number, job.plan.rounds - 1)]
            unit = "images" if isinstance(job.strategy, Distiller) else "labels"
            bar.update(task, completed=job.folder.done, what=f"{what}, {size:,} {unit}" if what else "")

        object.__setattr__(job, "progress", show)
        loops.run(job)
        show(job.plan.rounds, "")


def _curve_key(cfg: Mapping[str, Any], data_fingerprint: str) -> str:
    """Return what determines a curve: configuration, data, versions, number of threads; what the mode or a random choice never reads is left out."""
    unread = {"strategy_name", *(("start",) if cfg["mode"] == "prune" else ())}
    if cfg["strategy"]["_target_"] == RANDOM:
        unread |= {"proxy", "embedding", "members", "columns"}
    config = {key: cfg[key] for key in RESULT_KEYS if key not in unread}
    found = versions("coreset-lightning", "torch", "pytorch-lightning", "numpy")
    return fingerprint(
        config, data_fingerprint, found, torch.get_num_threads(), os.environ.get("CUDA_VISIBLE_DEVICES", "")
    )


def _publish(cfg: Mapping[str, Any], folder: Path) -> None:
    """Keep a finished curve in the store, where other runs find it as their baseline."""
    import json

    config = json.loads((folder / "config.json").read_text())
    target = Path(cfg["store"]) / "curves" / _curve_key(cfg, config["data_fingerprint"])
    for name in BASELINE_FILES:
        write_atomic(target / name, (folder / name).read_bytes())


def _baseline(
    cfg: Mapping[str, Any], name: str, folder: Path, data: Any, console: Console, balanced: bool = False
) -> None:
    """Run `random` on the same budgets, or `full` (all labels, one training), beside the main run; take it from the store when another run has it.

    balanced: as many examples of every class, as a distilled set has; `herding` and `kcenter` are there too.
    """
    if cfg["strategy_name"] == name:
        return
    chosen = PER_CLASS[name] if balanced and name != "full" else {"_target_": RANDOM}
    changed: dict[str, Any] = {"strategy": chosen, "strategy_name": name, "columns": None, "sampling": {}}
    if cfg["oracle"]:
        return  # labels cost somebody's time: no baseline asks for more of them
    if name == "full":
        if (data.labels < 0).any():
            return
        changed |= {"mode": "prune", "budget": 1.0, "unit": "images"}
    mine = {**cfg, **changed}
    target = folder / "baseline" / name
    stored = Path(cfg["store"]) / "curves" / _curve_key(mine, data.fingerprint)
    if not _finished(target) and _finished(stored):
        for file in BASELINE_FILES:
            write_atomic(target / file, (stored / file).read_bytes())
    if _finished(target):
        return
    job = build(mine, target, data=data)
    _follow(job, console, name)
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
        plain = resolve(cfg, list(hydra_cfg.overrides.task))
        if not plain["resume"]:
            plain["strategy_name"] = curve_name(plain, hydra_cfg.runtime.choices)
        return main_run(plain, Path(hydra_cfg.runtime.output_dir), console)
    except AwaitingLabels as waiting:
        console.print(
            f"[bold]waiting:[/] {waiting}\n  resume with: resume={hydra_cfg.runtime.output_dir}", soft_wrap=True
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
        prog="coreset-compare", description="Several strategies and seeds: one table, one plot, one report."
    )
    parser.add_argument("paths", nargs="+", type=Path, help="run folders, or folders that hold them at any depth")
    parser.add_argument("--out", type=Path, default=None, help="where the report goes (default: the first path)")
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
