"""Lightning loggers of a run, one logger for all its rounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger

from coreset.runs.curve import Curve, read_curves

Mode = Literal["online", "offline", "disabled"]
BY_STEP = (MLFlowLogger, TensorBoardLogger)  # their x axis is the step: the labels spent


def csv_logger(folder: Path, run_config: Mapping[str, Any]) -> Logger:
    """Return a logger that writes `metrics/metrics.csv` in the run folder; a resumed run writes
    beside it, into `metrics_2`.
    """
    tries = [folder / "metrics", *(folder / f"metrics_{n}" for n in range(2, 1000))]
    return CSVLogger(folder, name="", version=next(t.name for t in tries if not t.exists()))


def wandb_logger(
    folder: Path,
    run_config: Mapping[str, Any],
    project: str = "coreset",
    group: str | None = None,
    mode: Mode = "online",
    tags: tuple[str, ...] = (),
) -> Logger:
    """Return a Weights & Biases logger: one run = one curve, its x axis the labels spent, job type
    = strategy.

    mode: online, offline (`wandb sync` later) or disabled; the environment variable WANDB_MODE
    wins.
    """
    import os

    import wandb
    from pytorch_lightning.loggers import WandbLogger

    mode = cast(Mode, os.environ.get("WANDB_MODE", mode))
    settings = wandb.Settings(console="off", silent=True)
    name = f"{run_config['strategy_name']}-{run_config['seed']}"
    run = wandb.init(
        dir=str(folder), project=project, group=group, job_type=str(run_config["strategy_name"]),
        name=name, mode=mode, tags=list(tags),
        config=dict(run_config), settings=settings, reinit="finish_previous",
    )  # fmt: skip
    run.define_metric("labels")
    run.define_metric("curve/*", step_metric="labels")
    return WandbLogger(experiment=run)


def log_point(logger: Logger | None, labels: int, name: str, value: float) -> None:
    """Log one point of the curve against the labels spent."""
    if logger is not None:
        step = labels if isinstance(logger, BY_STEP) else None
        logger.log_metrics({"labels": float(labels), f"curve/{name}": value}, step)


def log_lines(logger: Logger, curve: Curve, others: Mapping[str, Curve]) -> None:
    """Log beside a curve those of its baselines, as `curve/random`; `curve/full`, all labels, is a
    level line over the labels of the curve.
    """
    for name, other in others.items():
        points = list(zip(other.labels.tolist(), other.values.tolist(), strict=True))
        if name == "full":
            points = [(n, float(other.values[-1])) for n in curve.labels.tolist()]
        for labels, value in points:
            if np.isfinite(value):
                log_point(logger, int(labels), name, value)


def close(
    logger: Logger | None,
    curve: Curve,
    others: Mapping[str, Curve],
    show: Callable[[Logger], None] | None = None,
) -> None:
    """Log the results of the whole run, as `curve/area`, and close what the logger holds, so that
    the next job of a sweep starts clean.

    others: curves of the baselines by name. show: logs what only this kind of logger can show.
    """
    if logger is None:
        return
    by_step = isinstance(logger, BY_STEP)
    if by_step:
        log_lines(logger, curve, others)
    metrics = summary(curve, others)
    if metrics:
        logger.log_metrics(metrics, int(curve.points[-1].labels) if by_step else None)
    if show is not None:
        show(logger)
    logger.finalize("success")
    run = getattr(logger, "experiment", None)
    if run is not None and hasattr(run, "finish"):
        run.finish()


def baseline_curves(folder: Path) -> dict[str, Curve]:
    """Return the curves of the baselines beside a run, by name."""
    files = {p.parent.name: p for p in sorted((folder / "baseline").glob("*/curve.jsonl"))}
    read = {name: read_curves([path]) for name, path in files.items()}
    return {name: curves[0] for name, curves in read.items() if curves and curves[0].points}


def summary(curve: Curve, others: Mapping[str, Curve]) -> dict[str, float]:
    """Return the area under the curve (log axis) and, beside random, the difference of areas and
    the share of labels saved at the best value of random.

    others: curves of the baselines by name.
    """
    if not curve.points:
        return {}
    out = {"curve/area": curve.area("log")}
    random = others.get("random")
    if random is not None and random.points:
        out["curve/area_minus_random"] = curve.area("log") - random.area("log")
        saving = curve.label_saving(random)
        if saving is not None:
            out["curve/label_saving"] = saving
    full = others.get("full")
    if full is not None and full.points:
        out["curve/full"] = float(full.values[-1])
    return out


def tensorboard_logger(folder: Path, run_config: Mapping[str, Any]) -> Logger:
    """Return Lightning's TensorBoard logger in the run folder, its steps the labels spent (extra
    `tensorboard`).
    """
    logger = TensorBoardLogger(folder, name="", version="tensorboard", default_hp_metric=False)
    logger.log_hyperparams(dict(run_config))
    return logger


def mlflow_logger(
    folder: Path,
    run_config: Mapping[str, Any],
    experiment: str = "coreset",
    uri: str | None = None,
) -> Logger:
    """Return Lightning's MLflow logger, its steps the labels spent (extra `mlflow`). uri: of the
    tracking server or its database, default `mlflow.db` in the run folder.
    """
    name = f"{run_config['strategy_name']}-{run_config['seed']}"
    own, files = folder.resolve() / "mlflow.db", (folder.resolve() / "mlruns").as_uri()
    logger = MLFlowLogger(
        experiment,
        name,
        tracking_uri=uri or f"sqlite:///{own}",
        artifact_location=None if uri else files,
    )
    logger.log_hyperparams(dict(run_config))
    return logger


PACKAGES: dict[Any, str] = {mlflow_logger: "mlflow", tensorboard_logger: "tensorboard"}


def check_installed(make_logger: Any) -> None:
    """Raise ImportError with the install line where a logger's package is missing."""
    package = PACKAGES.get(make_logger.func if isinstance(make_logger, partial) else make_logger)
    if package is not None and find_spec(package) is None:
        raise ImportError(
            f"logger={package} needs the package {package}: pip install"
            f' "coreset-lightning[{package}]"'
        )
