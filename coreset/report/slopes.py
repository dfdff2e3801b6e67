"""Which trainings stopped on a slope, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from coreset.report.compare import Comparison
from coreset.report.load import Run
from coreset.report.words import count
from coreset.runs.curve import GAIN

_MOST = 6


def on_slope(seen: Comparison) -> list[str]:
    """Return one sentence on the trainings that stopped on a slope; none where there are none.

    The ledger's `training.on_slope` says so: what the second half of a training gained lies above
    `coreset.runs.curve.GAIN`.
    """
    runs = {**seen.runs, "all labels": seen.full_runs}
    where = {name: _labels(group) for name, group in runs.items()}
    named = [
        name if name == "all labels" else f"{name} at {', '.join(map(count, labels))} labels"
        for name, labels in where.items()
        if labels
    ]
    if not named:
        return []
    shown = [*named[:_MOST], *[f"{len(named) - _MOST} more"] * (len(named) > _MOST)]
    return [
        f"Stopped on a slope: {'; '.join(shown)}. The second half of these trainings gained more "
        f"than {100 * GAIN:g} points: train longer (fit.steps, full.steps) before comparing."
    ]


def _labels(runs: Sequence[Run]) -> list[int]:
    rounds = [r for run in runs for r in run.rounds]
    return sorted({int(r["labels"]) for r in rounds if (r.get("training") or {}).get("on_slope")})
