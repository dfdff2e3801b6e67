"""What a distilled set costs, said in all three ways, and what it consumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from coreset.report.load import Run
from coreset.report.shapes import table
from coreset.report.words import count, percent


def is_distilled(run: Run) -> bool:
    """Return whether a run made its images instead of choosing them."""
    return any("synthetic" in entry for entry in run.rounds)


def _row(run: Run, entry: Mapping[str, Any]) -> list[str]:
    size = entry["synthetic"]
    return [
        str(run.config["strategy_name"]),
        f"{run.seed}",
        f"{size['ipc']:g}",
        count(size["images"]),
        count(size["bytes"]),
        count(size["trained_images"]),
        str(size["label_kind"]),
        count(size["labels_used"]),
        percent(float(entry["accuracy"])),
    ]


def distilled_html(runs: Sequence[Run]) -> Markup:
    """Return a table of the distilled sets among some runs, as HTML: images per class, images,
    bytes, labels consumed, accuracy; empty when there are none.
    """
    distilled = [run for run in runs if is_distilled(run)]
    if not distilled:
        return Markup()
    heads = (
        "method",
        "seed",
        "per class",
        "images",
        "bytes",
        "trained on",
        "labels",
        "labels consumed",
        "accuracy",
    )
    rows = [_row(run, entry) for run in distilled for entry in run.rounds if "synthetic" in entry]
    note = (
        "A distilled set is made from every image and every label of the pool, whatever its size:"
        " its budget is what is stored and trained on, not what had to be labeled. Bytes: pixels"
        " and labels as stored; trained on: images after decoding."
    )
    return table("What the distilled sets cost", heads, rows, [note], tied=False)
