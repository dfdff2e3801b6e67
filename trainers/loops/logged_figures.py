"""What MLflow and TensorBoard show of a run beside its numbers: the picks of every round with their
pictures, and the confusion matrix of the last test, as figures.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from pytorch_lightning.loggers import MLFlowLogger, TensorBoardLogger

from coreset.runs.curve import Curve
from coreset.trainers.loops.picks import Pick, class_names, picks_of

COLUMNS = 8  # pictures in a line
WRITTEN = 25  # classes up to which counts are written into the confusion matrix


def log_figures(logger: Any, folder: Path, curve: Curve) -> None:
    """Log the figures of a finished run folder, at the labels spent, to Lightning's MLflow logger
    (artifacts `picks/round_0000.png`, `confusion.png`) or TensorBoard logger (images of those
    names). Nothing for any other logger.
    """
    if not isinstance(logger, MLFlowLogger | TensorBoardLogger) or not curve.points:
        return
    labels = [int(point.labels) for point in curve.points]
    for name, number, figure in _figures(folder):
        if isinstance(logger, MLFlowLogger):
            logger.experiment.log_figure(logger.run_id, figure, f"{name}.png")
        else:
            step = labels[number] if number < len(labels) else labels[-1]
            logger.experiment.add_figure(name, figure, step)


def _figures(folder: Path) -> Iterator[tuple[str, int, Figure]]:
    """Give names, rounds and figures."""
    for number, picks in itertools.groupby(picks_of(folder), lambda pick: pick.round):
        yield f"picks/round_{number:04d}", number, picture_table(list(picks))
    ledger = [json.loads(x) for x in (folder / "ledger.jsonl").read_text().splitlines()]
    confusion = ledger[-1].get("confusion")
    if confusion:
        names = class_names(folder, len(confusion))
        yield "confusion", int(ledger[-1]["round"]), confusion_matrix(confusion, names)


def picture_table(picks: Sequence[Pick]) -> Figure:
    """Return the pictures of picks in lines, each with id, class and score."""
    lines = -(-len(picks) // COLUMNS)
    figure = Figure(figsize=(1.3 * COLUMNS, 1.7 * lines), layout="constrained")
    for axes, pick in itertools.zip_longest(figure.subplots(lines, COLUMNS).flat, picks):
        axes.axis("off")
        if pick is None:
            continue
        axes.imshow(pick.pixels, cmap="gray", vmin=0, vmax=255)
        score = "" if pick.score is None else f"{pick.score:.3g}"
        text = "\n".join((pick.id[-16:], " ".join(filter(None, (pick.label[:12], score)))))
        axes.set_title(text, fontsize=7, parse_math=False)
    return figure


def confusion_matrix(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> Figure:
    """Return counts (C, C) as a picture: a row per true class, a column per predicted class."""
    counts = np.asarray(confusion)
    side = min(12.0, 2.5 + 0.45 * len(counts))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(counts, cmap="Blues")
    axes.set(xlabel="predicted class", ylabel="true class")
    few = len(counts) <= WRITTEN
    if few:
        axes.set_xticks(range(len(counts)), classes, rotation=90, parse_math=False)
        axes.set_yticks(range(len(counts)), classes, parse_math=False)
    for (row, column), count in np.ndenumerate(counts) if few else ():
        color = "white" if count > counts.max() / 2 else "black"
        axes.text(column, row, str(count), ha="center", va="center", fontsize=7, color=color)
    return figure
