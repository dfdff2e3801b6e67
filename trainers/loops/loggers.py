"""Lightning loggers of a run, one logger for all its rounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, cast

from pytorch_lightning.loggers import CSVLogger, Logger

from coreset.runs.curve import Curve, read_curves

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
        logger.log_metrics({"labels": float(labels), f"curve/{name}": value})


def close(
    logger: Logger | None,
    metrics: Mapping[str, float],
    show: Callable[[Logger], None] | None = None,
) -> None:
    """Log the run's results and close what the logger holds, so that the next job of a sweep starts
    clean.

    metrics: of the whole run, as `curve/area`. show: logs what only this kind of logger can show.
    """
    if logger is None:
        return
    if metrics:
        logger.log_metrics(dict(metrics))
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
    """Return Lightning's TensorBoard logger in the run folder (pip install tensorboard)."""
    from pytorch_lightning.loggers import TensorBoardLogger

    return TensorBoardLogger(folder, name="", version="tensorboard")


def mlflow_logger(
    folder: Path,
    run_config: Mapping[str, Any],
    experiment: str = "coreset",
    uri: str | None = None,
) -> Logger:
    """Return Lightning's MLflow logger (pip install mlflow). uri: of the tracking server, default a
    folder in the run folder.
    """
    from pytorch_lightning.loggers import MLFlowLogger

    name = f"{run_config['strategy_name']}-{run_config['seed']}"
    return MLFlowLogger(experiment, name, tracking_uri=uri, save_dir=str(folder / "mlruns"))
