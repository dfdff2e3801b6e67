"""The loops in Python, with a training of your own."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import yaml
from rich.console import Console

from coreset import registry
from coreset.cli.common import conf_dir
from coreset.core.selection import Selection
from coreset.core.strategy import Strategy
from coreset.runs.curve import Curve
from coreset.runs.run_folder import RunFolder
from coreset.trainers.experiment import run_experiment
from coreset.trainers.learners.lightning import LightningLearner


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run: its curve, the final selection (positions in the train dataset), the page of
    the report (None where nothing could be measured), and the folder that holds it all.
    """

    curve: Curve
    selection: Selection
    report: Path | None
    folder: Path


def active(
    module: pl.LightningModule | Callable[[], pl.LightningModule],
    datamodule: pl.LightningDataModule,
    *,
    strategy: str | Mapping[str, Any] | Strategy,
    budget: int | float | Sequence[int | float],
    start: int | float | None = None,
    start_strategy: str | Mapping[str, Any] | None = None,
    features: str = "penultimate",
    trainer: Mapping[str, Any] | None = None,
    seed: int = 0,
    folder: str | Path | None = None,
    baseline: Sequence[str] = ("random",),
    oracle: str | Mapping[str, Any] | None = None,
    logger: Any = None,
    **learner: Any,
) -> Run:
    """Run active learning with your own training: fit, measure, choose, label, again.

    module: your LightningModule as it is before training; a copy is trained in every round.
    datamodule: your LightningDataModule, whose train dataset is the pool. strategy: a name, a name
    with options as {"top_k": {"signal": "uncertainty"}}, or an object. budget: label totals to
    reach, counts or shares; start: the first of them, default the first of `budget`.
    start_strategy: who chooses those, by signals of the untrained module; default at random.
    features: a layer's name, or the input of the last nn.Linear. trainer: arguments of Lightning's
    Trainer. folder: of the run, default a new one below `outputs`; an unfinished run in it goes on.
    baseline: `random` (the same budgets at random), `full` (all labels). oracle: who labels, a
    name or a name with options as {"label_studio": {"url": "http://localhost:8080"}}; default the
    dataset's own labels. logger: a factory called with the folder
    and the run's configuration, as those of `coreset.trainers.loops.loggers`. learner: other
    options of `coreset.trainers.learners.lightning.LightningLearner`. Raises ValueError or
    TypeError, before anything trains, for what cannot work.
    """
    budgets = [budget] if isinstance(budget, int | float) else list(budget)
    more = {"start": budgets[0] if start is None else start, "start_strategy": start_strategy}
    options = {"features": features, "trainer": trainer, **learner}
    return _run(
        "active", module, datamodule, strategy, budgets, options, seed, folder, baseline, oracle,
        logger, more
    )  # fmt: skip


def prune(
    module: pl.LightningModule | Callable[[], pl.LightningModule],
    datamodule: pl.LightningDataModule,
    *,
    strategy: str | Mapping[str, Any] | Strategy,
    budget: int | float | Sequence[int | float],
    features: str = "penultimate",
    trainer: Mapping[str, Any] | None = None,
    seed: int = 0,
    folder: str | Path | None = None,
    baseline: Sequence[str] = ("random",),
    logger: Any = None,
    **learner: Any,
) -> Run:
    """Choose subsets of a labeled pool and train on each with your own training.

    The signals come from one training on the whole pool. Parameters as in `active`.
    """
    budgets = [budget] if isinstance(budget, int | float) else list(budget)
    options = {"features": features, "trainer": trainer, **learner}
    return _run(
        "prune", module, datamodule, strategy, budgets, options, seed, folder, baseline, None,
        logger, {}
    )  # fmt: skip


def _run(
    mode: str,
    module: Any,
    datamodule: pl.LightningDataModule,
    strategy: Any,
    budget: Sequence[int | float],
    options: Mapping[str, Any],
    seed: int,
    folder: str | Path | None,
    baseline: Sequence[str],
    oracle: str | Mapping[str, Any] | None,
    logger: Any,
    more: Mapping[str, Any],
) -> Run:
    learner = LightningLearner(module, datamodule, **options)
    target = Path(folder) if folder is not None else _new_folder()
    name, config = described(strategy)
    cfg: dict[str, Any] = {
        "mode": mode,
        "strategy": config,
        "strategy_name": name,
        "budget": list(budget),
        "unit": "images",
        "start": 0,
        "seed": seed,
        "learner": {"module": _name(module), "datamodule": _name(datamodule), **_plain(options)},
        "oracle": oracle_config(oracle) if oracle else {},
        "members": options.get("members", 10),
        "columns": None,
        "dynamic": {},
        "baseline": list(baseline),
        "full": None,
        "logger": None,
        "store": str(target / "store"),
        "report": True,
        "threads": None,
        "trainer": {},
        **dict.fromkeys(("data", "model", "fit", "proxy", "embedding", "task")),
        **more,
    }
    context = run_experiment(cfg, target, Console(stderr=True), learner, logger)
    page = target / "report.html"
    report = page if page.exists() else None
    return Run(context.folder.curve, final(context.folder, mode), report, target)


def oracle_config(oracle: str | Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of an oracle: a name of `conf/oracle`, a name with options, or
    whole with `_target_`. Raises ValueError for a name or an option that there is not.
    """
    if isinstance(oracle, Mapping) and "_target_" in oracle:
        return dict(oracle)
    name, options = registry.split(oracle)
    files = {path.stem: path for path in sorted((conf_dir() / "oracle").glob("*.yaml"))}
    if name not in files:
        raise ValueError(f"oracle: expected one of {', '.join(files)}, got {name!r}")
    own: dict[str, Any] = yaml.safe_load(files[name].read_text()) or {}
    strange = sorted(set(options) - {k for k in own if not k.startswith("_")})
    if strange:
        known = ", ".join(k for k in own if not k.startswith("_"))
        raise ValueError(f"oracle: {name} has no option {strange[0]!r}; it has {known}")
    return {**own, **options}


def described(strategy: Any) -> tuple[str, Any]:
    """Return a strategy's name and its configuration as plain data."""
    if isinstance(strategy, Strategy):
        cls = type(strategy)
        return cls.__name__, {
            "_target_": f"{cls.__module__}.{cls.__qualname__}",
            **strategy.parameters(),
        }
    name, _ = registry.split(strategy)
    return str(name), strategy


def final(folder: RunFolder, mode: str) -> Selection:
    """Return the last selection of a pruning run, or all that an active run labeled, in order."""
    files = [folder.round(n) / "selection.parquet" for n in range(folder.done)]
    parts = [Selection.load(f) for f in (files[-1:] if mode == "prune" else files)]
    if len(parts) == 1:
        return parts[0]
    indices = np.concatenate([p.indices for p in parts])
    return Selection(indices, ids=indices, info={"rounds": [len(p.indices) for p in parts]})


def _new_folder() -> Path:
    Path("outputs").mkdir(exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=time.strftime("%Y-%m-%d_%H-%M-%S_"), dir="outputs"))


def _name(value: Any) -> str:
    cls = value if isinstance(value, type) else type(value)
    return f"{cls.__module__}.{cls.__qualname__}"


def _plain(value: Any) -> Any:
    """Return options as plain data; objects by the names of their classes."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, np.ndarray):
        return value.tolist()
    return _name(value)
