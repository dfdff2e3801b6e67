"""Lightning loggers of a run, one logger for all its rounds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

from pytorch_lightning.loggers import CSVLogger, Logger

from coreset.runs.curve import Curve

Mode = Literal["online", "offline", "disabled"]


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
        dir=str(folder), project=project, group=group, job_type=str(run_config["strategy_name"]), name=name, mode=mode, tags=list(tags),
        config=dict(run_config), settings=settings, reinit="finish_previous",
    )  # fmt: skip
    run.define_metric("labels")
    run.define_metric("curve/*", step_metric="labels")
    return WandbLogger(experiment=run)


def log_point(logger: Logger | None, labels: int, name: str, value: float) -> None:
    """Log one point of the curve against the labels spent."""
    if logger is not None:
        logger.log_metrics({"labels": float(labels), f"curve/{name}": value})


def close(logger: Logger | None, curve: Curve) -> None:
    """Log the area under the curve (log axis) as the run's result and close what the logger holds,
    so that the next job of a sweep starts clean.
    """
    if logger is None:
        return
    if curve.points:
        logger.log_metrics({"curve/area": curve.area("log")})
    logger.finalize("success")
    run = getattr(logger, "experiment", None)
    if run is not None and hasattr(run, "finish"):
        run.finish()
