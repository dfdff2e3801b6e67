"""What a Weights & Biases run shows of a curve beside its numbers: the curve with random and all
labels, a table of picks with pictures, the confusion matrix, the selection as an artifact.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from coreset.runs.curve import Curve
from coreset.trainers.loops.loggers import baseline_curves
from coreset.trainers.loops.picks import class_names, picks_of


def log_run(logger: Any, folder: Path, curve: Curve) -> None:
    """Log a finished run folder to the W&B run of a WandbLogger."""
    import wandb

    run = logger.experiment
    if not curve.points:
        return
    ledger = [json.loads(x) for x in (folder / "ledger.jsonl").read_text().splitlines()]
    run.log({"curve": _curves(curve, baseline_curves(folder))})
    picks = _picks(folder)
    if picks is not None:
        run.log({"picks": picks})
    confusion = ledger[-1].get("confusion")
    if confusion:
        run.log({"confusion": _confusion(confusion, class_names(folder, len(confusion)))})
    artifact = wandb.Artifact(
        f"selection-{run.id}",
        type="selection",
        metadata={
            "strategy": curve.strategy, "seed": curve.seed, "metric": curve.metric,
            "labels": int(curve.points[-1].labels),
        },
    )  # fmt: skip
    for name in ("config.json", "ledger.jsonl", "curve.jsonl"):
        artifact.add_file(str(folder / name))
    for entry in ledger:
        path = folder / "rounds" / f"{entry['round']:04d}" / "selection.parquet"
        if path.exists():
            artifact.add_file(str(path), name=f"selection-{entry['round']:04d}.parquet")
    run.log_artifact(artifact)


def _curves(curve: Curve, others: dict[str, Curve]) -> Any:
    import wandb

    lines = {curve.strategy: curve, **{n: c for n, c in others.items() if n != "full"}}
    xs = [c.labels.tolist() for c in lines.values()]
    ys = [c.values.tolist() for c in lines.values()]
    names = list(lines)
    if "full" in others:
        xs.append(curve.labels.tolist())
        ys.append([float(others["full"].values[-1])] * len(curve.points))
        names.append("all labels")
    return wandb.plot.line_series(
        xs, ys, keys=names, title=f"{curve.metric} against labels", xname="labels"
    )


def _picks(folder: Path) -> Any:
    """Return a table of the first picks of every round with their pictures, None without any."""
    import wandb

    picks = list(picks_of(folder))
    if not picks:
        return None
    table = wandb.Table(columns=["round", "id", "class", "score", "picture"])
    for pick in picks:
        table.add_data(pick.round, pick.id, pick.label, pick.score, wandb.Image(pick.pixels))
    return table


def _confusion(confusion: list[list[int]], classes: list[str]) -> Any:
    import wandb

    rows = [
        [classes[t], classes[p], count]
        for t, row in enumerate(confusion)
        for p, count in enumerate(row)
    ]
    return wandb.Table(columns=["true", "predicted", "count"], data=rows)
