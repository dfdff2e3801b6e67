"""What a distilled set costs, said in all three ways, and what it consumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from coreset.report.load import Run
from coreset.report.words import count, percent


def is_distilled(run: Run) -> bool:
    """Return whether a run made its images instead of choosing them."""
    return any("synthetic" in entry for entry in run.rounds)


def _row(run: Run, entry: Mapping[str, Any]) -> str:
    size = entry["synthetic"]
    cells = [
        escape(str(run.config["strategy_name"])),
        f"{run.seed}",
        f"{size['ipc']:g}",
        count(size["images"]),
        count(size["bytes"]),
        count(size["trained_images"]),
        escape(str(size["label_kind"])),
        count(size["labels_used"]),
        percent(float(entry["accuracy"])),
    ]
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def distilled_html(runs: Sequence[Run]) -> str:
    """Return a table of the distilled sets among some runs, as HTML: images per class, images,
    bytes, labels consumed, accuracy; empty when there are none.
    """
    distilled = [run for run in runs if is_distilled(run)]
    if not distilled:
        return ""
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
    rows = "".join(
        _row(run, entry) for run in distilled for entry in run.rounds if "synthetic" in entry
    )
    return (
        '<h2>What the distilled sets cost</h2><p class="note">A distilled set is made from every'
        " image and every label of the pool, whatever its size: "
        "its budget is what is stored and trained on, not what had to be labeled. Bytes: pixels and"
        " labels as stored; trained on: images after decoding.</p>"
        '<div class="scroll"><table'
        f' class="numbers"><thead><tr>{"".join(f"<th>{h}</th>" for h in heads)}</tr></thead><tbody>{rows}</tbody></table></div>'
    )
