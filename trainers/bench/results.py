"""From cells to one tidy table: values, ids chosen, versions, hardware."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from coreset.core.store import strict, to_json, write_atomic
from coreset.runs.curve import Curve, Point
from coreset.runs.run_folder import hardware, versions
from coreset.trainers.bench.run import Job
from coreset.trainers.bench.suite import ACTIVE, FULL

KEYS = ["strategy", "replicate", "labels"]
PACKAGES = ("coreset-lightning", "numpy", "scipy", "scikit-learn", "torch", "timm")


def collect(job: Job) -> pd.DataFrame:
    """Return the records of all finished cells, in the order of rows, replicates and budgets."""
    records: list[dict[str, Any]] = []
    for cell in job.cells():
        file = job.path(*cell)
        if file.exists():
            records += json.loads(file.read_text())
    if not records:
        raise ValueError(f"{job.folder}: no cell has finished")
    frame = pd.DataFrame(records)
    order = {name: place for place, name in enumerate(job.suite.names)}
    frame["place"] = frame["strategy"].map(order)
    return (
        frame.sort_values(["place", "replicate", "labels"])
        .drop(columns="place")
        .reset_index(drop=True)
    )


def write(job: Job, frame: pd.DataFrame, config: dict[str, Any], failed: dict[str, str]) -> None:
    """Write curves.csv, picks.parquet and about.json into the folder, each atomically."""
    values = frame.drop(columns=["ids", "info", "step"])
    write_atomic(job.folder / "curves.csv", values.to_csv(index=False, float_format="%.6g"))
    picks = frame[[*KEYS, "ids"]]
    picks = picks[picks["ids"].map(len) > 0]
    table = pa.table(
        {
            "strategy": picks["strategy"].astype(str).to_list(),
            "replicate": picks["replicate"].to_list(),
            "labels": picks["labels"].to_list(),
            "ids": [[str(i) for i in ids] for ids in picks["ids"]],
        }
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_atomic(job.folder / "picks.parquet", sink.getvalue().to_pybytes())
    active = job.suite.protocol.mode == ACTIVE
    about = {
        "suite": job.suite.name,
        "data": job.table.name,
        "examples": len(job.table.labels),
        "classes": list(job.table.classes),
        "protocol": vars(job.suite.protocol),
        "learner": vars(job.probe),
        "rows": {row.name: row.config for row in job.suite.rows},
        "reads_labels": [row.name for row in job.suite.rows if row.reads_labels and active],
        "config": config,
        "failed": failed,
        "missing": len(job.missing()),
        "hardware": hardware(),
        "versions": versions(*PACKAGES),
    }
    write_atomic(job.folder / "about.json", to_json(strict(about), indent=1) + "\n")


def curves_of(frame: pd.DataFrame, metric: str) -> list[Curve]:
    """Return a curve per row and replicate of a table as `curves.csv` holds it, the whole pool left
    out.
    """
    out = []
    for (name, number), part in frame[frame["strategy"] != FULL].groupby(
        ["strategy", "replicate"], sort=False
    ):
        points = [
            Point(int(n), 0.0, float(v), i)
            for i, (n, v) in enumerate(zip(part["labels"], part[metric], strict=True))
        ]
        out.append(Curve(str(name), int(number), points, metric))
    return out


def full_value(frame: pd.DataFrame, metric: str) -> float | None:
    """Return the mean value of the learner on the whole pool, None where it was not measured."""
    whole = frame[frame["strategy"] == FULL]
    return float(whole[metric].mean()) if len(whole) else None


def read(folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return curves.csv and about.json of a folder. Raises FileNotFoundError where they are not."""
    for name in ("curves.csv", "about.json"):
        if not (folder / name).exists():
            raise FileNotFoundError(f"{folder}: no results of coreset-bench, {name} is not there")
    return pd.read_csv(folder / "curves.csv"), json.loads((folder / "about.json").read_text())
